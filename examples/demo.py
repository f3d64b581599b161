"""The main job, on this machine alone: real functions deployed, called, scaled, killed, and nothing lost.

Everything happens in a home of its own under the temporary folder, which is removed at the end, with every process.
Exit code 0 means that every check held.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import threading
import time

from clinic import SHIFT, TRIFLE, Clinic
from sklearn.datasets import load_digits

from trimtab.config import settings
from trimtab.deploy.abc import Stage
from trimtab.deploy.local.target import LocalTarget
from trimtab.spec import CronTrigger, EnvVar, EventTrigger, Function, FunctionSpec, Metadata, Scale, Source

HERE = pathlib.Path(__file__).parent
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if COLOUR else text


class Demo:
    """Counts the checks and shows each as it is made."""

    def __init__(self, target: LocalTarget, home: pathlib.Path) -> None:
        self.target, self.home = target, home
        self.failed: list[str] = []
        self.checks = 0
        self.began = time.monotonic()

    def scene(self, title: str) -> None:
        print(f"\n{paint(f'[{time.monotonic() - self.began:5.1f} s]', '2')} {paint(title, '1')}", flush=True)

    def check(self, claim: str, *, holds: bool, shown: object = "") -> None:
        self.checks += 1
        mark = paint("  ok  ", "32") if holds else paint(" FAIL ", "31;1")
        print(f"{mark} {claim}" + (f": {shown}" if shown != "" else ""), flush=True)
        if not holds:
            self.failed.append(claim)

    def until(self, condition, within: float = 40.0) -> bool:
        deadline = time.monotonic() + within
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def deploy(self, name: str, file: str, **spec) -> str:
        def show(stage: Stage) -> None:
            print(paint(f"       {stage.name:<12} {stage.ms:7.1f} ms  {stage.detail}", "2"), flush=True)

        document = Function(
            metadata=Metadata(name=name),
            spec=FunctionSpec(handler=pathlib.Path(file).stem, source=Source(path=str(HERE / file)), **spec),
        )
        return self.target.deploy(document, progress=show).url

    def replicas(self, name: str) -> int:
        return self.target.get(name).replicas


def post(url: str, body: object, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=60)
    with contextlib.closing(connection):
        connection.request(
            "POST", f"/{path}", json.dumps(body), {"content-type": "application/json", **(headers or {})}
        )
        response = connection.getresponse()
        return response.status, response.read()


def event(kind: str, identity: str) -> dict[str, str]:
    return {"ce-specversion": "1.0", "ce-type": kind, "ce-source": "/demo", "ce-id": identity}


def calls(demo: Demo) -> str:
    demo.scene("Deploy a classifier from one file and call it with real rows")
    url = demo.deploy("digits", "digits.py", scale=Scale(window="6s", concurrency=2, max=4))
    digits = load_digits()
    status, body = post(url, {"rows": digits.data[1500:1700].tolist()})
    right = sum(a == b for a, b in zip(json.loads(body)["digits"], digits.target[1500:1700].tolist(), strict=True))
    demo.check("200 digits read over HTTP", holds=status == 200 and right > 170, shown=f"{right} of 200 right")
    status, body = post(url, {"rows": digits.data[:3].tolist()}, event("demo.digits", "1"))
    demo.check("the same function takes a CloudEvent", holds=status == 200, shown=body.decode())
    status, body = post(url, {"rows": [[1, 2]]})
    demo.check("a wrong row is refused with a reason", holds=status == 400, shown=body.decode())
    return url


def triggers(demo: Demo) -> pathlib.Path:
    demo.scene("Call a function by the clock and by events from the broker")
    ledger = demo.home / "ledger.jsonl"
    demo.deploy(
        "ledger",
        "ledger.py",
        env=[EnvVar(name="LEDGER", value=str(ledger))],
        scale=Scale(window="6s", concurrency=1, max=2),
        triggers=[
            CronTrigger(name="tick", schedule="@every 1s"),
            EventTrigger(name="orders", filters=[{"prefix": {"type": "demo.order"}}]),
        ],
    )
    broker = str(demo.target.status()["broker"])
    for number in range(20):
        post(broker, {"order": number}, event("demo.order.made", f"first-{number}"))
    post(broker, {"order": "not for us"}, event("demo.parcel", "other"))
    demo.until(lambda: sum(entry["trigger"] == "event" for entry in read(ledger)) >= 20)
    demo.until(lambda: sum(entry["trigger"] == "cron" for entry in read(ledger)) >= 3)
    entries = read(ledger)
    seen = {entry["id"] for entry in entries if entry["trigger"] == "event"}
    demo.check("20 orders delivered, the parcel filtered out", holds=len(seen) == 20, shown=f"{len(seen)} events")
    ticks = [entry["id"] for entry in entries if entry["trigger"] == "cron"]
    demo.check(
        "the clock ticks, once a tick", holds=len(ticks) >= 3 and len(ticks) == len(set(ticks)), shown=len(ticks)
    )
    return ledger


def read(ledger: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in ledger.read_text("utf-8").splitlines()] if ledger.exists() else []


def scaling(demo: Demo, url: str) -> None:
    demo.scene("Put it under load and watch it scale out, then back to zero")
    rows = {"rows": load_digits().data.tolist()}
    most, statuses, stop = 0, [], threading.Event()

    def hammer() -> None:
        while not stop.is_set():
            statuses.append(post(url, rows)[0])

    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        for _ in range(12):
            pool.submit(hammer)
        for _ in range(12):
            most = max(most, demo.replicas("digits"))
            print(f"       {demo.replicas('digits')} replicas, {len(statuses):5d} answers", flush=True)
            time.sleep(1.0)
            if most > 1 and len(statuses) > 200:
                break
        stop.set()
    demo.check("more replicas under load", holds=most > 1, shown=f"up to {most}")
    demo.check("every request answered", holds=set(statuses) == {200}, shown=f"{len(statuses)} times 200")
    zero = demo.until(lambda: demo.replicas("digits") == 0, 60)
    demo.check("back to zero when it is quiet", holds=zero)
    started = time.monotonic()
    status, _ = post(url, {"rows": load_digits().data[:1].tolist()})
    took = (time.monotonic() - started) * 1000
    demo.check(
        "the next request wakes it", holds=status == 200, shown=f"first answer in {took:.0f} ms, model trained anew"
    )


def survival(demo: Demo, url: str, ledger: pathlib.Path) -> None:
    demo.scene("Kill the daemon with SIGKILL while events come in, three times")
    accepted: set[str] = set()
    stop = threading.Event()
    broker = str(demo.target.status()["broker"])

    def produce() -> None:
        number = 0
        while not stop.is_set():
            identity = f"killed-{number}"
            with contextlib.suppress(OSError, http.client.HTTPException):
                if post(broker, {"n": number}, event("demo.order.killed", identity))[0] == 202:
                    accepted.add(identity)
            number += 1
            time.sleep(0.005)

    producer = threading.Thread(target=produce)
    producer.start()
    for _ in range(3):
        time.sleep(1.0)
        os.kill(demo.target.status()["pid"], signal.SIGKILL)
        demo.target.up()
    time.sleep(0.5)
    stop.set()
    producer.join()
    arrived = demo.until(lambda: accepted <= {entry["id"] for entry in read(ledger)})
    missing = accepted - {entry["id"] for entry in read(ledger)}
    demo.check("no accepted event is lost", holds=arrived, shown=f"{len(accepted)} accepted, {len(missing)} missing")
    status, _ = post(url, {"rows": load_digits().data[:1].tolist()})
    demo.check("every function answers at its old address", holds=status == 200, shown=url)


def job(demo: Demo) -> None:
    demo.scene("Run a training job with parameters")
    document = Function(
        metadata=Metadata(name="train"),
        spec=FunctionSpec(kind="job", handler="train:train", source=Source(path=str(HERE / "train.py"))),
    )
    info = demo.target.run(document, {"trees": "30"}, on_log=lambda line: print(paint(f"       {line[:150]}", "2")))
    demo.check("the job succeeded", holds=info.state == "succeeded", shown=f"accuracy {info.results.get('accuracy')}")


def loop(demo: Demo) -> None:
    demo.scene("Serve a model and watch it while the world is as it was")
    clinic = Clinic(demo.target, demo.home)
    clinic.open()

    verdicts = clinic.judged(4)
    quiet = verdicts[:4] == ["none"] * 4 and clinic.loop().incident is None
    demo.check("no alarm in normal traffic", holds=quiet, shown=f"{len(verdicts)} windows, {clinic.visits} requests")

    demo.scene("The world changes: a new microscope measures three of thirty features larger")
    clinic.shift = SHIFT
    decision = clinic.decided()
    named = {f.name for report in clinic.reports() if report.drifted for f in report.features if f.state == "detected"}
    demo.check(
        "the right features are named", holds=bool(named) and named <= set(SHIFT), shown=", ".join(sorted(named))
    )
    runs = demo.target.runs("retrain")
    demo.check("one training was started", holds=len(runs) == 1, shown=f"{runs[0].results.get('rows')} labelled rows")
    figures = decision.figures
    shown = (
        f"accuracy {figures.champion:.3f} before, {figures.challenger:.3f} now, on {figures.rows} rows"
        if figures
        else ""
    )
    demo.check(
        "the challenger is better on fresh labelled rows", holds=figures is not None and figures.low > 0, shown=shown
    )
    demo.check("a canary took over", holds=decision.outcome == "promoted", shown=decision.reason)

    demo.scene("A second change, a harmless one")
    clinic.shift = TRIFLE
    verdicts = clinic.judged(4)
    quiet = verdicts[:4] == ["none"] * 4 and len(demo.target.runs("retrain")) == 1
    demo.check("it starts no other training", holds=quiet, shown=f"{len(verdicts)} windows without an alarm")
    demo.check("no request failed meanwhile", holds=not clinic.failed, shown=f"{clinic.visits} requests")


def main() -> int:
    home = pathlib.Path(tempfile.mkdtemp(prefix="trimtab-demo-"))
    os.environ["TRIMTAB_HOME"] = str(home)
    target = LocalTarget(settings())
    demo = Demo(target, home)
    print(paint("Trimtab demo", "1"), f"in {home}; nothing outside of it is touched", flush=True)
    try:
        url = calls(demo)
        ledger = triggers(demo)
        scaling(demo, url)
        survival(demo, url, ledger)
        job(demo)
        loop(demo)
    except KeyboardInterrupt:
        demo.failed.append("interrupted")
    finally:
        demo.scene("Clean up")
        target.down()
        shutil.rmtree(home, ignore_errors=True)
        print("       daemon ended, home removed", flush=True)
    if demo.failed:
        print(paint(f"\nDEMO FAILED: {', '.join(demo.failed)}", "31;1"))
        return 1
    print(paint(f"\nDEMO PASSED: {demo.checks} checks in {time.monotonic() - demo.began:.0f} s", "32;1"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
