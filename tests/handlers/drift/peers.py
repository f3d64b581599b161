# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["frouros==0.9.0", "river==0.23.0", "typing-extensions>=4"]
# ///
"""What frouros and river make of a few samples, written as JSON: `uv run tests/handlers/drift/peers.py > .../peers.json`.

They want an older numpy and scipy than this project, so that they cannot be installed beside it: uv gives the script an
environment of its own. The samples are formulas, and the same under every version.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import numpy as np

GOLDEN, SILVER = (5**0.5 - 1) / 2, 2**0.5 - 1
LEVELS = "abcd"
SIGMA = 1.5


def numbers() -> tuple[Any, Any]:
    """Two logistic samples of different place and width, without ties."""
    return _logistic(GOLDEN, 400), 0.3 + 1.2 * _logistic(SILVER, 250)


def levels() -> tuple[Any, Any]:
    """Two samples of four levels, by their places."""
    before = np.searchsorted([0.4, 0.7, 0.9], _even(GOLDEN, 400))
    now = np.searchsorted([0.3, 0.6, 0.8], _even(SILVER, 250))
    return before, now


def rows() -> tuple[Any, Any]:
    """Two samples of three columns."""
    return np.sin(np.arange(60.0) * 1.7).reshape(20, 3), np.cos(np.arange(45.0) * 2.3).reshape(15, 3) + 0.3


def _even(step: float, count: int) -> Any:
    return (np.arange(1, count + 1) * step) % 1.0


def _logistic(step: float, count: int) -> Any:
    u = _even(step, count)
    return np.log(u / (1 - u))


def main() -> None:
    """Print the values, and the versions that gave them."""
    print(json.dumps({"versions": _versions(), **_frouros(), **_river()}, indent=2))


def _versions() -> dict[str, str]:
    return {name: version(name) for name in ("frouros", "river", "numpy", "scipy")}


def _frouros() -> dict[str, Any]:
    from frouros.detectors.data_drift import EMD, MMD, ChiSquareTest, CVMTest, HellingerDistance, KSTest
    from frouros.utils.kernels import rbf_kernel

    x, y = numbers()
    before, now = levels()
    words = np.array(list(LEVELS))
    found: dict[str, Any] = {}
    tests = {"ks": (KSTest(), x, y), "cvm": (CVMTest(), x, y), "chi2": (ChiSquareTest(), words[before], words[now])}
    for name, (detector, reference, current) in tests.items():
        detector.fit(X=reference)
        answer = detector.compare(X=current)[0]
        found[name] = {"statistic": float(answer.statistic), "p_value": float(answer.p_value)}
    distances = {
        "wasserstein": (EMD(), x, y),
        "hellinger": (HellingerDistance(num_bins=len(LEVELS)), before, now),
        "mmd": (MMD(kernel=lambda X, Y: rbf_kernel(X=X, Y=Y, sigma=SIGMA)), *rows()),
    }
    for name, (detector, reference, current) in distances.items():
        detector.fit(X=reference)
        found[name] = {"statistic": float(detector.compare(X=current)[0].distance)}
    return found


def _river() -> dict[str, Any]:
    """KSWIN draws from all of its older values where the window is twice the sample: then nothing is left to chance."""
    from river.drift import KSWIN

    x, y = numbers()
    detector = KSWIN(window_size=200, stat_size=100, seed=1)
    for value in [*x[:100], *(y[:100] + 0.5)]:
        detector.update(float(value))
    return {"kswin": {"p_value": float(detector.p_value)}}


if __name__ == "__main__":
    main()
