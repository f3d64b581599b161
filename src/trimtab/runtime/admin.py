"""The routes that are the runtime's own: liveness, readiness, metrics. Imported when the first of them is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

if TYPE_CHECKING:
    from trimtab.runtime.app import App


def routes(app: App) -> Any:
    """Make the ASGI application."""

    async def healthz(_request: Request) -> Response:
        alive, reason = await app.alive()
        return JSONResponse({"alive": alive, "reason": reason}, 200 if alive else 503)

    async def readyz(_request: Request) -> Response:
        ready, reason = await app.is_ready()
        return JSONResponse({"ready": ready, "reason": reason}, 200 if ready else 503)

    async def metrics(_request: Request) -> Response:
        own = getattr(app.loaded.instance, "own_metrics", None)
        more = own(app.metrics.labels) if callable(own) else ()
        text = app.metrics.render(app.limiter, app.context.emitter, more)
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            Route("/health/liveness", healthz),
            Route("/readyz", readyz),
            Route("/health/readiness", readyz),
            Route("/metrics", metrics),
        ]
    )
