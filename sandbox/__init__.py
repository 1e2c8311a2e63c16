"""Stand-ins for the outside world on one machine: what Scalar talks to, without an account and without money.

Nothing here imports Scalar and nothing of Scalar imports this: they meet over the wire, as they would with the
real thing.
"""
