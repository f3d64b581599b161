"""The echo as an asynchronous function of functions-framework."""

from __future__ import annotations

from typing import Any

import functions_framework.aio


@functions_framework.aio.http
async def echo(request: Any) -> Any:
    """Echo JSON."""
    return await request.json()
