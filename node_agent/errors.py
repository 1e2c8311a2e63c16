"""What can go wrong.

AgentError
├── AlreadyRunning       another agent holds this state directory
├── ApiError
│   ├── ApiUnavailable     no answer, a failed one, or one that can't be understood: try again
│   │   └── ApiUnreachable   nobody was there to hear it: nothing can have come of it
│   ├── ApiRejected        this very message is malformed or too large: trying again changes nothing
│   ├── CredentialRefused  the join token or the node's credential isn't accepted
│   └── NameTaken          another node has the name that this one wants to join by
└── EngineError
    ├── EngineUnavailable  the container engine didn't answer: nothing is known, try again
    ├── ContainerGone      the container isn't there (any more)
    └── StartFailed        the container can't be started: reported as the task's end
"""

from scalar.protocol import TaskEnding


class AgentError(Exception):
    """Anything that this agent expects to go wrong."""


class AlreadyRunning(AgentError):
    """Another agent holds this state directory."""


class ApiError(AgentError):
    """The API couldn't be asked, or said no."""


class ApiUnavailable(ApiError):
    """No answer, a failed one, or one that can't be understood: try again."""


class ApiUnreachable(ApiUnavailable):
    """Nobody was there to hear it: nothing can have come of it."""


class ApiRejected(ApiError):
    """This very message is malformed or too large: trying again changes nothing."""


class CredentialRefused(ApiError):
    """The join token or the node's credential isn't accepted."""


class NameTaken(ApiError):
    """Another node has the name that this one wants to join by."""


class EngineError(AgentError):
    """The container engine couldn't do what it was asked."""


class EngineUnavailable(EngineError):
    """The container engine didn't answer: nothing is known, try again."""


class ContainerGone(EngineError):
    """The container isn't there (any more)."""


class StartFailed(EngineError):
    """The container can't be started; `ending` and `message` go into the task's last report."""

    def __init__(self, ending: TaskEnding, message: str) -> None:
        super().__init__(message)
        self.ending = ending
        self.message = message
