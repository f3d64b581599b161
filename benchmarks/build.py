"""Building images, beside `buildah bud` of the equivalent Dockerfile: the same base, the same registry, and a push at the end.

Both sides are started from the command line, have the base image at hand and the wheels in a local folder or cache. The
Dockerfile installs Trimtab and the requirements with pip in one step and copies the code after it. `buildah bud` keeps no
layers unless told so, and installs again at each build; with `--layers` it finds all steps but the last in its cache, and that
is given beside. Needs root, and what `scripts/test-servers` installs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import requires
from itertools import count
from pathlib import Path

from tests.builder.image import debian
from tests.builder.image.servers import Registry, registry

from benchmarks.rounds import Effort, alternate, say
from benchmarks.row import Row
from benchmarks.server import ROOT

REQUIREMENTS = ("pandas", "scikit-learn")
_CODE = "VERSION = {!r}\n\n\ndef handler(context, event):\n    return VERSION\n"
_DOCKERFILE = """\
FROM {base}
COPY trimtab /build
COPY requirements.txt /build/
RUN python3 -m venv /opt/trimtab && /opt/trimtab/bin/pip install --no-index --find-links /wheels -r /build/requirements.txt /build
COPY hello.py /function/
ENV PATH=/opt/trimtab/bin:$PATH
WORKDIR /function
USER 65532:65532
ENTRYPOINT ["trimtab", "serve", "--host", "0.0.0.0"]
CMD ["hello"]
"""
_PEAK = """
import sys
from trimtab.cli.app import app
code = app.main(sys.argv[1:], standalone_mode=False)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(code)
"""
_LAYER = 10**9


def rows(effort: Effort) -> list[Row]:
    """Measure."""
    with _bench() as bench:
        slow = max(1, effort.rounds // 4)
        first = alternate(bench.sides(bench.forget, bench.plain), slow, warm=0)
        bench.ours()
        edit = alternate(bench.sides(bench.edit, bench.plain), slow, warm=0)
        bench.layered()
        same = alternate(bench.sides(lambda: None, bench.layered), effort.rounds)
        quick = alternate(bench.sides(bench.edit, bench.layered), effort.rounds)
        peak = bench.peak(_LAYER)
    row = partial(Row, unit="s", bound="at most")
    plain, layered = "buildah bud, and push", "buildah bud --layers, and push"
    return [
        row(what="build again, nothing changed", ours=same["ours"], beside=layered, theirs=same["buildah"], must=0.5),
        row(what="one line changed", ours=quick["ours"], beside=layered, theirs=quick["buildah"], must=1.0),
        row(what="one line changed", ours=edit["ours"], beside=plain, theirs=edit["buildah"], must=0.1, of="ratio"),
        row(
            what="first build, pandas and scikit-learn",
            ours=first["ours"],
            beside=plain,
            theirs=first["buildah"],
            must=0.5,
            of="ratio",
            why="of 11 s of CPU 4 compile modules, on all cores, and 3 compress; whoever else uses the cores slows that most",
        ),
        Row(what="memory while a layer of 1 GB is built and pushed", unit="MB", ours=[peak], must=200, bound="at most"),
    ]


class Bench:
    """One function, a registry, and both builders with stores of their own."""

    def __init__(self, folder: Path, server: Registry) -> None:
        self.folder, self.server, self.versions = folder, server, count()
        self.code, self.base = folder / "code", f"{server.host}/debian/python:{debian.PYTHON}"
        self.home = folder / "home"
        self.environ = {
            **os.environ,
            "TRIMTAB_HOME": str(self.home),
            "CONTAINERS_CONF": str(folder / "containers.conf"),
        }
        self.environ["CONTAINERS_STORAGE_CONF"] = str(folder / "storage.conf")
        self.names = iter(range(1_000_000))
        self.image = self._new_name()

    def prepare(self) -> None:
        """Lay out code, wheels and base for both."""
        (self.folder / "containers.conf").write_text("[containers]\ndefault_ulimits = []\n")
        store = f'driver = "overlay"\ngraphroot = "{self.folder}/graph"\nrunroot = "{self.folder}/run"\n'
        (self.folder / "storage.conf").write_text(f"[storage]\n{store}")
        self.code.mkdir()
        (self.code / "requirements.txt").write_text("\n".join(REQUIREMENTS) + "\n")
        (self.code / "Dockerfile").write_text(_DOCKERFILE.format(base=self.base))
        (self.code / ".trimtabignore").write_text("trimtab\nDockerfile\n")
        package = self.code / "trimtab"
        package.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, package)
        shutil.copytree(ROOT / "src", package / "src", ignore=shutil.ignore_patterns("__pycache__"))
        self.edit()
        needed = [line for line in requires("trimtab") or [] if "extra ==" not in line]
        self.run(
            *(
                sys.executable,
                "-m",
                "uv",
                "tool",
                "run",
                "pip",
                "download",
                "--quiet",
                "--dest",
                str(self.folder / "wheels"),
            ),
            *("--only-binary=:all:", "--python-version", debian.PYTHON, "hatchling>=1.27", *needed, *REQUIREMENTS),
        )
        copy = ("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{debian.layout()}")
        self.run(*copy, f"docker://{self.base}")
        self.run("buildah", "pull", "--quiet", "--tls-verify=false", self.base)
        self.ours()  # wheels get into uv's cache
        self.forget()

    def edit(self) -> None:
        """Change one line of the code."""
        (self.code / "hello.py").write_text(_CODE.format(f"version {next(self.versions)}"), "utf-8")

    def forget(self) -> None:
        """Let both build from nothing, into a repository that has nothing."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.run("buildah", "rmi", "--all", "--force")
        self.run("buildah", "pull", "--quiet", "--tls-verify=false", self.base)
        self.image = self._new_name()

    def sides(self, before: Callable[[], None], theirs: Callable[[], None]) -> dict[str, Callable[[], float]]:
        """Give both sides; what is done `before` each is not measured."""
        return {"ours": partial(self._seconds, before, self.ours), "buildah": partial(self._seconds, before, theirs)}

    def ours(self) -> None:
        """Build and push with Trimtab."""
        image = ("-t", f"{self.server.host}/ours/{self.image}:1", "--base-image", self.base, "--handler", "hello")
        self.run(sys.executable, "-m", "trimtab", "build", str(self.code), *image)

    def plain(self) -> None:
        """Build and push with buildah, as it is without options."""
        self._buildah()

    def layered(self) -> None:
        """Build and push with buildah and its cache of layers."""
        self._buildah("--layers")

    def _buildah(self, *options: str) -> None:
        image = f"{self.server.host}/theirs/{self.image}:1"
        options = (*options, "--isolation=chroot", "--quiet", f"--volume={self.folder}/wheels:/wheels:ro")
        self.run("buildah", "bud", *options, "--tag", image, str(self.code))
        self.run("buildah", "push", "--quiet", "--tls-verify=false", image)

    def peak(self, size: int) -> float:
        """Give the megabytes (10^6 bytes) that a build takes at most whose code layer has `size` bytes that do not shrink."""
        large = self.folder / "large"
        large.mkdir()
        (large / "hello.py").write_text(_CODE.format("large"), "utf-8")
        with (large / "noise").open("wb") as file:
            for _ in range(size // 10**6):
                file.write(os.urandom(10**6))
        image = ("-t", f"{self.server.host}/ours/large:1", "--base-image", self.base, "--handler", "hello")
        said = self.run(sys.executable, "-c", _PEAK, "build", str(large), *image)
        return int(said.split()[-1]) * 1024 / 1e6

    def run(self, *command: str) -> str:
        """Run a command; give what it says on stderr. Errors: RuntimeError with that."""
        done = subprocess.run(command, env=self.environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
        return done.stderr

    def _seconds(self, before: Callable[[], None], act: Callable[[], None]) -> float:
        before()
        started = time.perf_counter()
        act()
        took = time.perf_counter() - started
        say(f"{act.__name__}: {took:.2f} s")
        return took

    def _new_name(self) -> str:
        return f"hello{next(self.names)}"


@contextmanager
def _bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as scratch, registry(Path(scratch, "registry")) as server:
        bench = Bench(Path(scratch), server)
        bench.prepare()
        try:
            yield bench
        finally:
            bench.run("buildah", "rmi", "--all", "--force")
            for mounted in ("graph/overlay", "graph"):
                subprocess.run(["umount", f"{scratch}/{mounted}"], capture_output=True, check=False)
