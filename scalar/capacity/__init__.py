"""Nodes, their GPUs, whose they are when, and the scheduling pass.

Owns: `nodes`, `gpu_assignments`. Doesn't own: what a job does once it is placed (`jobs`).

Invariants:
- A GPU is one run's at one time: an exclusion constraint over (node, GPU, time) says so, not only the code.
- Two scheduling passes never run at once: an advisory lock, taken for the length of the pass's transaction.
- A gang gets all its nodes or none.
- A node that falls silent keeps its runs until it is heard again or an operator says that it is gone: a container that
  nobody can see may still be running, and no job runs twice at one time.

Read `scheduling` first: it is the whole policy, pure. `placing` reads, calls it, and writes. `fleet` is what happens to
nodes; `store` is SQL.
"""
