"""A replica's settings come from its environment, and what is wrong there is named."""

from __future__ import annotations

import pytest

from trimtab.errors import SpecError
from trimtab.runtime.config import ReplicaConfig, from_environ, share


def test_an_empty_environment_gives_the_defaults() -> None:
    assert from_environ({}) == from_environ({"TRIMTAB_CONCURRENCY": " "}) == ReplicaConfig()


def test_every_setting_has_its_variable() -> None:
    found = from_environ({
        "K_SERVICE": "shop", "K_REVISION": "shop-00001", "K_CONFIGURATION": "shop", "K_SINK": "http://broker",
        "K_CE_OVERRIDES": '{"extensions": {"team": "a"}}', "TRIMTAB_HANDLER": "m:f", "TRIMTAB_DIRECTORY": "/x",
        "TRIMTAB_KIND": "serving", "TRIMTAB_CONCURRENCY": "5", "TRIMTAB_QUEUE": "7", "TRIMTAB_REQUEST_TIMEOUT": "1.5",
        "TRIMTAB_START_TIMEOUT": "2", "TRIMTAB_BODY_LIMIT": "1000", "TRIMTAB_DRAIN": "3", "TRIMTAB_WORKERS": "2",
        "TRIMTAB_SPOOL": "/spool", "TRIMTAB_LOG_LEVEL": "debug", "UNKNOWN": "x",
    })  # fmt: skip
    assert found == ReplicaConfig(
        function="shop", revision="shop-00001", configuration="shop", sink="http://broker", overrides={"team": "a"},
        handler="m:f", directory="/x", kind="serving", concurrency=5, queue=7, request_timeout=1.5, start_timeout=2.0,
        body_limit=1000, drain=3.0, workers=2, spool="/spool", log_level="debug",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("TRIMTAB_CONCURRENCY", "-1", "a whole number from 0 to 1000"),
        ("TRIMTAB_CONCURRENCY", "1.5", "a whole number from 0 to 1000"),
        ("TRIMTAB_QUEUE", "many", "a whole number from 0 to 1000000"),
        ("TRIMTAB_REQUEST_TIMEOUT", "5m", "a number of seconds from 0 to 86400"),
        ("TRIMTAB_REQUEST_TIMEOUT", "nan", "a number of seconds from 0 to 86400"),
        ("TRIMTAB_DRAIN", "inf", "a number of seconds from 0 to 86400"),
        ("TRIMTAB_BODY_LIMIT", "32Mi", "a whole number from 0 to 1099511627776"),
        ("TRIMTAB_WORKERS", "0", "a whole number from 1 to 256"),
        ("TRIMTAB_KIND", "batch", "'http', 'serving', 'job'"),
        ("TRIMTAB_LOG_LEVEL", "loud", "'debug', 'info', 'warning', 'error'"),
        ("K_CE_OVERRIDES", "{", "JSON such as"),
        ("K_CE_OVERRIDES", '{"extensions": {"a": 1}}', "JSON such as"),
    ],
)
def test_a_wrong_value_names_the_variable_and_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_environ({name: value})
    assert caught.value.path == f"environment variable {name}"
    assert allowed in str(caught.value)


@pytest.mark.parametrize(("concurrency", "workers"), [(0, 3), (6, 3), (7, 3), (8, 3), (1, 1)])
def test_workers_share_the_slots(concurrency: int, workers: int) -> None:
    config = ReplicaConfig(concurrency=concurrency, workers=workers, queue=4)
    shares = [share(config, worker) for worker in range(workers)]
    assert sum(one.concurrency for one in shares) == concurrency
    assert sum(one.queue or 0 for one in shares) >= 4
    assert concurrency == 0 or all(one.concurrency for one in shares)


def test_a_worker_without_a_slot_is_refused() -> None:
    with pytest.raises(SpecError, match=r"TRIMTAB_WORKERS: found 3, allowed: 1 to 2 \(TRIMTAB_CONCURRENCY\)"):
        from_environ({"TRIMTAB_CONCURRENCY": "2", "TRIMTAB_WORKERS": "3"})


def test_a_model_server_is_configured_by_the_environment_too() -> None:
    config = from_environ(
        {"TRIMTAB_KIND": "serving", "TRIMTAB_MODELS": "[]", "TRIMTAB_TRACKING": "{}", "TRIMTAB_STATE": "redis://r/0"}
    )
    assert (config.models, config.tracking, config.state, config.model_control) == ("[]", "{}", "redis://r/0", "off")
    assert config.entry == "trimtab.handlers.serving.server:Server"
    assert from_environ({"TRIMTAB_HANDLER": "a:b"}).entry == "a:b"
    with pytest.raises(SpecError, match="TRIMTAB_MODEL_CONTROL: found 'maybe', allowed: 'on', 'off'"):
        from_environ({"TRIMTAB_MODEL_CONTROL": "maybe"})
