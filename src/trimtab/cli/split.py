"""A traffic split out of `REVISION=PERCENT`, `TAG=REVISION` and what is there."""

from __future__ import annotations

from collections.abc import Sequence

import click

from trimtab.deploy.abc import FunctionInfo
from trimtab.spec import TrafficTarget

Pairs = Sequence[tuple[str, str]]


def split(function: FunctionInfo, shares: Pairs, tags: Pairs, untag: Sequence[str]) -> list[TrafficTarget]:
    """Give the split: `shares` instead of those that are there (none: as they are); tags stay where they are unless
    `tags` moves or `untag` removes them.

    Errors: click.UsageError for percents that do not sum to 100, a revision named twice, a tag that is not there.
    """
    percents = _percents(shares) or {r.name: r.percent for r in function.revisions if r.percent}
    tagged = {tag: revision.name for revision in function.revisions for tag in revision.urls}
    for tag in untag:
        if tag not in tagged:
            raise click.UsageError(f"there is no tag {tag!r}; there is {', '.join(tagged) or 'none'}")
        del tagged[tag]
    tagged.update(tags)
    first = {revision: tag for tag, revision in reversed(tagged.items())}
    targets = [_target(name, percent, first.get(name)) for name, percent in percents.items()]
    placed = {first[name] for name in percents if name in first}
    return [*targets, *(_target(name, 0, tag) for tag, name in tagged.items() if tag not in placed)]


def _target(revision: str, percent: int, tag: str | None) -> TrafficTarget:
    return TrafficTarget(revision=None if revision == "latest" else revision, percent=percent, tag=tag)


def _percents(shares: Pairs) -> dict[str, int]:
    percents: dict[str, int] = {}
    for name, text in shares:
        number = text.removesuffix("%")
        if not number.isdecimal() or int(number) > 100:
            raise click.UsageError(f"{name}={text}: the share is a whole number from 0 to 100")
        if name in percents:
            raise click.UsageError(f"{name!r} is named twice")
        percents[name] = int(number)
    total = sum(percents.values())
    if percents and total != 100:
        raise click.UsageError(f"the percents sum to {total}, they must sum to 100")
    return percents
