"""Nodes, their GPUs, whose they are when, reservations, and the scheduling pass.

Owns: `nodes`, `gpu_assignments`, `reservations`.
Doesn't own: what a job does once it is placed (`jobs`), what is bought (`market`).

Invariants:
- A GPU is one run's at one time: an exclusion constraint over (node, GPU, time) says so, not only the code.
- Two scheduling passes never run at once: an advisory lock, taken for the length of the pass's transaction.
- A gang gets all its nodes or none.
- A node that falls silent keeps its runs until it is heard again or an operator says that it is gone: a container that
  nobody can see may still be running, and no job runs twice at one time.
- What was reserved stays free: no job is placed that could still have it then, and no reservation is accepted that
  another would have to give way to.

Read `scheduling` first: it is the whole policy, pure; `holds` is the part of it about reservations. `placing` reads,
calls it, and writes. `fleet` is what happens to nodes, `reservations` to reservations; `calendar` shows what is free
when; `store` and `reservations_store` are SQL.
"""
