"""What was used: immutable usage events, and the hours made from them.

Owns: `usage_events`, `hourly_usage`, `metered_hours`. Doesn't own: prices (billing), which GPUs were whose (capacity).

Invariants:
- A usage event is written once a run, rank and kind (and sequence, for `alive`), in the transaction that changes the
  state of the run; it is never changed.
- A task's metered time is from its `started` event to its last event: a node that falls silent stops the meter at its
  last sign of life, until it is heard again.
- `hourly_usage` is a projection: an hour rebuilt from the same events is the same hour.
"""
