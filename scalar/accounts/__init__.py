"""Organisations, users, API keys and their roles, join tokens of nodes, and the audit log.

Owns: `organisations`, `users`, `api_keys`, `join_tokens`, `audit_log`. Doesn't own: what a key is used for.

Invariants:
- Only the SHA-256 of a key or token is stored; the key itself is shown once, when it is made.
- A customer's key belongs to an organisation and sees nothing of another's; a node's key belongs to one node.
- A join token admits as many nodes as it says, and none after its time.
- The audit log is append-only.
"""
