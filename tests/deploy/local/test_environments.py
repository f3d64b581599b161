from __future__ import annotations

import asyncio
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab.deploy.local.environments import Environment, build, ensure, own, sweep, uv
from trimtab.deploy.local.environments.lock import try_lock
from trimtab.errors import DeployFailed, TargetError


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test to its end."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


def wheel(folder: Path, *, name: str = "tinything", body: str = "answer = 42\n", requires: str = "") -> Path:
    """A wheel of one module (PEP 427), made without any tool or network."""
    folder.mkdir(parents=True, exist_ok=True)
    path, info = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", body)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "environments"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network, and a Trimtab without needs of its own, so that nothing has to be fetched."""
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setattr(own, "requires", lambda _: [])


def python(environment: Environment, code: str) -> str:
    done = subprocess.run([environment.python, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


# What there is


@pytest.mark.parametrize("version", [None, "3.{1}", "3.{1}.{2}"])
@in_loop
async def test_nothing_required_of_our_own_python_is_our_own_interpreter(root: Path, version: str | None) -> None:
    wanted = version and version.format(*sys.version_info)
    assert await ensure([], wanted, root) == Environment(Path(sys.executable), "")
    assert not root.exists()


@in_loop
async def test_packages_from_the_index_beside_trimtab(root: Path) -> None:
    """The environment imports the requirements and the runtime, in the versions that its lock file says."""
    told: list[str] = []
    made = await ensure(["six==1.16.0", "iniconfig"], None, root, progress=told.append)
    assert told == ["making an environment for six==1.16.0, iniconfig"]
    code = "import six, iniconfig, trimtab.runtime.stats, trimtab, msgspec; print(six.__version__, trimtab.__file__)"
    version, package = python(made, code).split()
    assert version == "1.16.0"
    assert Path(package).parent.resolve() == own.PACKAGE
    home = made.python.parent.parent
    assert "six==1.16.0" in (home / "requirements.lock").read_text().splitlines()
    assert any(home.glob("lib/*/site-packages/__pycache__/six.*.pyc"))
    assert names(root) == [made.key, f"{made.key}.lock"]
    assert await ensure(["iniconfig", "six==1.16.0"], None, root, progress=told.append) == made
    assert len(told) == 1


@pytest.mark.usefixtures("offline")
@in_loop
async def test_a_local_wheel_needs_no_network(root: Path, tmp_path: Path) -> None:
    made = await ensure([str(wheel(tmp_path / "wheels"))], None, root)
    assert python(made, "import tinything, trimtab; print(tinything.answer, trimtab.__version__)").startswith("42 ")


@pytest.mark.usefixtures("offline")
@in_loop
async def test_a_relative_path_is_relative_to_the_functions_folder(root: Path, tmp_path: Path) -> None:
    wheel(tmp_path / "code" / "wheels")
    made = await ensure(["./wheels/tinything-1.0-py3-none-any.whl"], None, root, directory=tmp_path / "code")
    assert python(made, "import tinything; print(tinything.answer)") == "42"


@pytest.mark.usefixtures("offline")
@in_loop
async def test_a_file_that_changed_under_its_name_makes_another_environment(root: Path, tmp_path: Path) -> None:
    path = wheel(tmp_path)
    for requirement in (str(path), f"tinything @ file://{path}"):
        first = await ensure([requirement], None, root)
        wheel(tmp_path, body="answer = 43\n")
        second = await ensure([requirement], None, root)
        assert first.key != second.key
        assert python(second, "import tinything; print(tinything.answer)") == "43"
        wheel(tmp_path)


@pytest.mark.usefixtures("offline")
@in_loop
async def test_many_who_ask_at_once_make_it_once(root: Path, tmp_path: Path) -> None:
    told: list[str] = []
    requirements = [str(wheel(tmp_path))]
    made = await asyncio.gather(*(ensure(requirements, None, root, progress=told.append) for _ in range(5)))
    assert len(told) == 1
    assert len(set(made)) == 1
    assert python(made[0], "import tinything; print(tinything.answer)") == "42"


@pytest.mark.usefixtures("offline")
@in_loop
async def test_an_environment_whose_interpreter_went_away_is_made_again(root: Path, tmp_path: Path) -> None:
    requirements = [str(wheel(tmp_path))]
    made = await ensure(requirements, None, root)
    made.python.unlink()
    made.python.symlink_to("/nowhere/python")
    assert await ensure(requirements, None, root) == made
    assert python(made, "import tinything; print(tinything.answer)") == "42"


def test_trimtab_among_the_requirements_is_the_one_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["msgspec>=0.20", "numpy>=2.0; extra == 'ml'", 'redis>=5.2; extra == "redis"', "x; python_version < '3.12'"]
    monkeypatch.setattr(own, "requires", lambda _: lines)
    base = ["msgspec>=0.20", "x; python_version < '3.12'"]
    assert own.complete(["six"]) == (["six"], base)
    assert own.complete(["trimtab", "trimtab-extras"]) == (["trimtab-extras"], base)
    assert own.complete(["Trimtab[ML, redis]>=0.1"]) == ([], ["msgspec>=0.20", "numpy>=2.0", "redis>=5.2", base[1]])


# What goes wrong


async def failure(root: Path, *requirements: str, version: str | None = None) -> str:
    """The message of the failure, which leaves nothing behind."""
    with pytest.raises(DeployFailed) as caught:
        await ensure(list(requirements), version, root)
    assert names(root) == []
    return str(caught.value)


@in_loop
async def test_a_package_that_does_not_exist_is_named(root: Path) -> None:
    message = await failure(root, "no-such-package-for-trimtab")
    assert message.startswith("a required package does not exist:\n  Because no-such-package-for-trimtab was not found")


@in_loop
async def test_a_version_that_does_not_exist_is_named(root: Path) -> None:
    message = await failure(root, "six==99.1")
    assert message.startswith("the requirements cannot be met:\n  Because there is no version of six==99.1")


@in_loop
async def test_a_conflict_with_trimtab_itself_is_told_as_such(root: Path) -> None:
    message = await failure(root, "msgspec<0.10")
    assert message.startswith("the requirements cannot be met:\n  Because you require msgspec<0.10 and msgspec>=")
    assert "\n  (it is trimtab itself that requires msgspec>=" in message


@in_loop
async def test_no_network_is_told_as_such(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    monkeypatch.delenv("UV_FIND_LINKS", raising=False)
    message = await failure(root, "six")
    assert message.startswith(
        "the requirements cannot be installed: the package index does not answer (is this machine online?):"
    )
    assert "Connection refused" in message


@in_loop
async def test_a_line_that_is_no_requirement_is_shown(root: Path) -> None:
    message = await failure(root, "six>=")
    assert message.startswith("the requirements cannot be installed:\n  Couldn't parse requirement")
    assert "six>=" in message


@in_loop
async def test_a_python_that_does_not_exist_is_named(root: Path) -> None:
    message = await failure(root, version="3.99")
    assert message.startswith("there is no Python 3.99 on this machine and none could be fetched:")


@pytest.mark.usefixtures("offline")
@in_loop
async def test_a_package_that_cannot_be_built_shows_its_builders_words(root: Path, tmp_path: Path) -> None:
    project(tmp_path / "broken", "raise RuntimeError('this backend is broken')\n")
    message = await failure(root, str(tmp_path / "broken"))
    assert message.startswith("the requirements cannot be installed:\n  Failed to build")
    assert "RuntimeError: this backend is broken" in message


@in_loop
async def test_without_uv_it_is_said_how_to_get_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(TargetError, match=r"need uv: pip install 'trimtab\[build\]'"):
        await ensure(["six"], None, root)


def test_messages_in_the_boxes_of_older_uvs_are_read_too() -> None:
    errors = (
        "Using Python 3.11.7 environment at: x\n"
        "  \u00d7 No solution found when resolving dependencies:\n"
        "  ╰─▶ Because nosuch was not found in the package registry and you require\n"
        "      nosuch, we can conclude that your requirements are unsatisfiable.\n\nhint: look elsewhere\n"
    )
    assert uv.explain(errors, "x") == (
        "a required package does not exist:\n  Because nosuch was not found in the package registry and you require\n"
        "        nosuch, we can conclude that your requirements are unsatisfiable."
    )
    assert uv.explain("error: one\n" + "  cause: more\n" * 30, "it failed").splitlines()[-1] == "  ... (11 lines more)"
    assert uv.explain("something odd", "it failed") == "it failed:\n  something odd"


# What is interrupted


def project(folder: Path, backend: str) -> None:
    """A source project whose build runs `backend` (PEP 517, in-tree)."""
    folder.mkdir()
    (folder / "backend.py").write_text(backend)
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "endless"\nversion = "1.0"\n'
    )


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[Path]:
    """A project whose build never ends; it writes its process' number to `pid` beside itself."""
    pid = tmp_path / "pid"
    project(
        tmp_path / "endless",
        f"import os, pathlib, time\npathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\ntime.sleep(3600)\n",
    )
    yield tmp_path / "endless"
    if pid.exists() and pid.read_text() and _runs(int(pid.read_text())):
        os.kill(int(pid.read_text()), signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _writes(path: Path) -> int:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError(f"{path} was not written")


@pytest.mark.usefixtures("offline")
@in_loop
async def test_a_build_that_is_cancelled_ends_with_all_its_processes(root: Path, endless: Path) -> None:
    task = asyncio.create_task(ensure([str(endless)], None, root))
    pid = await asyncio.to_thread(_writes, endless.parent / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(root) == []
    deadline = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert not _runs(pid)


@pytest.mark.usefixtures("offline")
@in_loop
async def test_a_builder_that_is_killed_leaves_nothing_usable_and_the_next_one_cleans_up(
    root: Path, endless: Path
) -> None:
    code = f"""
import asyncio, pathlib
from trimtab.deploy.local.environments import ensure, own
own.requires = lambda _: []
asyncio.run(ensure([{str(endless)!r}], None, pathlib.Path({str(root)!r})))
"""
    builder = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-c", code])
    await asyncio.to_thread(_writes, endless.parent / "pid")
    builder.kill()
    assert await asyncio.to_thread(builder.wait) == -signal.SIGKILL
    left = names(root)
    assert [name.partition(".")[2] for name in left] == ["building", "lock"]
    # The project is mended without its text changing the key: the same environment is asked for again.
    key = left[0].partition(".")[0]
    os.kill(int((endless.parent / "pid").read_text()), signal.SIGKILL)
    (root / f"{key}.building" / "garbage").write_text("half")
    made = await _next_builder(root, endless, key)
    assert not (made.python.parent.parent / "garbage").exists()
    assert names(root) == [key, f"{key}.lock"]


async def _next_builder(root: Path, endless: Path, key: str) -> Environment:
    """Ask for the same key, which a wheel in the project's place can meet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "_key", lambda *_: key)
        return await ensure([str(wheel(endless.parent / "wheels"))], None, root)


# What is swept away


def fake(root: Path, key: str, used: float, *, size: int = 0) -> Path:
    """What counts as an environment for the sweep."""
    (root / key / "bin").mkdir(parents=True)
    (root / key / "bin" / "python").symlink_to(sys.executable)
    (root / key / "big").write_bytes(b"x" * size)
    (root / key / "used").touch()
    (root / f"{key}.lock").touch()
    os.utime(root / key / "used", (used, used))
    return root / key / "bin" / "python"


def test_the_least_recently_used_go_first(root: Path) -> None:
    for number in range(6):
        fake(root, f"e{number}", 1000.0 + number)
    assert sweep(root, [], 9000.0, most=4) == ["e1", "e0"]
    assert names(root) == sorted([f"e{n}" for n in range(2, 6)] + [f"e{n}.lock" for n in range(2, 6)])


def test_the_size_counts_too(root: Path) -> None:
    for number in range(4):
        fake(root, f"e{number}", 1000.0 + number, size=100_000)
    assert sweep(root, [], 9000.0, most_bytes=250_000) == ["e1", "e0"]


def test_one_in_use_or_just_asked_for_or_being_made_stays(root: Path) -> None:
    fake(root, "old", 1000.0)
    serving = fake(root, "serving", 1001.0)
    fake(root, "made", 1002.0)
    fake(root, "fresh", 8900.0)
    lock = try_lock(root / "made.lock")
    assert lock is not None
    try:
        assert sweep(root, [serving], 9000.0, most=0) == ["old"]
    finally:
        os.close(lock)
    assert {"serving", "made", "fresh"} <= set(names(root))


def test_what_a_killed_build_left_is_removed_and_a_running_one_is_not(root: Path) -> None:
    for key in ("dead", "running"):
        (root / f"{key}.building").mkdir(parents=True)
    lock = try_lock(root / "running.lock")
    assert lock is not None
    try:
        assert sweep(root, [], 9000.0) == []
        assert "dead.building" not in names(root)
        assert "running.building" in names(root)
    finally:
        os.close(lock)
    shutil.rmtree(root)
    assert sweep(root, [], 9000.0) == []


@in_loop
async def test_who_waits_for_the_lock_of_an_environment_that_is_removed_gets_a_lock_of_its_own(root: Path) -> None:
    root.mkdir()
    path = root / "x.lock"
    first = try_lock(path)
    assert first is not None
    assert try_lock(path) is None
    path.unlink()
    second = try_lock(path)
    assert second is not None
    os.close(first)
    assert try_lock(path) is None
    os.close(second)
