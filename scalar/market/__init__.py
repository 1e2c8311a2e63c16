"""The market: what Scalar bids for, what it bought, which machines came of it, and what it paid.

Owns: `skus`, `orders`, `order_moves`, `fills`, `blocks`, `sales`, `instances`, `seatings`, `market_controls`,
`market_transactions`, `market_prices`, `reconciliations`.
Doesn't own: nodes (`capacity`), what to buy (`planning`), what a job costs its customer (`billing`).

    order ─► fills ─► blocks (N nodes x [start, end) at one price) ─► seats ─► instances ─► nodes

Invariants
- An order is written before it is sent, and sent under its own id as idempotency key: a crash buys nothing twice.
- What is open and what was spent stay within the caps together, at every moment; a stop switch stops every purchase.
- A fill becomes blocks once, however often the market tells of it; what doesn't add up is refused, not guessed.
- A seat (one node of a block) has at most one instance at a time, an instance at most one seat: Postgres says so. So a
  GPU second leads through its node and seat to the block, its price and its order.
- An answer that is empty, malformed or missing is never read as "nothing there".
"""
