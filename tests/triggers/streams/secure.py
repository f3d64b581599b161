"""Brokers that want TLS and a password, with a certificate of an authority that a test makes."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Coroutine
from pathlib import Path
from urllib.parse import quote

from tests.triggers.streams.servers import Kafka, Mosquitto, Nats, Proxy, RabbitMQ, Redis, Server, free_port

from trimtab.spec.stream import KINDS, StreamUrl, parse

USER, PASSWORD = "trimtab", "hunter2-and-more"


def authority(folder: Path) -> Path:
    """Make an authority, and a certificate of it for 127.0.0.1: `ca.pem`, `cert.pem`, `key.pem`. Gives the first."""
    new = ["req", "-newkey", "rsa:2048", "-nodes", "-subj"]
    _openssl(folder, *new, f"/CN=authority {folder.name}", "-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    _openssl(folder, *new, "/CN=broker", "-keyout", "key.pem", "-out", "request.pem")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    signed = [
        "x509",
        "-req",
        "-in",
        "request.pem",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-days",
        "2",
    ]
    _openssl(folder, *signed, "-extfile", "names", "-out", "cert.pem")
    return folder / "ca.pem"


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


class Secure(Server):
    """Mixed into a broker; the certificate is made before it is started."""

    asks = True
    """Whether it can be told to ask for a password."""
    scheme: str
    lets_in = True
    """Whether a right password can be shown."""
    more = ""
    """What the URL says besides."""

    def address(self, ca: Path, stream: str, password: str = PASSWORD) -> StreamUrl:
        login = f"{USER}:$(PASSWORD)@" if self.asks else ""
        trusted = f"&tls_ca={quote(str(ca))}" if KINDS[self.scheme][1] else ""
        options = f"stream={stream}&group=g{trusted}{self.more.format(stream)}"
        url = parse(f"{self.scheme}://{login}127.0.0.1:{self.port}?{options}")
        return url.resolved({"PASSWORD": password})


class SecureRedis(Secure, Redis):
    scheme = "rediss"

    def command(self) -> list[str]:
        files = ["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-auth-clients", "no"]
        user = ["--user", USER, "on", f">{PASSWORD}", "~*", "&*", "+@all", "--user", "default", "off"]
        return [*super().command(), "--port", "0", "--tls-port", str(self.port), *files, *user]

    def answers(self) -> bool:
        return Server.answers(self)


class SecureNats(Secure, Nats):
    scheme = "nats+tls"
    more = "&subject={0}.%3E"

    def command(self) -> list[str]:
        files = ["--tls", "--tlscert", "cert.pem", "--tlskey", "key.pem"]
        return [*super().command(), *files, "--user", USER, "--pass", PASSWORD]


class TokenNats(SecureNats):
    def command(self) -> list[str]:
        files = ["--tls", "--tlscert", "cert.pem", "--tlskey", "key.pem"]
        return [*Nats.command(self), *files, "--auth", PASSWORD]

    def address(self, ca: Path, stream: str, password: str = PASSWORD) -> StreamUrl:
        options = f"stream={stream}&group=g&tls_ca={quote(str(ca))}{self.more.format(stream)}"
        return parse(f"nats+tls://$(TOKEN)@127.0.0.1:{self.port}?{options}").resolved({"TOKEN": password})


class SecureRabbitMQ(Secure, RabbitMQ):
    scheme = "amqps"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        conf = (folder / "rabbitmq.conf").read_text().replace("listeners.tcp.1", "listeners.ssl.1")
        files = "".join(
            f"ssl_options.{name} = {folder}/{file}\n"
            for name, file in {"cacertfile": "ca.pem", "certfile": "cert.pem", "keyfile": "key.pem"}.items()
        )
        user = f"default_user = {USER}\ndefault_pass = {PASSWORD}\n"
        (folder / "rabbitmq.conf").write_text(f"{conf}listeners.tcp = none\n{files}{user}")


class SecureMosquitto(Secure, Mosquitto):
    scheme = "mqtts"

    def command(self) -> list[str]:
        words = super().command()
        users = self.folder / "users"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), USER, PASSWORD], check=True, capture_output=True)
        conf = Path(words[-1]).read_text().replace("allow_anonymous true", "allow_anonymous false")
        files = "".join(
            f"{name} {self.folder / file}\n" for name, file in {"certfile": "cert.pem", "keyfile": "key.pem"}.items()
        )
        head, _, tail = conf.partition("\n")
        Path(words[-1]).write_text(f"{head}\n{files}password_file {users}\n{tail}")
        return words


class SecureKafka(Secure, Kafka):
    """Tansu takes either a certificate or its key, so a relay before it speaks TLS."""

    scheme, asks = "kafka+tls", False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._inner = free_port()

    def command(self) -> list[str]:
        words = super().command()
        words[words.index("--kafka-listener-url") + 1] = f"tcp://127.0.0.1:{self._inner}"
        return words

    def start(self) -> None:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.folder / "cert.pem", self.folder / "key.pem")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._proxy = Proxy(self._inner, made)
        self._on_loop(self._proxy.start())
        self.port = self._proxy.port
        super().start()

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self._inner), 1).close()
        except OSError:
            return False
        return True

    def _on_loop(self, work: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self._on_loop(self._proxy.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        super().stop(number)


class AskingKafka(Secure, Kafka):
    """Tansu lets nobody in who has no password, and so nobody can give one to a user: it refuses everybody."""

    scheme, more, lets_in = "kafka", "&sasl=scram-sha-256", False

    def command(self) -> list[str]:
        return [*super().command(), "--authentication"]


SECURE: list[type[Secure]] = [
    SecureRedis, SecureNats, TokenNats, SecureRabbitMQ, SecureMosquitto, SecureKafka, AskingKafka,
]  # fmt: skip
