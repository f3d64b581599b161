"""One function on this machine: its port, its revisions, how the traffic is shared, and how a new revision takes over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from trimtab.deploy.abc import Deployment, FunctionInfo, Progress, RevisionInfo
from trimtab.deploy.local import sockets, source
from trimtab.deploy.local.jobsink import PREFIX
from trimtab.deploy.local.live import Live, log_path
from trimtab.deploy.local.machine import Machine
from trimtab.deploy.local.store import Record, Revision, now
from trimtab.deploy.stages import Stages
from trimtab.errors import Conflict, DeployFailed, NotFound, SpecError, TargetError
from trimtab.handlers.serving import document as models
from trimtab.spec import Function, Model, TrafficTarget
from trimtab.spec.serving import check_model

logger = logging.getLogger("trimtab.service")

KEPT_REVISIONS = 20
"""Revisions kept per function for rollback, as Knative's garbage collector does by default."""


class Service:
    """The function of one name. Calls that change it run one at a time."""

    def __init__(self, record: Record, machine: Machine) -> None:
        self.record, self.machine, self.store = record, machine, machine.store
        self.group = sockets.PortGroup(record.port)
        self.lives: dict[str, Live] = {}
        self.tagged: dict[str, socket.socket] = {}
        self.lock = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """The function's name."""
        return self.record.name

    @property
    def is_job(self) -> bool:
        """Whether calls start runs instead of being answered by replicas."""
        latest = self.latest()
        return latest is not None and latest.document.spec.kind == "job"

    def document(self) -> Function:
        """Give the latest ready revision's document, its source being the revision's own copy. Errors: NotFound."""
        latest = self.latest()
        if latest is None:
            raise NotFound(f"{self.name!r} has no revision that is ready")
        code = type(latest.document.spec.source)(path=str(self.machine.code(self.name, latest.name)))
        spec = msgspec.structs.replace(latest.document.spec, source=code)
        return msgspec.structs.replace(latest.document, spec=spec)

    @property
    def url(self) -> str:
        """Where it answers; a job takes events there that start runs."""
        if self.is_job:
            return f"{self.machine.broker_url}{PREFIX}{self.name}/"
        return f"http://127.0.0.1:{self.record.port}/"

    # Deploying

    async def deploy(self, function: Function, *, force: bool, progress: Progress | None) -> Deployment:
        """Make a new revision of `function` and send it all the traffic, unless it is what runs already."""
        async with self.lock:
            stages = Stages(progress)
            function, code, notes = await asyncio.to_thread(source.read, function, self.machine.copies)
            snapshot = source.Snapshot(code.files)
            digest = self.machine.digest(function, snapshot)
            latest = self.latest()
            if latest is not None and latest.digest == digest and not force and self._serves(latest):
                return Deployment(name=self.name, revision=latest.name, url=self.url, changed=False)
            number = self.store.next_number(self.name)
            name = f"{self.name}-{number:05d}"
            folder = self.machine.code(self.name, name)
            snapshot.write(folder)
            count = len(snapshot.files)
            stages.finish("source", f"{count} file{'s' * (count != 1)}")
            try:
                python = await self.machine.interpreter(function, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            stages.finish("environment", python)
            preload = function.spec.build.preload
            if preload is None:
                module, foreign = function.spec.handler.partition(":")[0], python != self.machine.python
                preload = source.heavy_imports(snapshot, module, foreign=foreign)
                if function.spec.kind == "serving":
                    preload = sorted({*preload, *source.model_server_imports(foreign=foreign)})
            revision = Revision(
                name=name,
                function=self.name,
                number=number,
                digest=digest,
                document=function,
                python=python,
                preload=preload,
                state="failed",
                created=now(),
            )
            if function.spec.kind == "job":
                await self._rehearse(revision, stages)
            else:
                await self._prove(revision, stages)
                await self._take_over(revision)
                stages.finish("traffic")
            self._forget_old()
            return Deployment(
                name=self.name,
                revision=name,
                url=self.url,
                stages=stages.done,
                warnings=[*notes, *self.machine.warnings(function)],
            )

    async def _prove(self, revision: Revision, stages: Stages) -> None:
        """Start the revision's first replicas beside what serves now. Errors: DeployFailed; then nothing changed."""
        scale = revision.document.spec.scale
        replaced = max((len(live.running) for live in self.lives.values()), default=0)
        live = self._open(revision, initialised=False)
        limit = scale.max or self.machine.settings.max_replicas
        try:
            await live.zygote.start()
            stages.finish("zygote", ", ".join(revision.preload))
            await live.until_ready(min(max(scale.initial, scale.min, replaced, 1), limit))
        except (DeployFailed, TargetError, asyncio.CancelledError) as exc:
            self.lives.pop(revision.name)
            await live.stop()
            self.group.close(revision.name)
            if isinstance(exc, asyncio.CancelledError):
                raise
            self.store.put(revision)
            self._note(str(exc))
            hint = source.beside(revision.document.spec.source, getattr(exc, "traceback", ""))
            keeps = "" if not self.lives else "; the previous revision keeps serving"
            raise DeployFailed(
                f"{revision.name} does not start: {exc}{keeps}{hint}", getattr(exc, "traceback", "")
            ) from exc
        revision.state = "ready"
        self.store.put(revision)
        stages.finish("replica", f"{len(live.ready)} ready")

    async def _rehearse(self, revision: Revision, stages: Stages) -> None:
        """Load a job's handler once, in a process of its own. Errors: DeployFailed; then nothing changed."""
        error, traceback = await self.machine.rehearse(revision)
        revision.state = "failed" if error else "ready"
        self.store.put(revision)
        self._note(error)
        if error:
            hint = source.beside(revision.document.spec.source, traceback)
            raise DeployFailed(f"{revision.name} cannot be loaded: {error}{hint}", traceback)
        stages.finish("rehearsal")

    async def _take_over(self, revision: Revision) -> None:
        targets = revision.document.spec.traffic or [TrafficTarget(percent=100)]
        self._note(None)
        await self._split(targets)

    def _serves(self, revision: Revision) -> bool:
        return revision.document.spec.kind == "job" or revision.name in self.lives

    def _forget_old(self) -> None:
        for revision in self.store.revisions(self.name)[:-KEPT_REVISIONS]:
            if revision.name not in self.lives:
                self.store.drop(revision.name)
                shutil.rmtree(self.machine.code(self.name, revision.name), ignore_errors=True)
                log_path(self.machine.settings, revision).unlink(missing_ok=True)
                self.machine.documents.delete(models.name(self.name, revision.name))

    # Traffic

    async def traffic(self, targets: list[TrafficTarget]) -> None:
        """Split the traffic as told. Errors: SpecError, NotFound."""
        async with self.lock:
            await self._split(targets)

    async def rollback(self, to: str | None) -> None:
        """Send everything to `to`, or to the ready revision before the one that serves most."""
        async with self.lock:
            if not self.record.traffic:
                raise Conflict(f"{self.name!r} is of kind job: it has no revisions to go back to")
            if to is None:
                to = self._before()
            tags = [
                TrafficTarget(revision=each.revision, percent=0, tag=each.tag)
                for each in self.record.traffic
                if each.tag
            ]
            await self._split([TrafficTarget(revision=to, percent=100), *tags])

    def _before(self) -> str:
        serving = max(self.record.traffic, key=lambda target: target.percent).revision
        ready = [revision.name for revision in self.store.revisions(self.name) if revision.state == "ready"]
        earlier = ready[: ready.index(serving)] if serving in ready else ready
        if not earlier:
            raise Conflict(f"{self.name!r} has no ready revision before {serving!r} to roll back to")
        return earlier[-1]

    async def _split(self, targets: list[TrafficTarget]) -> None:
        resolved = self._resolve(targets)
        known = {revision.name: revision for revision in self.store.revisions(self.name)}
        await self._open_tags(resolved)
        for name in {str(target.revision) for target in resolved}:
            live = self.lives.get(name) or self._open(known[name], initialised=True)
            await self._listen(live, resolved)
            if not live.ready and live.want == 0 and self._share(resolved, name):
                await live.until_ready(max(known[name].document.spec.scale.min, 1))
        self._apply(resolved)
        self.store.set_traffic(self.name, resolved)
        self.record.traffic = resolved
        named = {target.revision for target in resolved}
        for name in [name for name in self.lives if name not in named]:
            self._retire(self.lives.pop(name))
        self._close_tags({target.tag for target in resolved})
        self.machine.slots_changed()

    def _resolve(self, targets: list[TrafficTarget]) -> list[TrafficTarget]:
        total = sum(target.percent for target in targets)
        if total != 100:
            raise SpecError("traffic", total, "percents that sum to 100")
        revisions = {revision.name: revision for revision in self.store.revisions(self.name)}
        latest = self.latest()
        resolved: list[TrafficTarget] = []
        for target in targets:
            name = target.revision or (latest.name if latest else None)
            if name not in revisions:
                raise NotFound(f"{self.name!r} has no revision {name!r}; it has {', '.join(revisions) or 'none'}")
            if revisions[name].state != "ready":
                raise Conflict(f"revision {name!r} never became ready; deploy a corrected one")
            resolved.append(TrafficTarget(revision=name, percent=target.percent, tag=target.tag))
        return resolved

    @staticmethod
    def _share(targets: list[TrafficTarget], revision: str) -> int:
        return sum(target.percent for target in targets if target.revision == revision)

    def _apply(self, targets: list[TrafficTarget]) -> None:
        percents = {str(target.revision): self._share(targets, str(target.revision)) for target in targets}
        self.group.split(percents)
        split = sum(percent > 0 for percent in percents.values()) > 1
        for name, live in self.lives.items():
            live.tell_split(on=split)
            live.reachable = percents.get(name, 0) > 0

    def _retire(self, live: Live) -> None:
        async def leave() -> None:
            await live.retire()
            if live.revision.name not in self.lives:
                self.group.close(live.revision.name)

        task = asyncio.get_running_loop().create_task(leave())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    # Tags: a port of their own, the same one when the tag moves to another revision

    async def _open_tags(self, targets: list[TrafficTarget]) -> None:
        ports = self.store.tags(self.name)
        for tag in {target.tag for target in targets if target.tag}:
            if tag not in self.tagged:
                port = sockets.free_port(ports.get(tag, 0))
                self.store.set_tag(self.name, tag, port)
                self.tagged[tag] = sockets.listen(port)

    async def _listen(self, live: Live, targets: list[TrafficTarget]) -> None:
        """Give a revision the sockets of its tags; replicas that run without them are replaced."""
        name = live.revision.name
        tags = sorted(target.tag for target in targets if target.tag and target.revision == name)
        wanted = [self.group.open(name), *(self.tagged[tag] for tag in tags)]
        if [sock.fileno() for sock in wanted] != [sock.fileno() for sock in live.sockets]:
            await live.adopt(wanted)

    def _close_tags(self, kept: set[str | None]) -> None:
        for tag in [tag for tag in self.tagged if tag not in kept]:
            self.tagged.pop(tag).close()
            self.store.drop_tag(self.name, tag)

    # Models

    async def change_model(self, key: str, model: Model | None) -> tuple[Model | None, int]:
        """Change one model of every revision that runs, by their documents; give the model it was, and the change's stamp.

        Errors: Conflict for what is no model server, SpecError.
        """
        async with self.lock:
            latest = self.latest()
            if latest is None or latest.document.spec.kind != "serving":
                raise Conflict(f"{self.name!r} is no model server: deploy it with kind 'serving'")
            if model is not None:
                check_model(model, f"model {key}", latest.document.spec)
            deployed = next((each for each in latest.document.spec.models if each.key == key), None)
            before, stamp = deployed, time.time_ns()
            for name in self.lives:
                documents, place = self.machine.documents, models.name(self.name, name)
                known, _ = await asyncio.to_thread(models.read, documents, place)
                before = known.models[key].model if key in known.models else deployed
                await asyncio.to_thread(
                    models.change, documents, place, lambda changes: changes.with_change(key, model)
                )
            return before, stamp

    # Life

    def restore(self) -> None:
        """Open the port again after a restart of the daemon, with the traffic as it was."""
        revisions = {revision.name: revision for revision in self.store.revisions(self.name)}
        for tag, port in self.store.tags(self.name).items():
            with contextlib.suppress(TargetError):
                self.tagged[tag] = sockets.listen(port)
        for target in self.record.traffic:
            name = str(target.revision)
            if name in revisions and name not in self.lives:
                live = self._open(revisions[name], initialised=True)
                tags = [t.tag for t in self.record.traffic if t.revision == name and t.tag in self.tagged]
                live.sockets = [self.group.open(name), *(self.tagged[str(tag)] for tag in tags)]
                live.scale(revisions[name].document.spec.scale.min)
        if self.lives:
            self._apply(self.record.traffic)

    def _open(self, revision: Revision, *, initialised: bool) -> Live:
        live = self.machine.live(
            revision, initialised=initialised, on_change=self.machine.slots_changed, on_error=self._note
        )
        live.sockets = [self.group.open(revision.name)]
        self.lives[revision.name] = live
        return live

    def _note(self, error: str | None) -> None:
        self.record.last_error = error
        self.store.set_error(self.name, error)

    async def close(self) -> None:
        """Drain every replica and let go of the port."""
        async with self.lock:
            await asyncio.gather(*(live.stop() for live in self.lives.values()), *self._retiring)
            self.group.close_all()
            for sock in self.tagged.values():
                sock.close()

    async def delete(self, folder: Callable[[str], Path]) -> None:
        """Drain every replica, then forget the function and its code."""
        await self.close()
        self.lives.clear()
        self.store.remove(self.name)
        self.machine.forget(self.name)
        shutil.rmtree(folder(self.name), ignore_errors=True)

    # Describing

    def latest(self) -> Revision | None:
        """The newest revision that became ready."""
        ready = [revision for revision in self.store.revisions(self.name) if revision.state == "ready"]
        return ready[-1] if ready else None

    def info(self) -> FunctionInfo:
        """Describe the function; its triggers are the daemon's to add."""
        latest = self.latest()
        scale = latest.document.spec.scale if latest else Function().spec.scale
        return FunctionInfo(
            name=self.name,
            kind=latest.document.spec.kind if latest else "http",
            url=self.url,
            target="local",
            revision=latest.name if latest else "",
            revisions=[self._describe(revision) for revision in self.store.revisions(self.name)],
            replicas=sum(len(live.running) for live in self.lives.values()),
            scale=scale,
            last_error=self.record.last_error,
        )

    def _describe(self, revision: Revision) -> RevisionInfo:
        live = self.lives.get(revision.name)
        state = "failed" if revision.state != "ready" else "ready" if live else "retired"
        ports = self.store.tags(self.name)
        urls = {
            target.tag: f"http://127.0.0.1:{ports[target.tag]}/"
            for target in self.record.traffic
            if target.tag in ports and target.revision == revision.name
        }
        return RevisionInfo(
            name=revision.name,
            created=revision.created,
            state=state,  # type: ignore[arg-type]
            percent=self._share(self.record.traffic, revision.name),
            urls={str(tag): url for tag, url in urls.items()},
            replicas=len(live.running) if live else 0,
        )
