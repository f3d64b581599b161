"""What a function becomes on a cluster: the central types of the manifests."""

from __future__ import annotations

from typing import Any, TypeAlias

from msgspec import Struct

from trimtab.spec import Function

Manifest: TypeAlias = dict[str, Any]
"""One Kubernetes object, as it stands in YAML."""


class Rendering(Struct, frozen=True, kw_only=True):
    """One function that is to be rendered: its checked description, its image, and where it goes."""

    function: Function
    image: str
    """By digest, so that the same manifest is the same code."""
    namespace: str
    commit: str = ""
    """The git commit that the code came from; empty when it did not come from one."""
    job_sink: bool = True
    """Whether the cluster has JobSink (Knative Eventing 1.15 or newer)."""
    keda: bool = False
    """Whether the cluster has KEDA, which scales consumers of streams by their lag."""
    sink: str = ""
    """The address of the function's sink, where it is known; it is a broker's to tell."""
    keepers: frozenset[str] = frozenset()
    """Brokers with a dead letter sink of their own, which takes what no try of a trigger delivers."""
    environ: dict[str, str] = {}
    """What the target itself sets: where artifacts and shared state are. `$(NAME)` in it is one of the function's own
    variables, which Kubernetes puts in."""

    @property
    def name(self) -> str:
        """The function's name, which is its Service's or Job's."""
        return self.function.metadata.name

    @property
    def starter(self) -> bool:
        """Whether a Service of ours starts the job for events: where there is no JobSink, and for a job that is tried again.

        Its runs are indexed Jobs, whose names must be DNS labels with room for an index; those that JobSinks give are not always.
        """
        return not self.job_sink or self.function.spec.job.backoff_limit > 0


class Rendered(Struct, frozen=True, kw_only=True):
    """What came of it. `notes` are sentences about what the cluster does otherwise than the description says."""

    objects: list[Manifest] = []
    """In the order in which they are to be applied."""
    notes: list[str] = []
