"""How a client proves who it is: Basic, and tokens (Bearer) that hold for every repository that was asked for so far.

This is a backend of `oras`, which calls it when a registry answers 401 or 403. Its own keeps one token for the first
repository it met, does not know Basic beside it, and asks only ~/.docker/config.json.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import requests
from oras.auth import TokenAuth

from trimtab.builder.registry.credentials import Credential, files
from trimtab.errors import RegistryError

_CHALLENGE = re.compile(
    r'(?P<scheme>Basic|Bearer)\s+(?P<parameters>(?:[a-z_]+=(?:"[^"]*"|[^\s,]+)\s*,?\s*)*)', re.IGNORECASE
)
_PARAMETER = re.compile(r'([a-z_]+)=(?:"([^"]*)"|([^\s,]+))', re.IGNORECASE)


class Auth(TokenAuth):  # type: ignore[misc]  # oras is not typed
    """The logins of one registry. `find` gives its credential, and is asked at the first challenge alone."""

    def __init__(
        self, host: str, session: requests.Session, prefix: str, find: Callable[[], Credential | None]
    ) -> None:
        super().__init__()
        self.session, self.prefix, self._tls_verify = session, prefix, True
        self._host, self._find, self._header, self._scopes = host, find, "", list[str]()
        self._credential: Credential | None = None
        self._looked = False

    def load_configs(self, container: Any, configs: Any = None) -> None:
        """Be asked by oras to read ~/.docker/config.json; `credentials.find` does, and more."""

    def get_auth_header(self) -> dict[str, str]:
        """Give the header of every request: oras sends it once `token` is set."""
        return {"Authorization": self._header} if self._header else {}

    def authenticate_request(
        self, original: requests.Response, headers: dict[str, str], refresh: bool = False
    ) -> tuple[dict[str, str], bool]:
        """Answer a registry's 401 or 403. Errors: RegistryError when there is no login, a wrong one, or not enough."""
        challenges = dict(_challenges(original.headers.get("Www-Authenticate", "")))
        if "bearer" in challenges:
            self._header = f"Bearer {self._ask(challenges['bearer'])}"
        elif "basic" in challenges and not self._header:
            self._header = self._login().basic
        else:
            raise self.refused(original)
        self.token = "set"  # noqa: S105  (what makes oras send our header)
        return {**(headers or {}), **self.get_auth_header()}, True

    def credential(self) -> Credential | None:
        """Give what is kept for this registry, if anything."""
        if not self._looked:
            self._credential, self._looked = self._find(), True
        return self._credential

    def _login(self) -> Credential:
        found = self.credential()
        if found is None:
            places = ", ".join(map(str, files()))
            raise RegistryError(
                f"the registry {self._host} wants a login and there is none (looked into {places}):"
                f" `docker login {self._host}` or `podman login {self._host}` makes one",
                401,
            )
        return found

    def _ask(self, parameters: dict[str, str]) -> str:
        """Get a token for every scope that was asked for so far, so that those of a mount hold together."""
        for scope in parameters.get("scope", "").split(" "):
            if scope and scope not in self._scopes:
                self._scopes.append(scope)
        fields: dict[str, Any] = {"scope": self._scopes}
        if parameters.get("service"):
            fields["service"] = parameters["service"]
        realm, found = parameters.get("realm", ""), self.credential()
        if found is not None and found.token:
            fields = {**fields, "scope": " ".join(self._scopes), "grant_type": "refresh_token", "client_id": "trimtab"}
            answer = self.session.post(realm, data={**fields, "refresh_token": found.token}, verify=self._tls_verify)
        else:
            login = {"Authorization": found.basic} if found is not None else {}
            answer = self.session.get(realm, params=fields, headers=login, verify=self._tls_verify)
        if answer.status_code != 200:
            raise self.refused(answer) if found is not None else self._unknown(answer)
        body = answer.json()
        return str(body.get("token") or body.get("access_token") or "")

    def _unknown(self, answer: requests.Response) -> RegistryError:
        self._login()
        return self.refused(answer)

    def refused(self, answer: requests.Response) -> RegistryError:
        """Make the error for an answer that is final."""
        found, status = self.credential(), answer.status_code
        if found is None:
            return RegistryError(
                f"the registry {self._host} refuses {_what(answer)} to whoever is not logged in", status
            )
        who = f"the login of {found.user!r}" if found.user else "the login"
        if status == 401:
            return RegistryError(
                f"the registry {self._host} refused {who} (from {found.where}): user or password is wrong or has"
                f" expired; `docker login {self._host}` replaces it",
                status,
            )
        return RegistryError(f"the registry {self._host} forbids {_what(answer)} to {who} (from {found.where})", status)


def _what(answer: requests.Response) -> str:
    return f"{answer.request.method} {urlsplit(answer.request.url or '').path}"


def _challenges(header: str) -> list[tuple[str, dict[str, str]]]:
    """Read WWW-Authenticate, which may hold several challenges."""
    return [
        (
            match["scheme"].lower(),
            {name.lower(): quoted or plain for name, quoted, plain in _PARAMETER.findall(match["parameters"])},
        )
        for match in _CHALLENGE.finditer(header)
    ]
