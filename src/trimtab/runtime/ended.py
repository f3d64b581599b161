"""The event of a run's end, by which what waits for it goes on."""

from __future__ import annotations

from typing import Any

from trimtab.events import Envelope, make

RUN = "dev.trimtab.run"


def ended(function: str, run: str, state: str, cause: str | None, data: dict[str, Any]) -> Envelope:
    """Make the event. Its id is the run's, so that telling it twice is telling it once.

    `state` is succeeded, failed or cancelled; `cause` the id of the event that started the run; `data` describes the run.
    """
    return make(
        RUN,
        f"/functions/{function}",
        {"id": run, "function": function, "state": state, "cause": cause, **data},
        id=f"{run}.ended",
        subject=run,
        function=function,
        state=state,
        cause=cause,
    )
