"""The multivariate drift tests, on one thread: 2,000 reference and 2,000 current rows of 20 columns, 100 permutations.

`mmd` stands beside a direct implementation that computes the three kernel matrices anew for each permutation; `lsdd` beside
the procedure that alibi-detect publishes, written down directly: kernel values at the centres once, then for each permutation
the rows gathered, averaged and their quadratic form taken, all permutations at once. Both sides begin with the raw rows, and
the direct one is handed the bandwidth, the standardised rows and the ridge. `online`: rows a second of a detector with a
reference of 2,000 rows and a window of 50. All figures are of the thread's CPU time: others who use the machine do not count.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks.rounds import Effort, alternate
from benchmarks.row import Row

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]

ROWS, COLUMNS, PERMUTATIONS = 2000, 20, 100
_DIRECT = 3  # permutations that a quick run of the direct MMD does; its time is scaled to all
_STREAM = 2000


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    from threadpoolctl import threadpool_limits

    for name in ("numpy", "scipy.linalg", "sklearn.ensemble"):  # only what is loaded already is kept to one thread
        importlib.import_module(name)
    with threadpool_limits(1):
        return [_mmd(effort), _lsdd(effort), *_others(), *_online()]


def _samples() -> tuple[Floats, Floats]:
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.normal(size=(ROWS, COLUMNS)), rng.normal(size=(ROWS, COLUMNS))


def _spent(work: Callable[[], object]) -> float:
    """Give the milliseconds of CPU time that one call takes."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def _detect(method: str, x: Floats, y: Floats, **params: Any) -> None:
    from trimtab import drift

    drift.detect(method, x, y, **params)


def _mmd(effort: Effort) -> Row:
    x, y = _samples()
    rounds = min(effort.rounds, 3)
    permutations = PERMUTATIONS if effort.rounds > 1 else _DIRECT

    def direct() -> float:
        return _spent(lambda: direct_mmd(x, y, permutations)) * (PERMUTATIONS + 1) / (permutations + 1)

    sides = {"ours": partial(_spent, partial(_detect, "mmd", x, y, permutations=PERMUTATIONS)), "direct": direct}
    found = alternate(sides, rounds)
    ours = [1000 / value for value in found["ours"]]
    theirs = [1000 / value for value in found["direct"]]
    return Row(
        what="`mmd`, 2,000 x 20 against as many, 100 permutations",
        unit="tests/s",
        ours=ours,
        beside="kernels computed anew for each permutation",
        theirs=theirs,
        must=20,
        of="ratio",
    )


def _lsdd(effort: Effort) -> Row:
    import numpy as np

    from trimtab.handlers.drift.frame import Frame
    from trimtab.handlers.drift.kernels.lsdd import LSDD
    from trimtab.handlers.drift.kernels.rbf import median_distance
    from trimtab.handlers.drift.kernels.sample import pair

    x, y = _samples()
    rng = np.random.default_rng(0)
    sample = pair(Frame.of(x), Frame.of(y), scale="std", max_rows=None, rng=rng, method="lsdd")
    width = median_distance(sample.reference, rng)
    ridge = LSDD(sample.reference[100:], sample.current, sample.reference[:100], width, rng).ridge
    sides = {
        "ours": partial(_spent, partial(_detect, "lsdd", x, y, permutations=PERMUTATIONS)),
        "published": partial(_spent, lambda: direct_lsdd(sample.reference, sample.current, width, ridge)),
    }
    found = alternate(sides, effort.rounds)
    return Row(
        what="`lsdd`, 2,000 x 20 against as many, 100 permutations",
        unit="tests/s",
        ours=[1000 / value for value in found["ours"]],
        beside="the published procedure, directly",
        theirs=[1000 / value for value in found["published"]],
        must=5,
        of="ratio",
    )


def direct_mmd(x: Floats, y: Floats, permutations: int) -> float:
    """Test by MMD, with kernels computed anew for each permutation."""
    import numpy as np

    rng, both, n = np.random.default_rng(0), np.concatenate([x, y]), len(x)

    def kernel(a: Floats, b: Floats) -> Floats:
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        return np.exp(-squares / (2 * COLUMNS))

    def statistic(a: Floats, b: Floats) -> float:
        kaa, kbb, kab = kernel(a, a), kernel(b, b), kernel(a, b)
        within = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (kaa, kbb)]
        return float(sum(within) - 2 * kab.mean())

    observed, reached = statistic(x, y), 0
    for _ in range(permutations):
        order = rng.permutation(len(both))
        reached += statistic(both[order[:n]], both[order[n:]]) >= observed
    return (1 + reached) / (1 + permutations)


def direct_lsdd(x: Floats, y: Floats, width: float, ridge: float) -> float:
    """Test by LSDD, gathering each permutation's rows."""
    import numpy as np

    rng = np.random.default_rng(0)
    order = rng.permutation(len(x))
    centres, rest = x[order[: len(x) // 20]], x[order[len(x) // 20 :]]
    both, n = np.concatenate([rest, y]), len(rest)

    def kernel(a: Floats, b: Floats, s: float) -> Floats:
        squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
        return np.exp(-squares / (2 * s**2))

    near, h = kernel(both, centres, width), kernel(centres, centres, np.sqrt(2) * width)
    orders = [np.arange(len(both)), *(rng.permutation(len(both)) for _ in range(PERMUTATIONS))]
    left = np.stack([near[order[:n]] for order in orders]).mean(axis=1)
    right = np.stack([near[order[n:]] for order in orders]).mean(axis=1)
    inverse = np.linalg.inv(h + ridge * np.eye(len(h)))
    form = 2 * inverse - inverse.T @ h @ inverse
    found = np.einsum("bk,kl,bl->b", left - right, form, left - right)
    return float(1 + np.count_nonzero(found[1:] >= found[0])) / (1 + PERMUTATIONS)


def _others() -> list[Row]:
    """Time each other test once, with what it does unless told otherwise."""
    x, y = _samples()
    found = []
    for method, params in (
        ("mmd", {"variant": "block"}),
        ("mmd", {"variant": "linear"}),
        ("classifier", {}),
        ("spot_the_diff", {}),
        ("learned_kernel_mmd", {}),
        ("context_mmd", {"context": ["f0"]}),
    ):
        call = partial(_detect, method, x, y, **params)
        call()
        name = f"`{method}`" + "".join(f", {value}" for value in params.values() if isinstance(value, str))
        found.append(Row(what=f"{name}, 2,000 x 20 against as many", unit="ms", ours=[_spent(call)]))
    return found


def _online() -> list[Row]:
    import numpy as np

    from trimtab import drift

    found = []
    for method in ("cvm", "fisher", "mmd", "lsdd"):
        rng = np.random.default_rng(0)
        columns = 1 if method in {"cvm", "fisher"} else COLUMNS
        data = rng.normal(size=(2000 + _STREAM, columns))
        data = (data > 0.5).astype(float) if method == "fisher" else data
        make = partial(drift.online, method, data[:2000], ert=1000, window=50)
        made, detector = _spent(make), make()

        def take(detector: drift.Detector = detector, stream: Floats = data[2000:]) -> None:
            for row in stream:
                detector.update(row)

        name = f"online `{method}`, {columns} column" + ("s" if columns > 1 else "")
        found.append(Row(what=name, unit="rows/s", ours=[_STREAM / _spent(take) * 1000]))
        found.append(Row(what=f"online `{method}`, made (expected run time 1,000)", unit="ms", ours=[made]))
    return found
