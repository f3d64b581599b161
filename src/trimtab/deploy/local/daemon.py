"""The daemon: one process per `TRIMTAB_HOME` that owns every function's port, replicas, triggers and runs.

`main` runs it in the foreground until SIGTERM, SIGINT or the `down` call; then everything drains. All it must remember
is on disk before it says so; killed at any point, the next daemon goes on where the files stand.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import uvloop

from trimtab._version import __version__
from trimtab.config import Settings, settings
from trimtab.deploy.abc import FunctionInfo, ModelChange, Stage
from trimtab.deploy.local import listener, models, sockets
from trimtab.deploy.local.announce import announce
from trimtab.deploy.local.autoscale import SAMPLE_INTERVAL, TICK_INTERVAL
from trimtab.deploy.local.events import Events
from trimtab.deploy.local.listener import Progress
from trimtab.deploy.local.machine import Machine
from trimtab.deploy.local.runs import Runs
from trimtab.deploy.local.service import Service
from trimtab.deploy.local.store import Store
from trimtab.errors import NotFound, TargetError
from trimtab.spec import Function, Model, Source, TrafficTarget, from_dict

logger = logging.getLogger("trimtab.daemon")

LARGEST_LOG = 64 * 2**20
"""Bytes of one revision's log; beyond it the older half is dropped."""
_ORPHANS_LEAVE_WITHIN = 1.0


class Daemon:
    """All functions of one home."""

    def __init__(self, config: Settings) -> None:
        self.settings = config
        self.since = time.time()
        self.store = Store(config.home / "functions.db")
        self.events_socket = sockets.listen(self._broker_port())
        self.broker_url = f"http://127.0.0.1:{self.events_socket.getsockname()[1]}"
        self.machine = Machine(config, self.store, self.broker_url)
        self.services: dict[str, Service] = {}
        self.runs = Runs(config.home / "runs.db", self.machine)
        self.events = Events(config, self)
        self.machine.slots_changed = self.events.notify
        self.stopping = asyncio.Event()

    def _broker_port(self) -> int:
        kept = self.settings.broker_port or int(self.store.setting("broker_port") or 0)
        port = sockets.free_port(kept)
        if self.settings.broker_port and port != kept:
            raise TargetError(f"TRIMTAB_BROKER_PORT {kept} is in use")
        self.store.keep("broker_port", str(port))
        return port

    # Life

    async def run(self) -> None:
        """Serve until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        await self._end_orphans()
        self._restore()
        tasks = [loop.create_task(self._scale())]
        warming = loop.create_task(self.machine.warm())
        try:
            await self.events.start(self.events_socket)
            tasks.append(loop.create_task(announce(self.runs, self.events.broker)))
            async with listener.listen(self.settings.control_socket, self._calls()):
                logger.info("daemon %d is up, home %s, broker %s", os.getpid(), self.settings.home, self.broker_url)
                await self.stopping.wait()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(warming, return_exceptions=True)
            await self._close()

    async def _close(self) -> None:
        await self.events.close()
        await asyncio.gather(self.runs.close(), *(service.close() for service in self.services.values()))
        await self.machine.close()
        self.store.close()
        logger.info("daemon %d is down", os.getpid())

    async def _end_orphans(self) -> None:
        """Make sure that nothing of a killed daemon still listens on our ports; what only drains is left to it."""
        deadline = time.monotonic() + _ORPHANS_LEAVE_WITHIN
        ports = self.store.ports()
        while any(sockets.listeners(port) for port in ports) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        if any(sockets.listeners(port) for port in ports):
            for pid in self.store.survivors():
                logger.warning("process %d of an earlier daemon hangs and is killed", pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.05)
        self.store.forget_dead()

    def _restore(self) -> None:
        for record in self.store.functions():
            if sockets.listeners(record.port):
                record.port = sockets.free_port()
                logger.error("the port of %r is taken by another program; it moves to %d", record.name, record.port)
                self.store.set_port(record.name, record.port)
            service = Service(record, self.machine)
            self.services[record.name] = service
            try:
                service.restore()
            except TargetError as exc:
                logger.error("%s is not restored: %s", record.name, exc)

    async def _scale(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(SAMPLE_INTERVAL)
            now = time.monotonic()
            ticks += 1
            for service in list(self.services.values()):
                for live in list(service.lives.values()):
                    try:
                        live.sample(now)
                        if ticks % round(TICK_INTERVAL / SAMPLE_INTERVAL) == 0:
                            live.decide(now)
                    except Exception:
                        logger.exception("scaling %s", live.revision.name)
            self.events.notify()
            if ticks % 60 == 0:
                try:
                    self._trim_logs()
                except OSError:
                    logger.exception("trimming logs")
            if ticks % 3600 == 0:
                try:
                    await self.machine.sweep()
                except OSError:
                    logger.exception("removing environments")

    def _trim_logs(self) -> None:
        for path in self.settings.logs.rglob("*.log"):
            if path.stat().st_size > LARGEST_LOG:
                with path.open("r+b") as log:
                    log.seek(-LARGEST_LOG // 2, os.SEEK_END)
                    kept = log.read()
                    log.seek(0)
                    log.write(kept[kept.find(b"\n") + 1 :])
                    log.truncate()

    # Calls

    def _calls(self) -> dict[str, listener.Call]:
        return {
            "status": self.status,
            "down": self.down,
            "deploy": self.deploy,
            "get": self.get,
            "list": self.list,
            "delete": self.delete,
            "traffic": self.traffic,
            "rollback": self.rollback,
            "change_model": self.change_model,
            "run": self.run_job,
            "runs": self.list_runs,
            "cancel": self.cancel,
            **self.events.calls(),
        }

    def service(self, name: str) -> Service:
        """Find a function. Errors: NotFound, naming those that are there."""
        service = self.services.get(name)
        if service is None:
            raise NotFound(f"no function {name!r}; there is {', '.join(self.services) or 'none yet'}")
        return service

    async def info(self, service: Service) -> FunctionInfo:
        """Describe a function with its triggers."""
        info = service.info()
        info.triggers = await self.events.triggers(service.name)
        return info

    async def status(self, _arguments: dict[str, Any], _progress: Progress) -> dict[str, Any]:
        """Say who runs here."""
        replicas = sum(len(live.running) for service in self.services.values() for live in service.lives.values())
        return {
            "pid": os.getpid(),
            "version": __version__,
            "home": str(self.settings.home),
            "since": self.since,
            "broker": f"{self.broker_url}/default",
            "functions": len(self.services),
            "replicas": replicas,
        }

    async def down(self, _arguments: dict[str, Any], _progress: Progress) -> bool:
        """Begin to stop."""
        asyncio.get_running_loop().call_later(0.01, self.stopping.set)
        return True

    async def deploy(self, arguments: dict[str, Any], progress: Progress) -> Any:
        """Deploy a function."""
        function = await asyncio.to_thread(models.pinned, from_dict(arguments["function"]))
        self.events.check(function)
        name = function.metadata.name
        new = name not in self.services
        if new:
            port = sockets.free_port()
            while port in self.store.ports():
                port = sockets.free_port()
            self.services[name] = Service(self.store.add(name, port), self.machine)
        service = self.services[name]

        def report(stage: Stage) -> None:
            progress(msgspec.to_builtins(stage))

        try:
            deployment = await service.deploy(function, force=arguments.get("force", False), progress=report)
        except BaseException:
            if new and service.latest() is None and not service.lock.locked():
                self.services.pop(name, None)
                await service.delete(self.machine.folder)
            raise
        if deployment.changed:
            await self.events.set_triggers(function)
        return msgspec.to_builtins(deployment)

    async def get(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        """Describe one function."""
        return msgspec.to_builtins(await self.info(self.service(arguments["name"])))

    async def list(self, _arguments: dict[str, Any], _progress: Progress) -> Any:
        """Describe all functions."""
        return [msgspec.to_builtins(await self.info(self.services[name])) for name in sorted(self.services)]

    async def delete(self, arguments: dict[str, Any], _progress: Progress) -> None:
        """Remove a function."""
        service = self.service(arguments["name"])
        await self.events.remove(service.name)
        del self.services[service.name]
        await service.delete(self.machine.folder)

    async def change_model(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        """Change one model of a function that runs."""
        service = self.service(arguments["name"])
        model: Model | None = msgspec.convert(arguments["model"], type=Model | None)
        model = None if model is None else await asyncio.to_thread(models.pin, model)
        before, stamp = await service.change_model(arguments["key"], model)
        return msgspec.to_builtins(ModelChange(before=before, stamp=stamp))

    async def traffic(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        """Split a function's traffic."""
        service = self.service(arguments["name"])
        await service.traffic(msgspec.convert(arguments["targets"], list[TrafficTarget]))
        return msgspec.to_builtins(await self.info(service))

    async def rollback(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        """Go back to an earlier revision."""
        service = self.service(arguments["name"])
        await service.rollback(arguments["revision"])
        return msgspec.to_builtins(await self.info(service))

    async def run_job(self, arguments: dict[str, Any], progress: Progress) -> Any:
        """Run a job; with `wait`, log lines are the progress, and a caller that hangs up cancels the run."""
        function = self._job(from_dict(arguments["function"]))
        info = await self.runs.start(
            function, arguments["parameters"], arguments["inputs"] or {}, arguments["artifact_path"]
        )
        if arguments["wait"]:
            progress({"run": info.id})
            try:
                info = await self.runs.wait(info.id, progress)
            except asyncio.CancelledError:
                await asyncio.shield(self.runs.cancel(info.id))
                raise
        return msgspec.to_builtins(info)

    def _job(self, function: Function) -> Function:
        """Give what is to run: a function that has no source of its own is the deployed one of that name."""
        if function.spec.source == Source():
            return self.service(function.metadata.name).document()
        return function

    async def list_runs(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        """Give the history of runs."""
        return [msgspec.to_builtins(info) for info in self.runs.list(arguments["function"])]

    async def cancel(self, arguments: dict[str, Any], _progress: Progress) -> Any:
        """Stop a run."""
        return msgspec.to_builtins(await self.runs.cancel(arguments["run"]))


@contextmanager
def _only_one(config: Settings) -> Iterator[None]:
    """Hold the home's lock. Errors: TargetError when another daemon holds it."""
    config.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    for folder in (config.run, config.logs):
        folder.mkdir(exist_ok=True, mode=0o700)
    with (config.run / "daemon.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TargetError(f"a daemon for {config.home} runs already; `trimtab status` shows it") from None
        yield


def main(config: Settings) -> int:
    """Run the daemon in the foreground; return the exit code."""
    os.chdir("/")  # a daemon must not keep a folder from being unmounted or removed
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)

    async def live() -> None:
        await Daemon(config).run()

    try:
        with _only_one(config), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(live())
    except TargetError as exc:
        sys.stderr.write(f"trimtab: {exc}\n")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(settings()))
