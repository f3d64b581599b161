"""The echo as functions-framework's documentation writes an HTTP function."""

from __future__ import annotations

from typing import Any

import functions_framework


@functions_framework.http
def echo(request: Any) -> Any:
    """Echo JSON."""
    return request.get_json()
