"""Replay: a month again, under the policy that ran or under another one.

Owns: no table. Doesn't own what it reads, nor what it decides with: the very functions that decide in earnest.
`scalar.capacity.scheduling` places jobs, `scalar.planning` plans, `scalar.billing` rates and costs.

    history (jobs, prices) ─► simulation (events, in order) ─► blocks, usage, waits ─► report, beside the oracle
    records (plans, orders, fills, usage) ─► `books`: the same rows as the ledger's, to the micro-dollar

Invariants:
- A simulation is a pure function of its history, its setup and its policy: no clock, no chance.
- No policy sees anything of what comes after the moment at which it decides.
- The books of the policy that really ran are those of the ledger.

Read `simulating` first.
"""
