"""The whole platform on one machine: `scalar up`, which is what `make run` calls.

`platform` says what is started and in which order; `process` keeps one service running; `postgres` is the embedded
server; `bootstrap` makes the first organisation and its keys; `sample` submits a job as a customer would. Nothing here
is used in production, where a process manager starts the same commands (docs/operations.md).
"""
