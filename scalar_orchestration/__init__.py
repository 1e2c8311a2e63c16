"""The Dagster door: assets, checks, sensors, the run launcher.

`definitions.py` loads the modules of `defs/`, one a concept. `run_launcher` sends a `gpu_run` to its nodes and every
other run where Dagster would; `run_mirror` tells Dagster what became of it; `compute_logs` shows its output in the UI.
"""
