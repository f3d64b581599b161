"""A real Kubernetes API server with its etcd, as processes of this machine: no nodes, no controllers.

`scripts/kube-apiserver` builds it. It is Kubernetes 1.20, the newest whose server Debian's sources have; what is tested of it
(server-side apply, watches, roles, admission) has kept its ways since.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tests.deploy.knative.fake.store import Refusal
from tests.servers import free_port

PROGRAM = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "trimtab-tests" / "kube-apiserver"
ADMIN, USER = "an-admin", "a-user"
"""Tokens: of who may do all, and of who may do what tests allow."""
APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
_START = 60.0
Object = dict[str, Any]


class ApiServer:
    """The two processes. `stop` and `start` again keep the objects."""

    def __init__(self, folder: Path) -> None:
        if not PROGRAM.exists() or shutil.which("etcd") is None:
            pytest.skip("there is no API server: scripts/test-servers installs etcd and builds kube-apiserver")
        self.folder, self.port, self._etcd = folder, free_port(), f"http://127.0.0.1:{free_port()}"
        self.url, self.certificate = f"https://127.0.0.1:{self.port}", folder / "apiserver.crt"
        (folder / "tokens.csv").write_text(f'{ADMIN},admin,1,"system:masters"\n{USER},ada,2\n')
        key = folder / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
        peers = f"http://127.0.0.1:{free_port()}"
        listening = ["--listen-client-urls", self._etcd, "--advertise-client-urls", self._etcd]
        among = ["--initial-advertise-peer-urls", peers, "--initial-cluster", f"default={peers}"]
        self._processes = [
            self._run("etcd", "--data-dir", folder / "etcd", *listening, "--listen-peer-urls", peers, *among)
        ]
        self._command: list[str | Path] = [
            PROGRAM,
            *("--etcd-servers", self._etcd, "--secure-port", str(self.port), "--insecure-port", "0"),
            *("--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--cert-dir", folder),
            *("--token-auth-file", folder / "tokens.csv", "--authorization-mode", "RBAC"),
            *("--service-account-key-file", key, "--service-account-signing-key-file", key),
            *(
                "--service-account-issuer",
                "https://kubernetes.default.svc",
                "--service-cluster-ip-range",
                "10.0.0.0/24",
            ),
            *("--disable-admission-plugins", "ServiceAccount"),
        ]
        self.start()

    def start(self) -> None:
        self._processes.append(self._run(*self._command))
        deadline = time.monotonic() + _START
        while not self._is_ready():
            assert self._processes[-1].poll() is None, (self.folder / "kube-apiserver.log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def stop(self) -> None:
        server = self._processes.pop()
        server.kill()
        server.wait()

    def close(self) -> None:
        while self._processes:
            self.stop()

    def forget(self, key: str) -> None:
        """Take an object out of etcd, as somebody does while this server is away."""
        encoded = base64.b64encode(f"/registry/{key}".encode()).decode()
        answer = requests.post(f"{self._etcd}/v3/kv/deleterange", json={"key": encoded}, timeout=10)
        assert answer.json()["deleted"] == "1"

    def ask(self, method: str, path: str, body: Object | None = None, content: str = "application/json") -> Object:
        """Do something as the admin. Errors: Refusal."""
        headers = {"Authorization": f"Bearer {ADMIN}", "Content-Type": content}
        verify = str(self.certificate)
        answer = requests.request(method, self.url + path, json=body, headers=headers, verify=verify, timeout=30)
        found: Object = answer.json()
        if not answer.ok:
            raise Refusal(answer.status_code, found["reason"], found["message"], found.get("details", {}).get("causes"))
        return found

    def kubeconfig(self, path: Path, namespace: str, token: str = ADMIN, *, insecure: bool = False) -> Path:
        trust = {"insecure-skip-tls-verify": True} if insecure else {"certificate-authority": str(self.certificate)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "real",
            "contexts": [{"name": "real", "context": {"cluster": "real", "user": "u", "namespace": namespace}}],
            "clusters": [{"name": "real", "cluster": {"server": self.url, **trust}}],
            "users": [{"name": "u", "user": {"token": token}}],
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def _is_ready(self) -> bool:
        if not self.certificate.exists():
            return False
        try:
            headers = {"Authorization": f"Bearer {ADMIN}"}
            return requests.get(f"{self.url}/readyz", headers=headers, verify=str(self.certificate), timeout=5).ok
        except requests.RequestException:
            return False

    def _run(self, *command: str | Path) -> subprocess.Popen[bytes]:
        with (self.folder / f"{Path(command[0]).name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
