"""The comparison that the pages' tests rest on: what may differ does, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("ready after 12 ms: http://127.0.0.1:35000/", "ready after 1.2 s: http://127.0.0.1:41234/"),
        ("12:00:01.123 00001 INFO  seen", "09:59:59.000 00001 INFO    seen"),
        ("first\n...\nlast", "first\nlast"),
        ("first\n...\nlast", "first\none\ntwo\nlast"),
        ("home  .../x", "home  /tmp/a b/x"),
        ("at 2026-11-24T01:48:16.005Z", "at 2027-01-01T00:00:00Z"),
    ],
)
def test_what_differs_from_run_to_run_may_differ(session: Any, shown: str, printed: str) -> None:
    assert session.matches(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("hello-00001 is ready", "hello-00002 is ready"),
        ("2 replicas", "3 replicas"),
        ("one line", "one line\nand another"),
        ("one line", ""),
        ("", "something"),
        ("first\n...\nlast", "first\none"),
        ("http://127.0.0.1:35000/ http://127.0.0.1:35000/", "http://127.0.0.1:1234/ http://127.0.0.1:1235/"),
    ],
)
def test_anything_else_may_not(session: Any, shown: str, printed: str) -> None:
    assert not session.matches(shown, printed)


def test_a_port_that_was_shown_stands_for_this_runs_port_from_then_on(session: Any) -> None:
    assert session.matches("up at http://127.0.0.1:35000/", "up at http://127.0.0.1:41234/")
    assert session.put_in("curl http://127.0.0.1:35000/") == "curl http://127.0.0.1:41234/"
    assert not session.matches("up at http://127.0.0.1:35000/", "up at http://127.0.0.1:41235/")


def test_commands_share_one_shell_on_a_terminal(session: Any) -> None:
    assert session.run("place=here; cd examples") == (0, "")
    assert session.run('echo $place; basename "$PWD"; test -t 1') == (0, "here\nexamples\n")
    assert session.run("echo no end of line | tr -d '\\n'; false") == (1, "no end of line")
