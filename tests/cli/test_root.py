from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from trimtab import errors
from trimtab.cli.app import app
from trimtab.cli.exits import Exit, code_of
from trimtab.cli.root import Root


def group(raised: BaseException) -> Root:
    """A root with one command, which raises."""

    @click.command("fail")
    def fail() -> None:
        raise raised

    class One(Root):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            return fail if cmd_name == "fail" else None

    return One("root", sections={"All": {"fail": "nowhere:fail"}})


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SpecError("spec.scale.min", -1, "0 or more"), 5),
        (errors.NameMissing("no such name"), 6),
        (errors.EventError("bad id", "id"), 2),
        (errors.TargetUnreachable("no daemon"), 4),
        (errors.NotFound("no function"), 3),
        (errors.Conflict("it is a job"), 7),
        (errors.DeployFailed("never ready"), 6),
        (errors.InvocationFailed("500", 500), 22),
        (errors.TargetError("disk full"), 1),
        (errors.TrimtabError("something"), 1),
    ],
)
def test_each_error_is_one_message_and_an_exit_code(error: errors.TrimtabError, code: int) -> None:
    result = CliRunner().invoke(group(error), ["fail"])
    assert (result.exit_code, result.stderr, result.stdout) == (code, f"error: {error}\n", "")
    assert code_of(error) == code


def test_every_error_class_has_a_code_of_the_list() -> None:
    for name in errors.__all__:
        assert isinstance(code_of(getattr(errors, name).__new__(getattr(errors, name))), Exit)


def test_a_handlers_traceback_comes_before_the_message() -> None:
    result = CliRunner().invoke(group(errors.DeployFailed("x-2 does not start", "Traceback\n  line 1\n")), ["fail"])
    assert result.stderr == "Traceback\n  line 1\nerror: x-2 does not start\n"


def test_our_own_traceback_is_shown_only_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    error = errors.NotFound("no function 'x'")
    assert "Traceback" not in CliRunner().invoke(group(error), ["fail"]).stderr
    monkeypatch.setenv("TRIMTAB_DEBUG", "1")
    assert "Traceback" in CliRunner().invoke(group(error), ["fail"]).stderr


def test_a_bug_says_so_without_a_traceback() -> None:
    result = CliRunner().invoke(group(KeyError("x")), ["fail"])
    assert result.exit_code == Exit.INTERNAL
    assert result.stderr == "error: internal error: KeyError: 'x' (TRIMTAB_DEBUG=1 shows where)\n"


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), click.Abort()])
def test_ctrl_c_ends_with_130(raised: BaseException) -> None:
    before = signal.getsignal(signal.SIGINT)
    result = CliRunner().invoke(group(raised), ["fail"])
    signal.signal(signal.SIGINT, before)
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr


def test_an_unknown_command_names_the_closest() -> None:
    result = CliRunner().invoke(app, ["deplyo"])
    assert result.exit_code == 2
    assert "no command 'deplyo'. Did you mean 'deploy'?" in result.stderr
    assert "Did you mean" not in CliRunner().invoke(app, ["zzzz"]).stderr


def test_help_lists_every_command_and_every_exit_code() -> None:
    result = CliRunner().invoke(app, ["-h"])
    assert result.exit_code == 0
    context = click.Context(app)
    assert all(f"  {name} " in result.stdout for name in app.list_commands(context))
    assert all(code.meaning in result.stdout for code in Exit)


def test_no_command_at_all_shows_the_help() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2
    assert "Usage: trimtab" in result.stderr.replace("root", "trimtab").replace("app", "trimtab")


def test_usage_errors_point_at_the_commands_help() -> None:
    result = CliRunner().invoke(app, ["deploy"], prog_name="trimtab")
    assert result.exit_code == 2
    assert result.stderr == (
        "error: name a SOURCE, or the models of a model server: --model KEY=PATH\n`trimtab deploy --help` says more.\n"
    )


@pytest.mark.parametrize("name", app.list_commands(click.Context(app)))
def test_every_command_explains_itself_with_examples(name: str) -> None:
    context = click.Context(app, info_name="trimtab")
    command = app.get_command(context, name)
    assert command is not None
    commands = [(name, command)]
    if isinstance(command, click.Group):
        commands += [(f"{name} {below}", command.commands[below]) for below in command.commands]
    for path, each in commands:
        assert each.help is not None
        assert f"trimtab {path}" in each.help.partition("\b\n")[2], path
        assert each.get_short_help_str(60).endswith("."), path


def test_python_m_trimtab_is_the_command() -> None:
    result = subprocess.run([sys.executable, "-m", "trimtab", "--version"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    """`trimtab schema | head -0`: nothing on stderr, and the exit code of a process that SIGPIPE would have ended."""
    read, write = os.pipe()
    os.close(read)
    process = subprocess.run(
        [sys.executable, "-m", "trimtab", "schema"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (process.returncode, process.stderr) == (141, "")


def test_ctrl_c_of_a_real_process_leaves_no_traceback(tmp_path: Path) -> None:
    """It waits on a terminal for an answer; what is typed there is Ctrl-C."""
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "delete", "hello"],
        stdin=terminal,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TRIMTAB_HOME": str(tmp_path)},
    )
    assert process.stderr is not None
    asked = b""
    while b"Delete hello?" not in asked:
        asked += process.stderr.read1()  # type: ignore[attr-defined]
    while process.poll() is None:  # one that comes just before read(2) is not seen before the next
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)
    _, rest = process.communicate()
    os.close(controller)
    os.close(terminal)
    assert process.returncode == 130
    assert b"Traceback" not in rest


def test_ctrl_c_during_start_up_leaves_no_traceback_of_ours(tmp_path: Path) -> None:
    """However early the signal comes after Python itself is up."""
    script = "import os, signal, sys; sys.argv = ['trimtab', 'ls']\n"
    for trap in ("click", "trimtab.cli.commands.functions"):
        finder = (
            "class Trap:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {trap!r}: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Trap())\n"
        )
        command = [sys.executable, "-c", f"{script}{finder}from trimtab.cli import main; main()"]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (process.returncode, process.stdout) == (130, "")
        assert "Traceback" not in process.stderr


LIGHT = {
    "help": ["--help"],
    "ls": ["ls"],
    "get": ["get", "hello"],
    "logs": ["logs", "hello"],
    "runs": ["runs"],
    "deploy": ["deploy", "hello.py"],
    "invoke": ["invoke", "http://127.0.0.1:9/"],
}
HEAVY = ("asyncio", "uvicorn", "starlette", "uvloop", "numpy", "yaml", "cloudevents", "sqlite3", "cronsim")


@pytest.mark.parametrize("path", LIGHT)
def test_light_commands_import_nothing_heavy(path: str, tmp_path: Path) -> None:
    """Start-up speed is what these modules would cost; the daemon is another process and does not count."""
    (tmp_path / "hello.py").write_text("def handler(event): ...\n")
    script = (
        "import sys\n"
        "before = set(sys.modules)  # a tool that measures coverage has some of its own\n"
        "from trimtab.deploy.local.target import LocalTarget\n"
        "from trimtab.errors import TargetUnreachable\n"
        "def up(self): raise TargetUnreachable('not in this test')\n"
        "LocalTarget.up = up\n"
        f"sys.argv = ['trimtab', *{LIGHT[path]!r}]\n"
        "from trimtab.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: code = end.code\n"
        f"print([name for name in {HEAVY!r} if name in {{*sys.modules}} - before], int(code), file=sys.stderr)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "TRIMTAB_HOME": str(tmp_path / "home")},
        check=False,
    )
    expected = 0 if path == "help" else Exit.UNREACHABLE
    assert process.stderr.splitlines()[-1] == f"[] {expected:d}", process.stderr


def test_help_imports_no_spec_and_no_target() -> None:
    script = "import sys; sys.argv = ['trimtab', '--help']\nfrom trimtab.cli import main\ntry: main()\nexcept SystemExit: pass\n"
    script += (
        "print([m for m in ('trimtab.spec', 'trimtab.deploy', 'http.client') if m in sys.modules], file=sys.stderr)"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert process.stderr == "[]\n"


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colour_on_a_terminal_can_be_turned_off(variable: str, value: str, on_terminal: Any) -> None:
    environ = {**os.environ, "TERM": "xterm", "PYTHONWARNINGS": "ignore"}
    environ.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "trimtab", "nothing"]
    assert b"\x1b[31m" in on_terminal(command, environ)
    assert b"\x1b[" not in on_terminal(command, {**environ, variable: value})
