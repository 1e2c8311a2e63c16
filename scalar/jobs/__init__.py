"""What a customer asked for, its life, and its runs (one try of a job is a run, and one Dagster run).

Owns: `jobs`, `job_runs`, `run_tasks`, `log_chunks`. Doesn't own: where a run is placed (`capacity`), what it used
(`metering`).

Invariants, all of them checked by Postgres too:
- An accepted job is never lost: it waits, runs, or ended for a reason that can be read.
- A job has at most one run that has not ended.
- States move along `JOB_MOVES` and `RUN_MOVES` only.
- A report with an old token, from another node, or for a run that has ended, changes nothing.

Modules: `model` (values and states), `endings` (why a run ends and what follows), `life` (what happens to a job, in one
transaction each), `explanation` (in words), `logs` (output by offset), `store` and `tasks` (SQL).
"""
