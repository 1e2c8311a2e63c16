"""An SFCompute market: an order book of node time, played on one machine.

What is traded is a rectangle, N nodes from `start` to `end`, of one kind of machine (an instance SKU). Orders rest in
one book per SKU and match continuously, best price first, then oldest.

    values     what goes in and comes out: orders, fills, trades, accounts
    rules      what the real market doesn't tell, as settings
    schedules  node counts over time
    book       the resting orders of one SKU
    matching   which resting orders a new one meets
    accounts   cash and what is set aside of it
    pools      node time owned and offered
    holdings   what an order holds, and what changes hands
    engine     all of it together: submit, cancel, expire
    figures    what the public may see: depth, quotes, previews
    store      the engine in a SQLite file

Units, everywhere inside: money in micro-dollars, prices in micro-dollars per node-minute (the market's tick, $0.000060
per node-hour, is one of them), time in epoch seconds on whole minutes. All are integers, so every sum is exact.

Invariants: cash only moves (deposits apart), node time only moves (grants apart), nobody spends or sells what they
don't have free, no fill is worse than either side's limit, and an order that asked for all or nothing gets one of the
two.
The engine reads no clock and draws no chance: the same calls give the same market.
"""
