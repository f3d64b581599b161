"""From the platform of an image to what uv calls it."""

from __future__ import annotations

from trimtab.errors import SpecError

GLIBC = "2_28"
"""The oldest glibc that wheels may ask for: that of Debian 10 and of every image newer than it."""
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64", "arm64/v8": "aarch64"}


def uv_platform(platform: str) -> str:
    """Give uv's name of an image's platform. Errors: SpecError for one that there are hardly any wheels for."""
    system, _, machine = platform.partition("/")
    if system != "linux" or machine not in _MACHINES:
        raise SpecError("spec.build.platforms", platform, "linux/amd64 or linux/arm64: wheels exist for these")
    return f"{_MACHINES[machine]}-manylinux_{GLIBC}"
