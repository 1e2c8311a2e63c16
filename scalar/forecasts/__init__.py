"""Forecasts: what will be wanted and what it will cost, hour by hour, with bands; and how good that has been.

Owns: `demand_hours`, `demand_history`, `forecasts`, `forecast_hours`, `forecast_scores`, `forecast_trials`.
Doesn't own: what is done about it (`planning`), prices gone by (`market`), what runs used (`metering`).

    series ─► history ─► members' back-tests ─► weights ─► bands ─► Forecast ─► scenarios
                                                                      └─► scores ─► skill ─► authority

Invariants:
- A forecast made at an hour knows nothing of that hour or later, nor does any forecast of its back-test.
- Quantiles never cross, and are never below the floor.
- The same series and seed make the same forecast.
- Skill is measured on forecasts that were issued, never on those of a back-test.

Read `forecasting` first; `members` has one way to forecast a file, `combining` and `calibration` say what is made of
them.
"""
