"""The agent of one GPU node: it makes the containers of the node be what the API wants, and tells what happened.

Owns: this node's containers (found by label), their logs on the way to the API, and reports not yet acknowledged.
Doesn't own: which task runs where, retries, prices, or anything that has to outlive the node.

Invariants:

- At most one container for each (run, rank): its name is unique, and the engine itself refuses a second.
- A task that may have started is never started again; if its container is gone, it is reported lost.
- A container is removed only after the API dropped its task; until then it keeps the whole log.
- No answer, a malformed answer or an engine error is never taken for "there are no tasks" or "there are no containers".
- Tokens, credentials and customers' environments are never logged.
"""
