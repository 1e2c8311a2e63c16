"""HiGHS, the solver of linear and integer programmes: the only file that imports it.

minimise costs · x   where   row_lower ≤ A x ≤ row_upper,   lower ≤ x ≤ upper
"""

from dataclasses import dataclass

import highspy
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class SolverFailed(Exception):
    """No optimum: out of time, infeasible, unbounded, or a fault of the solver's own. Says which."""


@dataclass(frozen=True, kw_only=True)
class Programme:
    """A is given by its entries: (row, column, value), in any order; those of the same place are not added up."""

    costs: Floats
    lower: Floats
    upper: Floats
    row_lower: Floats
    row_upper: Floats
    rows: Ints
    columns: Ints
    values: Floats
    whole: NDArray[np.bool_] | None = None
    """Which variables are whole numbers; None: none of them has to be."""


@dataclass(frozen=True, kw_only=True)
class Solution:
    cost: float
    values: Floats


def minimise(programme: Programme, *, seconds: float = 60.0, inner: bool = False) -> Solution:
    """On one thread: the same programme is always the same solution. Raises: `SolverFailed`.

    `inner`: by an interior point method, which is much faster on long flows; its solution is no corner.
    """
    if not len(programme.costs):
        if np.any(programme.row_lower > 0) or np.any(programme.row_upper < 0):
            raise SolverFailed("infeasible")
        return Solution(cost=0.0, values=np.zeros(0))
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for option, value in (("output_flag", False), ("threads", 1), ("time_limit", float(seconds)), ("random_seed", 0)):
        solver.setOptionValue(option, value)
    if inner:
        solver.setOptionValue("solver", "ipm")
        solver.setOptionValue("run_crossover", "off")
    if solver.passModel(_model(programme)) == highspy.HighsStatus.kError:
        raise SolverFailed("the solver did not take the programme")
    solver.run()
    status = solver.getModelStatus()
    if inner and status == highspy.HighsModelStatus.kUnknown:
        # An inner point that is not quite optimal, which small and degenerate programmes end in: corners settle it.
        solver.setOptionValue("solver", "simplex")
        solver.run()
        status = solver.getModelStatus()
    if status != highspy.HighsModelStatus.kOptimal:
        raise SolverFailed(str(solver.modelStatusToString(status)).lower())
    return Solution(
        cost=float(solver.getInfo().objective_function_value),
        values=np.asarray(solver.getSolution().col_value, dtype=np.float64),
    )


def _model(programme: Programme) -> highspy.HighsLp:
    order = np.lexsort((programme.rows, programme.columns))
    counts = np.bincount(programme.columns, minlength=len(programme.costs))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = len(programme.costs), len(programme.row_lower)
    model.col_cost_, model.col_lower_, model.col_upper_ = programme.costs, programme.lower, programme.upper
    model.row_lower_, model.row_upper_ = programme.row_lower, programme.row_upper
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    model.a_matrix_.index_ = programme.rows[order].astype(np.int32)
    model.a_matrix_.value_ = programme.values[order].astype(np.float64)
    if programme.whole is not None:
        kinds = highspy.HighsVarType
        model.integrality_ = [kinds.kInteger if each else kinds.kContinuous for each in programme.whole]
    return model
