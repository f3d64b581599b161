"""Image references, as Docker reads them: `python:3.12-slim` is `docker.io/library/python:3.12-slim`."""

from __future__ import annotations

import re

from msgspec import Struct

from trimtab.errors import SpecError

_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    r"(?:(?P<host>(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::\d+)?)/)?"
    rf"(?P<repository>{_PATH}(?:/{_PATH})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?"
    r"(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_HUB = "docker.io"
_ALLOWED = "an image such as 'registry.example.com/team/hello:1.0'"


class Reference(Struct, frozen=True, kw_only=True):
    """An image's name, in full."""

    host: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.host}/{self.repository}{tag}{digest}"

    @property
    def api(self) -> str:
        """The host that answers for the registry."""
        return "registry-1.docker.io" if self.host == _HUB else self.host

    @property
    def loopback(self) -> bool:
        """Whether the registry is on this machine, where plain HTTP is what one expects."""
        name = self.host.rpartition(":")[0] if re.search(r":\d+$", self.host) else self.host
        return name == "localhost" or name.startswith("127.") or name == "[::1]"

    @property
    def version(self) -> str:
        """What is asked for: the digest, which wins, or the tag."""
        return self.digest or self.tag

    def at(self, digest: str) -> Reference:
        """Name the same repository by digest."""
        return Reference(host=self.host, repository=self.repository, digest=digest)


def parse(text: str, path: str = "image") -> Reference:
    """Read a reference; without tag and digest the tag is `latest`. Errors: SpecError naming `path`."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise SpecError(path, text, _ALLOWED, hint=_hint(text))
    host, repository, tag, digest = match["host"] or "", match["repository"], match["tag"], match["digest"]
    if host and not re.search(r"[.:\]]", host) and host != "localhost":
        host, repository = "", f"{host}/{repository}"  # `team/hello` is a repository of the Hub
        if host.lower() != host or re.search(r"[A-Z]", repository):
            raise SpecError(path, text, _ALLOWED, hint=_hint(text))
    if not host or host in ("index.docker.io", "registry-1.docker.io"):
        host = _HUB
    if host == _HUB and "/" not in repository:
        repository = f"library/{repository}"
    return Reference(host=host, repository=repository, tag=tag or ("" if digest else "latest"), digest=digest or "")


def _hint(text: str) -> str:
    if "://" in text:
        return "An image's name has no scheme"
    if text.lower() != text:
        return "Repositories are in lower case"
    return ""
