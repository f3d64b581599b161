"""TLS and credentials, the same for every broker: who is let in, what a refusal says, and who gets to see a password."""

from __future__ import annotations

import asyncio
import gc
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.triggers.streams.secure import PASSWORD, SECURE, Secure, authority
from tests.triggers.streams.test_consumer import Function

from trimtab.errors import StreamError
from trimtab.spec.stream import KINDS
from trimtab.triggers.streams.abc import Message, Options, Record, Start
from trimtab.triggers.streams.backends import open_publisher, open_stream
from trimtab.triggers.streams.consumer import Consumer
from trimtab.triggers.streams.figures import metrics
from trimtab.triggers.streams.plan import Plan

pytestmark = pytest.mark.anyio
WRONG = "wrong-and-secret"


def those(kinds: list[type[Secure]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("server", kinds, indirect=True, ids=lambda kind: kind.__name__, scope="module")


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    kind: type[Secure] = request.param
    if missing := kind.missing() or ("" if shutil.which("openssl") else "openssl"):
        pytest.skip(f"{missing} is not installed")
    folder = tmp_path_factory.mktemp("secure")
    authority(folder)
    server = kind(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def ca(server: Secure) -> Path:
    return server.folder / "ca.pem"


def options() -> Options:
    return Options(consumer="c", start=Start(at="earliest"), lease=6.0)


async def refused(url: Any, home: Path) -> list[str]:
    """What consumer and publisher say when they are not let in."""
    said = []
    for made in (open_stream(url, options(), home), open_publisher(url, home)):
        with pytest.raises(StreamError) as caught:
            await made.open()
        await made.close()
        said.append(str(caught.value))
        assert WRONG not in repr(caught.value.__cause__)
    return said


@those([kind for kind in SECURE if kind.lets_in])
async def test_by_tls_and_with_a_password_messages_go_and_come(server: Secure, ca: Path, tmp_path: Path) -> None:
    url = server.address(ca, "orders")
    stream = open_stream(url, options(), tmp_path)
    await stream.open()
    publisher = open_publisher(url, tmp_path)
    await publisher.open()
    await publisher.publish([Record(body=b"a")])
    await publisher.close()
    deadline = time.monotonic() + 20
    found: list[Message] = []
    while not found:
        assert time.monotonic() < deadline
        found = await stream.receive(1, 1.0)
    await stream.ack(found)
    await stream.close()
    assert found[0].body == b"a"


@those([kind for kind in SECURE if KINDS[kind.scheme][1]])
# A handshake that fails leaves paho's socket to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_certificate_of_another_authority_is_refused(server: Secure, tmp_path: Path) -> None:
    url = server.address(authority(tmp_path), "orders")
    for said in await refused(url, tmp_path):
        assert "certificate verify failed" in said
        assert "`tls_ca` in the URL names one" in said
    gc.collect()


@those([kind for kind in SECURE if kind.asks])
async def test_a_wrong_password_is_refused_and_shown_to_nobody(
    server: Secure, ca: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = server.address(ca, "orders", WRONG)
    for said in await refused(url, tmp_path):
        assert "the broker refuses user or password" in said
        assert WRONG not in said
    function = Function()
    plan = Plan(id="f/t", url=url)
    consumer = Consumer(plan, open_stream(url, options(), tmp_path), function, Nobody(), Nobody())
    running = asyncio.create_task(consumer.run())
    deadline = time.monotonic() + 20
    while consumer.figures.state != "broken":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await consumer.stop()
    await running
    await function.aclose()
    everything = caplog.text + consumer.figures.error + metrics({"f/t": consumer.figures}) + str(url) + repr(url)
    assert "the broker refuses user or password" in caplog.text
    assert WRONG not in everything + (server.folder / "log").read_text()
    assert PASSWORD not in everything


class Nobody:
    def url(self, function: str) -> str | None:
        return None

    def free(self, function: str) -> int:
        return 0

    async def bury(self, letters: Any) -> None:
        raise AssertionError(letters)
