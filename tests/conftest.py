"""Settings of all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import settings

# No test asserts on wall time, and a busy machine must not make one fail; the limit of each test is pytest-timeout's.
settings.register_profile("trimtab", deadline=None)
settings.load_profile("trimtab")

# Who is started in the background of a script ignores Ctrl-C, and so would all that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """With TRIMTAB_REQUIRE_SERVERS=1 a test that is skipped (for want of a server, say) fails: CI must run them all."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("TRIMTAB_REQUIRE_SERVERS") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipped, and TRIMTAB_REQUIRE_SERVERS=1 wants every test to run: {report.longrepr}"
    return report
