"""What can keep the platform from starting."""


class UpError(Exception):
    """The message is what the user sees: what is wrong, and what to do. Never a traceback."""
