"""Thresholds under which an alarm is equally likely at every row, from simulated streams without drift."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trimtab.errors import SpecError

__all__ = ["conditional", "streams"]

Floats = npt.NDArray[np.float64]

_ENOUGH = 20  # streams beyond a threshold from which on it is read off them
_TAIL = 200
_FEWEST = 100


def conditional(statistics: Floats, rate: float, *, settled: int) -> Floats:
    """Give h_t with P(S_t > h_t | no alarm before t) = `rate` for the columns t of streams (a row each).

    Ross, Tasoulis, Adams 2013 (Comput. Stat. 28:429); Cobb, Van Looveren, Klaise 2022 (AISTATS): run lengths without
    drift are geometric then. A column of -inf has no test yet. The last `settled` columns, over which the law of S_t is
    taken not to change any more, share the one threshold under which alarms per row and stream, as long as it has none,
    are `rate`.
    """
    first = statistics.shape[1] - settled
    found = np.full(first + 1, np.inf)
    alive = np.ones(len(statistics), dtype=bool)
    for place in range(first):
        values = statistics[alive, place]
        if not np.isneginf(values).all():
            found[place] = _upper_quantile(values, rate)
            alive &= statistics[:, place] <= found[place]
    found[first] = _lasting(statistics[alive, first:], rate)
    return found


def _upper_quantile(values: Floats, rate: float) -> float:
    """Give the value that a share `rate` exceeds."""
    if rate * len(values) >= _ENOUGH:
        return float(np.quantile(values, 1 - rate, method="nearest"))
    return _extrapolated(np.sort(values), rate, float(len(values)))


def _lasting(statistics: Floats, rate: float) -> float:
    """Give the constant threshold with `rate` alarms a row among streams without one."""
    highest = np.maximum.accumulate(statistics, axis=1)
    last, before = np.sort(highest[:, -1]), np.sort(highest[:, :-1], axis=None)
    rows = len(last) + before.searchsorted(last, "right")  # in which streams without an alarm so far took part
    alarms = len(last) - last.searchsorted(last, "right")
    if rate * float(rows[-1]) < _ENOUGH:
        return _extrapolated(last, rate, float(rows[-1]))
    return float(last[np.argmin(np.abs(alarms / rows - rate))])


def _extrapolated(ordered: Floats, rate: float, rows: float) -> float:
    """Give the threshold for a rate that the simulated values do not resolve, by an exponential tail.

    The statistics are quadratic forms or logarithms of p-values, whose tails are exponential.
    """
    count = min(_TAIL, len(ordered) // 4)
    start = float(ordered[-count - 1])
    return start + max(float(ordered[-count:].mean() - start), 0.0) * float(np.log(count / rows / rate))


def streams(method: str, ert: float, given: int | None) -> int:
    """Give the number of simulated streams: 15 to an expected run time, 2,000 to 15,000."""
    if given is not None and given < _FEWEST:
        raise SpecError(f"{method}.simulations", given, f"None (15 to an expected run time), or {_FEWEST} or more")
    return given if given is not None else int(np.clip(15 * ert, 2000, 15_000))
