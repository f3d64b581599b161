"""What the functions of one machine share: the store, the warm parents, interpreters, and the environment they get."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from trimtab._version import __version__
from trimtab.config import Settings
from trimtab.deploy.local.environments import ensure, sweep
from trimtab.deploy.local.live import Live
from trimtab.deploy.local.source import Snapshot
from trimtab.deploy.local.store import Revision, Store
from trimtab.deploy.local.zygotes import Zygote
from trimtab.errors import DeployFailed
from trimtab.handlers.documents import Documents, open_documents
from trimtab.handlers.serving import document as models
from trimtab.runtime.config import ReplicaConfig
from trimtab.spec import EnvVar, Function, KeyRef, Sink
from trimtab.spec.quantity import seconds, size

logger = logging.getLogger("trimtab.machine")

_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "TRIMTAB_HOME")
_PREFIXES = ("OPENBLAS_", "OMP_", "MKL_", "SSL_CERT_")


def _seen(path: str | None) -> tuple[str, int, int] | None:
    """Tell one content of a model's file from another without reading it: a new one makes a new revision."""
    try:
        found = Path(path or "").stat()
    except OSError:
        return None
    return str(path), found.st_size, found.st_mtime_ns


class Machine:
    """The daemon's common ground. `broker_url` is where its broker listens, without a trailing slash."""

    def __init__(self, settings: Settings, store: Store, broker_url: str) -> None:
        self.settings, self.store, self.broker_url = settings, store, broker_url
        self.python = sys.executable
        self.slots_changed: Callable[[], None] = lambda: None
        self._zygotes: dict[bytes, Zygote] = {}

    def code(self, function: str, revision: str) -> Path:
        """Where a revision's copy of the code lies."""
        return self.settings.home / "functions" / function / revision

    @property
    def copies(self) -> Path:
        """Where all functions' copies of their code lie."""
        return self.settings.home / "functions"

    def folder(self, function: str) -> Path:
        """Where all revisions of a function lie."""
        return self.settings.home / "functions" / function

    def digest(self, function: Function, snapshot: Snapshot) -> str:
        """Name the function by all that makes a revision: its spec (without where the code came from), code, runtime."""
        spec = msgspec.structs.replace(function.spec, source=type(function.spec.source)())
        seen = [_seen(model.path) for model in spec.models]
        document = msgspec.json.encode([function.metadata, spec, *seen], order="deterministic")
        return hashlib.sha256(b"\0".join([document, snapshot.digest().encode(), __version__.encode()])).hexdigest()

    def forget(self, function: str) -> None:
        """Remove what a deleted function's models became."""
        for name in self.documents.names(models.name(function, "")):
            self.documents.delete(name)

    async def interpreter(self, function: Function, folder: Path) -> str:
        """Give the Python that has what the function requires, building its environment at first use.

        Requirements that are relative paths are meant from `folder`, where the function's code lies.
        """
        build, root = function.spec.build, self.settings.home / "environments"
        environment = await ensure(build.requirements, build.python, root, directory=folder)
        return str(environment.python)

    async def sweep(self) -> None:
        """Remove the environments that were not used for longest, none of a revision we know."""
        in_use = [Path(python) for python in self.store.interpreters()]
        for key in await asyncio.to_thread(sweep, self.settings.home / "environments", in_use, time.time()):
            logger.info("environment %s is removed", key)

    async def warm(self) -> None:
        """Start the parent that functions without requirements are forked from."""
        await self.zygote(self.python, [], self.environ([])).start()

    def zygote(self, python: str, preload: list[str], environ: dict[str, str]) -> Zygote:
        """Give the warm parent for this interpreter, these modules and this environment."""
        key = msgspec.json.encode([python, preload, environ], order="deterministic")
        if key not in self._zygotes:
            zygote = Zygote(python, preload, environ, self.settings.logs / "zygotes.log")
            zygote.on_child = self._child
            self._zygotes[key] = zygote
        return self._zygotes[key]

    def _child(self, pid: int, alive: bool) -> None:
        (self.store.born if alive else self.store.died)(pid)

    async def close(self) -> None:
        """End the warm parents."""
        for zygote in self._zygotes.values():
            await zygote.stop()

    def live(
        self, revision: Revision, *, initialised: bool, on_change: Callable[[], None], on_error: Callable[[str], None]
    ) -> Live:
        """Make a revision callable."""
        common = self.environ(revision.document.spec.env)
        config = self.config(revision)
        return Live(
            revision,
            config,
            self.zygote(revision.python, revision.preload, common),
            {**common, **self._contract(config)},
            self.settings,
            initialised=initialised,
            on_change=on_change,
            on_error=on_error,
        )

    def config(self, revision: Revision) -> ReplicaConfig:
        """Give a replica its orders."""
        spec = revision.document.spec
        return ReplicaConfig(
            function=revision.function,
            revision=revision.name,
            configuration=revision.function,
            handler=spec.handler,
            directory=str(self.code(revision.function, revision.name)),
            kind=spec.kind,
            concurrency=spec.scale.concurrency,
            queue=spec.limits.queue,
            request_timeout=seconds(spec.timeouts.request),
            body_limit=size(spec.limits.body),
            drain=seconds(spec.timeouts.drain),
            workers=spec.scale.workers,
            sink=self.sink(spec.sink, revision.function),
            overrides=spec.sink.extensions if spec.sink else {},
            spool=str(self.settings.home / "spool" / revision.function),
            **(self._serving(revision) if spec.kind == "serving" else {}),
        )

    def _serving(self, revision: Revision) -> dict[str, Any]:
        """What a model server is told besides. Here its callers are this machine's, so they may load and unload models."""
        spec = revision.document.spec
        return {
            "models": msgspec.json.encode(spec.models).decode(),
            "tracking": msgspec.json.encode(spec.tracking).decode() if spec.tracking is not None else "",
            "retrain": msgspec.json.encode(spec.retrain).decode() if spec.retrain is not None else "",
            "state": self.state_url,
            "model_control": "on",
        }

    @property
    def state_url(self) -> str:
        """Where functions keep the small documents that they share."""
        return f"sqlite://{self.settings.home}/state.db"

    @cached_property
    def documents(self) -> Documents:
        """The documents there."""
        return open_documents(self.state_url)

    def sink(self, sink: Sink | None, function: str) -> str | None:
        """Resolve a function's sink to the URL that `K_SINK` holds; a stream's credentials stay with the daemon."""
        if sink is None:
            return None
        if sink.stream is not None:
            return f"{self.broker_url}/-/sinks/{function}"
        return sink.uri or f"{self.broker_url}/{sink.broker}"

    def environ(self, variables: list[EnvVar]) -> dict[str, str]:
        """Build a function's environment: a few of the daemon's own variables, where artifacts are, what the spec says."""
        inherited = {
            name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith(_PREFIXES)
        }
        inherited["TRIMTAB_ARTIFACTS"] = self.settings.artifact_store
        inherited["TRIMTAB_STATE"] = self.state_url
        return {**inherited, **{variable.name: self._value(variable) for variable in variables}}

    def _value(self, variable: EnvVar) -> str:
        source = variable.value_from
        if source is None:
            return variable.value or ""
        if source.secret_key_ref is not None:
            return self._referred("secrets", source.secret_key_ref, variable.name)
        assert source.config_map_key_ref is not None  # `check` saw to it
        return self._referred("configmaps", source.config_map_key_ref, variable.name)

    def _referred(self, kind: str, ref: KeyRef, variable: str) -> str:
        path = self.settings.home / kind / ref.name / ref.key
        try:
            return path.read_text("utf-8")
        except (FileNotFoundError, NotADirectoryError):
            if ref.optional:
                return ""
            raise DeployFailed(
                f"the variable {variable!r} needs {ref.key!r} of {ref.name!r}, and there is no file {path}: "
                f"write the value there, or set optional: true"
            ) from None

    async def rehearse(self, revision: Revision) -> tuple[str | None, str]:
        """Load a job's handler in a process of its own; give the error (None: it loads) and its traceback."""
        environ = self.environ(revision.document.spec.env)
        zygote = self.zygote(revision.python, revision.preload, environ)
        await zygote.start()
        folder = self.code(revision.function, revision.name)
        result = folder.with_name(f".{folder.name}.rehearsal")
        message = {
            "mode": "job",
            "rehearsal": True,
            "function": revision.function,
            "handler": revision.document.spec.handler,
            "directory": str(folder),
            "result": str(result),
            "environ": environ,
        }
        with (self.settings.logs / "zygotes.log").open("ab") as log:
            child = zygote.fork(message, [log.fileno()])
        try:
            code = await asyncio.wait_for(child.exited, seconds(revision.document.spec.timeouts.start))
        except TimeoutError:
            child.signal(signal.SIGKILL)
            return f"not loaded within {revision.document.spec.timeouts.start} (spec.timeouts.start)", ""
        finally:
            child.control.close()
        if code == 0:
            return None, ""
        try:
            said = msgspec.json.decode(result.read_bytes())
        except (OSError, msgspec.DecodeError):
            return f"its process ended with code {code}", ""
        finally:
            result.unlink(missing_ok=True)
        return said["error"], said["traceback"]

    @staticmethod
    def _contract(config: ReplicaConfig) -> dict[str, str]:
        """Set the variables of Knative's runtime contract."""
        contract = {
            "K_SERVICE": config.function,
            "K_REVISION": config.revision,
            "K_CONFIGURATION": config.configuration,
        }
        if config.sink is not None:
            contract["K_SINK"] = config.sink
            if config.overrides:
                contract["K_CE_OVERRIDES"] = msgspec.json.encode({"extensions": config.overrides}).decode()
        return contract

    def warnings(self, function: Function) -> list[str]:
        """Say which fields this target keeps but does not use."""
        spec, said = function.spec, []
        if spec.resources.limits or spec.resources.requests:
            said.append("spec.resources: requests and limits are not enforced on the local target")
        if spec.volumes:
            said.append("spec.volumes: volumes are not mounted on the local target")
        if spec.scheduling != type(spec.scheduling)():
            said.append("spec.scheduling: one machine has nothing to choose from")
        if spec.build.image or spec.build.base_image or spec.build.commands or spec.build.platforms:
            said.append("spec.build: no image is built for the local target; only requirements and python are used")
        return said
