"""The cheapest stock for the hours to come, given what is owned in them: a rolling horizon. Pure.

A quantile of what is to come says how much to own, and not when. What was bought before ends at its own hours, and a
block that is bought for a peak may, once the peak is over, take the place of one that ends: so that the blocks of all
levels have to be looked at together. This is `oracle`'s programme with what may come in place of what came:

    minimise   Σ block · x[t] + Σ hourly · E(demand[t] - s[t])⁺      s[t] = owned[t] + Σ x[u], t - H < u ≤ t

Only each hour's own distribution matters to it (simple recourse): equally likely values, in order, cut an hour's demand
into segments, and the one between the k-th and the next of n is wanted with the chance (n - k)/n. It looks three blocks
ahead, what is said of one (of a week at least) being taken to repeat itself: the end, beyond which nothing is paid for,
is then far from what is done now.
"""

import numpy as np

from scalar.planning.highs import Floats, Programme, minimise
from scalar.planning.oracle import Terms

BLOCKS = 3
_MOST = 6


def segments(paths: Floats, hours: int) -> Floats:
    """Scenarios (n, any) as a few equally likely values of each of so many hours (at most 6, hours), in order."""
    few = np.sort(paths, axis=0)
    if len(few) > _MOST:
        few = np.quantile(few, (np.arange(_MOST) + 0.5) / _MOST, axis=0)
    return np.asarray(np.tile(few, (1, -(-hours // few.shape[1])))[:, :hours])


def planned(values: Floats, owned: Floats, terms: Terms) -> Floats:
    """The stock in each hour. `values` (n, hours): in order; `owned` (hours,): from now on it can but end.

    Raises: `SolverFailed`.
    """
    count, n = values.shape
    t = np.arange(n)
    late, one = t[terms.hours :], np.ones(n)
    kept = np.concatenate([owned[:1], np.minimum(np.diff(owned), 0.0)])
    wide = np.diff(values, axis=0, prepend=0.0)
    chance = (count - np.arange(count)) / count
    served = (2 + np.arange(count))[:, None] * n + t
    programme = Programme(
        costs=np.concatenate([terms.block * np.minimum(terms.hours, n - t), 0 * one, -terms.hourly * chance.repeat(n)]),
        lower=np.zeros((2 + count) * n),
        upper=np.concatenate([np.full(2 * n, np.inf), wide.ravel()]),
        row_lower=np.concatenate([kept, 0 * one]),
        row_upper=np.concatenate([kept, np.full(n, np.inf)]),
        rows=np.concatenate([t, t, t[1:], late, n + t, np.tile(n + t, count)]),
        columns=np.concatenate([t, n + t, n + t[:-1], late - terms.hours, n + t, served.ravel()]),
        values=np.concatenate([-one, one, -one[1:], one[: len(late)], one, -np.ones(count * n)]),
    )
    return minimise(programme).values[n : 2 * n]
