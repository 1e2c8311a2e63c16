"""Planning: what to buy, keep on, sell or let go, and why.

Owns: `capacity_plans`, `plan_actions`. Doesn't own: orders and what guards them (`market`), the queue (`jobs`), nodes
(`capacity`).

    situation ─► questions ─► (the market's quotes) ─► plan ─► recorded ─► executed: one order an action

Invariants:
- A plan is a pure function of its situation and policy, which are recorded with it: it can be decided again.
- A plan is executed at most once, only while it is fresh, and only if no other was executed since it looked: what one
  plan has ordered, the next one has seen.
- Every action says why, in words with figures; every action says what became of it.
- Nothing is bought above what its jobs will pay, nothing is sold that works, is reserved, or is needed by the queue.

Read `reactive` first: it is the whole policy, pure. `wants`, `supply`, `packing` and `basket` are what it stands on;
`planning` reads, asks and records; `executing` turns a plan into orders.

`optimal` looks ahead: `foreseeing` tells it of the hours to come (an `outlook`, by the forecasts that
`issued_foresight` reads, or by what ran: `foresight`), a `programme` says what is cheapest (`highs` solves it),
`patience` which Flex jobs wait (by `deadlines`), and the reactive policy does the rest. `buying` (with `experts`,
`rolling` and `flexing`) is the rule for one series by itself, `oracle` what it is measured against.
"""
