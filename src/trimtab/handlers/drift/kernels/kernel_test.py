"""The shape that kernel tests share: two samples become matrices, a statistic of them meets its permutations, and the answer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, structs

from trimtab.handlers.drift.frame import Frame
from trimtab.handlers.drift.kernels.answer import MOST_ROWS, answer, check_rows, too_few
from trimtab.handlers.drift.kernels.null import Draw, Law, Tail, p_value
from trimtab.handlers.drift.kernels.rows import on_rows
from trimtab.handlers.drift.kernels.sample import Pair, Scale, pair
from trimtab.handlers.drift.result import FeatureResult, Result
from trimtab.handlers.drift.verdict import LEAST_ROWS, listed

__all__ = ["Common", "Found", "KernelTest", "kernel_test"]


class Found(NamedTuple):
    """What a test has computed of two matrices."""

    statistic: float
    draw: Draw | None = None
    """Draws the statistics of permutations."""
    law: Law | None = None
    """The statistic's upper tail without drift, where it is known."""
    p_value: float | None = None
    """In the place of permutations."""
    features: Mapping[str, FeatureResult] = {}
    """What it says of single features anyway."""


class Common(Struct, frozen=True, kw_only=True):
    """The parameters that every kernel test takes beside its own."""

    alpha: float = 0.05
    min_rows: int = LEAST_ROWS
    permutations: int = 200
    tail: Tail = "auto"
    stop: int | None = None
    scale: Scale = "std"
    max_rows: int | None = MOST_ROWS
    per_feature: bool = False
    seed: int = 0


class KernelTest:
    """A statistic as a method of `drift.detect`: `compute` is what it decorates, and gives it name, docstring and parameters.

    `compute(sample, rng, **own)` gets both samples encoded and standardised (`sample.pair`). With `per_feature=True` it is
    computed of each feature alone as well, by the same labellings; a feature has drifted when the table has and Benjamini
    and Hochberg's procedure lists it at alpha. The columns that the parameter `beside` names stay beside each feature.
    """

    def __init__(
        self,
        compute: Callable[..., Found],
        defaults: Common,
        *,
        least: int,
        most: Callable[..., int] | None,
        beside: str,
    ) -> None:
        self.compute, self.defaults, self.least, self.most, self.beside = compute, defaults, least, most, beside
        self.__name__, self.__doc__ = compute.__name__, compute.__doc__
        self.own = list(inspect.signature(compute).parameters.values())[2:]
        self.__signature__ = inspect.Signature([*_FRAMES, *self.own, *_taken(defaults)])

    def __call__(self, reference: Frame, current: Frame, **params: Any) -> Result:
        """Test. Errors: DataError, SpecError."""
        return on_rows(self._tested)(reference, current, **params)

    def _tested(self, reference: Frame, current: Frame, /, **params: Any) -> Result:
        own = {parameter.name: params.pop(parameter.name) for parameter in self.own if parameter.name in params}
        common, frames, name = structs.replace(self.defaults, **params), (reference, current), self.__name__
        bound = self.most(**own) if self.most is not None else None
        check_rows(name, "max_rows", common.max_rows, self.least)
        check_rows(name, "min_rows", common.min_rows, 4)
        if few := too_few(name, frames, common.alpha, max(common.min_rows, self.least)):
            return few
        rng = np.random.default_rng(common.seed)
        most = common.max_rows if common.max_rows is not None else bound
        sample = pair(reference, current, scale=common.scale, max_rows=most, rng=rng, method=name)
        found = self.compute(sample, rng, **own)
        p = self._p_value(found, common)
        features = dict(found.features)
        if common.per_feature:
            features = self._features(sample, common, own)
            listed(list(features.values()), common.alpha, alarm=p < common.alpha)
        for feature in features.values():
            feature.n_reference, feature.n_current = reference.rows, current.rows
        return answer(name, frames, found.statistic, p, common.alpha, per_feature=features, message=sample.remark)

    def _p_value(self, found: Found, common: Common) -> float:
        if found.p_value is not None or found.draw is None:
            return 1.0 if found.p_value is None else found.p_value
        return p_value(
            found.statistic,
            found.draw,
            alpha=common.alpha,
            permutations=common.permutations,
            tail=common.tail,
            stop=common.stop,
            law=found.law,
            method=self.__name__,
        ).p_value

    def _features(self, sample: Pair, common: Common, own: Mapping[str, Any]) -> dict[str, FeatureResult]:
        """Test each feature by itself."""
        given = own.get(self.beside, ())
        beside = {given} if isinstance(given, str) else set(given)
        features = {}
        for name in dict.fromkeys(sample.features):
            if name in beside:
                continue
            places = [place for place, other in enumerate(sample.features) if other == name or other in beside]
            part = Pair(
                sample.reference[:, places], sample.current[:, places], [sample.features[place] for place in places], ""
            )
            found = self.compute(part, np.random.default_rng(common.seed), **own)
            p = self._p_value(found, common)
            features[name] = FeatureResult(name=name, statistic=float(found.statistic), p_value=float(p))
        return features


def kernel_test(
    *,
    least: int,
    permutations: int = 200,
    max_rows: int | None = MOST_ROWS,
    most: Callable[..., int] | None = None,
    beside: str = "",
) -> Callable[[Callable[..., Found]], KernelTest]:
    """Make a method of what computes a statistic; `most` gives the bound on rows for `max_rows=None` (without: none)."""
    defaults = Common(permutations=permutations, max_rows=max_rows)
    return lambda compute: KernelTest(compute, defaults, least=least, most=most, beside=beside)


_FRAMES = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("reference", "current")]


def _taken(defaults: Common) -> list[inspect.Parameter]:
    kind = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(name, kind, default=value) for name, value in structs.asdict(defaults).items()]
