"""A week, played: the platform's own code on a market whose clock is turned by hand.

real     every asset, check, sensor and schedule of the definitions; the plans, their orders, the guards; a market as a
         process of its own (the sandbox's), with its order book, its prices and its other traders; the scheduling pass;
         metering, rating, costs, the ledger; forecasts, their scores and what follows from them
played   the clock, the customers (`customers`), the demand of the weeks before (`past`), and the agents of machines
         with the containers on them (`agents`): no GPU runs, and no container

Leases, heartbeats and long polls live by the wall's clock, and seconds can't be run six hundred times as fast. So
neither Dagster's daemon nor the API runs: `timetable` evaluates the sensors and schedules on the played clock, and runs
what they ask for in this process, with this platform's Dagster instance: its webserver shows all of it.

    past ─► week (tick by tick: customers, agents, pass, timetable) ─► findings ─► the week again, under other policies

Owns no table. `scalar demo week` starts it; by itself: `python -m scalar_orchestration.demo --help`.
"""
