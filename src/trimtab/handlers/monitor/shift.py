"""What kind of change the evidence speaks for: of the inputs, of the labels' shares, or of what the labels depend on.

Inputs x, labels y. Covariate drift: p(x) changes, p(y|x) does not. Label shift: p(y) changes, p(x|y) does not. Concept
drift: p(y|x) changes. The names are those of Moreno-Torres et al., "A unifying view on dataset shift in classification",
Pattern Recognition 2012.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal["covariate drift", "label shift", "concept drift"]


class Evidence(Struct, frozen=True, kw_only=True):
    """What is known of a window beside its reference; None: not known, or not enough rows to say."""

    inputs: bool | None = None
    """Whether the distribution of an input changed."""
    predictions: bool | None = None
    """Whether the distribution of the predictions changed."""
    labels: bool | None = None
    """Whether the distribution of the labels changed."""
    performance: bool | None = None
    """Whether the model is right less often (or its error larger) than it was."""


class Description(Struct, frozen=True, kw_only=True):
    """Which kinds the evidence speaks for, which it leaves open (no list: it speaks against them), and why."""

    supported: list[Kind] = []
    possible: list[Kind] = []
    message: str


def describe(evidence: Evidence) -> Description:
    """Say which kind of change the evidence supports. Every combination has an answer; none of them is a guess.

    If the labels' shares change and no input does, p(y|x) must have changed, for p(y) is the mean of p(y|x) over p(x).
    If a model gets worse and neither inputs nor labels changed, likewise. If inputs change, a loss alone does not tell
    a model that meets unknown inputs from a changed relation: then concept drift is possible, not supported.
    """
    supported, possible, reasons = _weighed(evidence)
    possible = [kind for kind in possible if kind not in supported]
    return Description(supported=supported, possible=possible, message="; ".join([*reasons, *_unknown(evidence)]))


def _weighed(evidence: Evidence) -> tuple[list[Kind], list[Kind], list[str]]:
    if evidence.inputs:
        return _moved_inputs(evidence)
    if evidence.inputs is None:
        return _unknown_inputs(evidence)
    if evidence.labels:
        return (
            ["concept drift"],
            [],
            ["the labels' shares changed and the inputs did not: labels depend on inputs in another way"],
        )
    if evidence.performance:
        return (
            ["concept drift"],
            [],
            ["the model got worse and the inputs did not change: labels depend on inputs in another way"],
        )
    if evidence.predictions:
        return (
            [],
            ["covariate drift"],
            [
                "the predictions changed and no single input did: the inputs may have changed together, or the model is another one"
            ],
        )
    return [], [], ["no change is seen"]


def _moved_inputs(evidence: Evidence) -> tuple[list[Kind], list[Kind], list[str]]:
    reasons = ["the inputs changed"]
    supported: list[Kind] = []
    possible: list[Kind] = []
    if evidence.labels:
        supported.append("label shift")
        possible.append("covariate drift")
        reasons.append("the labels' shares changed with them")
    else:
        supported.append("covariate drift")
        if evidence.labels is None and evidence.predictions is not False:
            possible.append("label shift")
    if evidence.performance:
        possible.append("concept drift")
        reasons.append(
            "the model got worse, on inputs it does not know or because labels depend on them in another way"
        )
    elif evidence.performance is None:
        possible.append("concept drift")
    else:
        reasons.append("the model is as good as it was")
    return supported, possible, reasons


def _unknown_inputs(evidence: Evidence) -> tuple[list[Kind], list[Kind], list[str]]:
    if evidence.labels:
        kinds: list[Kind] = ["label shift", "concept drift"]
        return [], kinds, ["the labels' shares changed"]
    if evidence.performance:
        return [], ["covariate drift", "concept drift"], ["the model got worse"]
    if evidence.predictions:
        found: list[Kind] = ["covariate drift"]
        return [], found if evidence.labels is False else [*found, "label shift"], ["the predictions changed"]
    return [], [], ["no change is seen"]


def _unknown(evidence: Evidence) -> list[str]:
    names = {
        "inputs": "the inputs",
        "predictions": "the predictions",
        "labels": "the labels",
        "performance": "how right the model was",
    }
    missing = [words for name, words in names.items() if getattr(evidence, name) is None]
    return [f"not known: {', '.join(missing)}"] if missing else []
