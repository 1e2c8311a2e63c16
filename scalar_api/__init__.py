"""The HTTP door (customers, operators, nodes) and the `scalar` command.

A route reads, decides, writes: short transaction in, a pure rule, short transaction out. It holds no SQL and no rule.
Errors are raised as `scalar.errors` and rendered once, in `problems`. Long polls and streams are async and hold no
thread while they wait: see `notifications`.
"""
