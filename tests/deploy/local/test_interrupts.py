"""Interrupted, refused, raced: a deployment either takes over or leaves everything as it was."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import DeployFailed, SpecError, TargetError, TargetUnreachable
from trimtab.spec import (
    Build,
    EnvSource,
    EnvVar,
    EventTrigger,
    Function,
    FunctionSpec,
    KeyRef,
    Metadata,
    Resources,
    Source,
    Timeouts,
)

HELLO = "def handler(context, event):\n    return 'hello'\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_deploy_that_is_interrupted_leaves_the_old_revision_alone(
    local: Any, call: Any, until: Any, tmp_path: Path, number: int
) -> None:
    url = local.deploy("slow", HELLO).url
    source = tmp_path / "slow.py"
    source.write_text("import time\n\ntime.sleep(60)\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "deploy", str(source)],
        env={**os.environ, "TRIMTAB_HOME": str(local.home)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    until(lambda: (local.home / "logs/slow/slow-00002.log").exists())
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else -9), output
    assert "Traceback" not in output
    until(lambda: local.target.get("slow").replicas == 1)
    info = local.target.get("slow")
    assert [(revision.name, revision.percent) for revision in info.revisions] == [("slow-00001", 100)]
    assert call(url).body == b"hello"
    assert local.deploy("slow", HELLO + "# again\n").changed


def test_deployments_of_one_function_at_once_come_one_after_the_other(local: Any, call: Any) -> None:
    local.target.up()
    with ThreadPoolExecutor(5) as pool:
        deployed = list(pool.map(lambda n: local.deploy("raced", f"def handler(event):\n    return '{n}'\n"), range(5)))
    assert sorted(deployment.revision for deployment in deployed) == [f"raced-0000{n}" for n in range(1, 6)]
    last = max(range(5), key=lambda n: deployed[n].revision)
    assert call(deployed[0].url).body == str(last).encode()
    assert sum(revision.percent for revision in local.target.get("raced").revisions) == 100


def test_a_filter_that_cannot_be_is_refused_before_anything_is_deployed(local: Any) -> None:
    with pytest.raises(SpecError, match=r"spec\.triggers\[0\]\.filters\[0\]"):
        local.deploy("fussy", HELLO, triggers=[EventTrigger(name="t", filters=[{"exactly": {"type": "x"}}])])
    assert local.target.functions() == []


def test_a_name_that_cannot_be_is_refused_by_the_daemon_too(local: Any) -> None:
    with pytest.raises(SpecError, match=r"^metadata\.name: found 'Bad_Name', allowed: "):
        local.deploy("Bad_Name", HELLO)
    assert local.target.functions() == []


def test_what_this_target_does_not_do_is_said(local: Any) -> None:
    warnings = local.deploy("modest", HELLO, resources=Resources(limits={"cpu": 1})).warnings
    assert warnings == [
        "spec.resources: requests and limits are not enforced on the local target",
    ]


def test_a_missing_secret_says_where_to_put_it(local: Any, call: Any) -> None:
    source = EnvSource(secret_key_ref=KeyRef(name="db", key="password"))
    code = "import os\n\ndef handler(event):\n    return os.environ['PASSWORD']\n"
    function = local.function("private", code, env=[EnvVar(name="PASSWORD", value_from=source)])
    with pytest.raises(DeployFailed, match=r"needs 'password' of 'db', and there is no file .*secrets/db/password"):
        local.target.deploy(function)
    folder = local.home / "secrets/db"
    folder.mkdir(parents=True)
    (folder / "password").write_text("s3cret")
    assert call(local.target.deploy(function).url).body == b"s3cret"


def test_a_replica_that_takes_too_long_is_given_up(local: Any, until: Any) -> None:
    code = "import time\n\ntime.sleep(60)\n"
    with pytest.raises(DeployFailed, match=r"not ready within 0\.5 s"):
        local.deploy("late", code, timeouts=Timeouts(start="500ms"))
    assert local.target.functions() == []
    until(lambda: not (local.home / "functions/late").exists())


def test_a_folder_is_deployed_whole_and_its_own_modules_win(local: Any, call: Any, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "package").mkdir(parents=True)
    (folder / "package/__init__.py").write_text("NAME = 'own'\n")
    (folder / "six.py").write_text("NAME = 'own six'\n")
    (folder / "main.py").write_text("import package, six\n\ndef handler(event):\n    return package.NAME + six.NAME\n")
    function = Function(metadata=Metadata(name="whole"), spec=FunctionSpec(source=Source(path=str(folder))))
    assert call(local.target.deploy(function).url).body == b"ownown six"


def test_a_file_whose_neighbour_is_missing_is_told_to_deploy_the_folder(local: Any, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "alone.py").write_text("import helper\n")
    function = Function(
        metadata=Metadata(name="alone"), spec=FunctionSpec(source=Source(path=str(tmp_path / "alone.py")))
    )
    with pytest.raises(DeployFailed, match=r"helper\.py lies beside alone\.py: deploy the folder to take both"):
        local.target.deploy(function)


def test_requirements_get_an_environment_of_their_own(local: Any, call: Any) -> None:
    code = "import sys, iniconfig\n\ndef handler(event):\n    return [iniconfig.__name__, sys.prefix]\n"
    deployment = local.deploy("needy", code, build=Build(requirements=["iniconfig==2.1.0"]))
    name, prefix = call(deployment.url).json()
    assert name == "iniconfig"
    assert prefix.startswith(str(local.home / "environments"))


def test_a_home_that_cannot_be_written_is_a_clear_error(tmp_path: Path, local: Any) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    answer = local.cli("up", env={"TRIMTAB_HOME": str(blocked / "home")})
    assert answer.returncode != 0
    assert "cannot be made" in answer.stderr
    assert "Traceback" not in answer.stderr
    with pytest.raises(TargetUnreachable):
        local.target.status()


def test_a_full_disk_is_a_clear_error_and_the_functions_serve_on(local: Any, call: Any) -> None:
    """Without root a full disk cannot be made; a limit on the size of files has the daemon meet the same errors."""
    url = local.deploy("steady", HELLO).url
    pid = local.pid()
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
    with pytest.raises(TargetError, match="the daemon cannot use its files"):
        local.deploy("steady", HELLO + "# changed\n")
    assert call(url).body == b"hello"
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    assert local.deploy("steady", HELLO + "# changed\n").changed
    assert call(url).body == b"hello"
