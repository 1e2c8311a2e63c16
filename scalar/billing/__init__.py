"""Money: what is charged for usage, who owes what, and what each job earned.

Owns: rate cards, rated usage, the ledger, wallets and holds, invoices, payments, cost and margin. Doesn't own: what was
used (`metering`), what was bought and at what price (`market`), who may do what (`accounts`).

Invariants:
- A posting of the ledger sums to zero, is never changed, and is made once for each source.
- Balances are a projection: rebuilt from the entries they are the same to the last micro-dollar.
- An amount is exact until it is posted, and rounded once, by `money.micros`; an invoice rounds to cents once, and what
  that leaves goes to the account `rounding`.
- A closed month takes no more postings.
"""
