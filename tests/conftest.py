"""Settings of all tests."""

from __future__ import annotations

from hypothesis import settings

# No test asserts on wall time, and a busy machine must not make one fail; the limit of each test is pytest-timeout's.
settings.register_profile("trimtab", deadline=None)
settings.load_profile("trimtab")
