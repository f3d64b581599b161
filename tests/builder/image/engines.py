"""Docker and containerd, started for the tests: stores, sockets and networks of their own."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.builder.image.servers import needs

_CONFIG = """version = 2
root = "{folder}/containerd"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{folder}/containerd.sock"
"""


@contextmanager
def daemon(command: Sequence[str], log: Path, answers: Callable[[], bool]) -> Iterator[None]:
    """Run a daemon until it is needed no more; it has begun when `answers` says so."""
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            deadline = time.monotonic() + 60
            while not answers():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield
        finally:
            process.terminate()


@contextmanager
def containerd(folder: Path) -> Iterator[str]:
    """Run containerd; gives the path of its socket."""
    needs("containerd", "ctr")
    if os.geteuid() != 0:
        pytest.skip("containerd is run as root here")
    (folder / "config.toml").write_text(_CONFIG.format(folder=folder))
    socket = str(folder / "containerd.sock")
    command = ["containerd", "--config", str(folder / "config.toml")]
    with daemon(command, folder / "containerd.log", lambda: succeeds("ctr", "--address", socket, "version")):
        yield socket


@contextmanager
def docker(folder: Path) -> Iterator[str]:
    """Run Docker on a containerd of its own, without a network; gives the address for DOCKER_HOST."""
    needs("dockerd", "docker")
    host = f"unix://{folder}/docker.sock"
    with containerd(folder) as socket:
        command = ["dockerd", "--host", host, "--containerd", socket, "--storage-driver=vfs", "--bridge=none"]
        command += [
            "--iptables=false",
            "--ip6tables=false",
            f"--data-root={folder}/docker",
            f"--exec-root={folder}/exec",
        ]
        command += [f"--pidfile={folder}/docker.pid"]
        try:
            with daemon(command, folder / "docker.log", lambda: succeeds("docker", "--host", host, "info")):
                yield host
        finally:
            for left in folder.glob("exec/netns/*"):  # Docker leaves its network namespaces mounted
                succeeds("umount", str(left))


def succeeds(*command: str) -> bool:
    """Tell whether a command ends with 0."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
