"""Functions as objects: described, and then built, deployed, called and run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from trimtab.errors import Conflict, TrimtabError
from trimtab.project import call
from trimtab.project.code import qualified
from trimtab.project.description import Description
from trimtab.spec import EnvVar, Function, check

if TYPE_CHECKING:
    from trimtab.builder.abc import Built
    from trimtab.builder.destinations.load import Engine
    from trimtab.builder.verify import Verified
    from trimtab.deploy.abc import Target
    from trimtab.project.mock import MockServer
    from trimtab.project.run import Run


class FunctionHandle(Description):
    """A function that is being described, and then deployed."""

    def __init__(self, function: Function) -> None:
        super().__init__(function)
        self._target: Target | None = None
        self._url = ""

    def load_model(
        self, key: str, model_path: str | Path | None = None, class_name: Any = None, **options: Any
    ) -> Self:
        """Add a model to the function that runs, without deploying it again; block until it is served.

        Options are those of `add_model`. The next deployment begins with what `add_model` said. Errors: SpecError,
        DeployFailed (the model cannot be loaded, and nothing changed), NotFound.
        """
        from trimtab.project import live

        before = self.function.spec.models
        self.add_model(key, model_path, class_name, **options)
        try:
            live.change(self._where(), self.metadata.name, key, self.function.spec.models[-1])
        except TrimtabError:
            self.function.spec.models = before
            raise
        return self

    def unload_model(self, key: str) -> Self:
        """Take a model away from the function that runs; block until it is gone. Errors: NotFound."""
        from trimtab.project import live

        live.change(self._where(), self.metadata.name, key, None)
        self.function.spec.models = [each for each in self.function.spec.models if each.key != key]
        return self

    # Where it runs

    def build(
        self,
        image: str = "",
        *,
        platforms: Iterable[str] = (),
        layout: str | Path | None = None,
        archive: str | Path | None = None,
        load: Engine | None = None,
        dry_run: bool = False,
        watch: bool = True,
    ) -> Built:
        """Make a container image and push it, or put it into a `layout` (folder), an `archive` (file) or an engine.

        Without `image` it is the function's name below TRIMTAB_REGISTRY. Steps are shown on stderr unless `watch` is
        False. Errors: SpecError, BuildError (RegistryError among them), StoreFull.
        """
        from trimtab.builder.build import build
        from trimtab.builder.request import BuildRequest
        from trimtab.project import show

        function = check(self.function)
        if platforms:
            function.spec.build.platforms = list(platforms)
        request = BuildRequest(
            function=function,
            image=image,
            layout=Path(layout) if layout else None,
            archive=Path(archive) if archive else None,
            load=load,
            dry_run=dry_run,
        )
        return build(request, show.step) if watch else build(request)

    def verify(self, body: Any = None, *, path: str = "/", params: Mapping[str, Any] | None = None) -> Verified:
        """Import the handler in a clean process of this machine and call it once, with `body` as JSON (a job: `params`).

        Errors: NotVerified, with the handler's traceback, and with names that only the notebook's memory has.
        """
        from trimtab.builder.verify import Sample
        from trimtab.project.verify import verified

        sample = Sample(body={} if body is None else body, path=path, parameters=dict(params or {}))
        return verified(check(self.function), sample)

    def deploy(self, target: Target | str | None = None, *, force: bool = False, watch: bool = True) -> str:
        """Deploy, and block until it is ready; give the URL, which ends in '/' (a job has none: '').

        Stages are shown on stderr unless `watch` is False. An unchanged function is left as it is unless `force`.
        Errors: SpecError, DeployFailed, TargetUnreachable.
        """
        from trimtab.project import show
        from trimtab.project.target import find

        self._target = find(target)
        deployment = self._target.deploy(check(self.function), force=force, progress=show.stage if watch else None)
        if watch:
            show.deployment(deployment)
        self._url = f"{deployment.url.rstrip('/')}/" if deployment.url else ""
        return self._url

    def invoke(
        self,
        path: str = "/",
        body: Any = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout: float | None = None,
    ) -> Any:
        """Call the deployed function; give the body, JSON as objects and everything else as bytes.

        Without a method: GET without a body, POST with one. Objects and text that is JSON are sent as JSON. Errors:
        InvocationFailed (with `status` and `body`), NotFound, TargetUnreachable.
        """
        address, more = self._where().reach(self._address())
        made = call.request(path, body, method, {**more, **(headers or {})})
        return call.send(address, made, timeout).check(self.metadata.name).value

    def run(
        self,
        *,
        params: Mapping[str, Any] | None = None,
        inputs: Mapping[str, str] | None = None,
        handler: str = "",
        artifact_path: str | None = None,
        returns: Sequence[str] | None = None,
        local: bool = False,
        watch: bool = True,
        target: Target | str | None = None,
    ) -> Run:
        """Run the job. With `watch`, block, and show its log on stderr; `local` runs it in this process, once and to
        its end, whatever `spec.job` says.

        `handler` names another function of the same code; `returns` names what it returns, `rows` or `rows:dataset`: a
        DataFrame becomes a dataset, what has `predict` a model, a Path a file, and all else a result. Errors: SpecError, RunFailed (with `run`) when it does not
        succeed while it is watched, Conflict for what is no job.
        """
        from trimtab.project import show
        from trimtab.project.run import Run, run_here
        from trimtab.project.target import find
        from trimtab.runtime.returns import RETURNS, checked

        if self.kind != "job":
            raise Conflict(
                f"{self.metadata.name!r} is of kind {self.kind!r}: only jobs are run, `invoke` calls the others"
            )
        function = check(self.function)
        if handler:
            function.spec.handler = qualified(handler, function.spec.source)
        if returns:
            function.spec.env = [*function.spec.env, EnvVar(name=RETURNS, value=",".join(checked(returns)))]
        parameters, files = dict(params or {}), {name: str(path) for name, path in (inputs or {}).items()}
        if local:
            return run_here(function, parameters, files, artifact_path)
        place = find(target or self._target)
        info = place.run(
            function, parameters, inputs=files or None, artifact_path=artifact_path, wait=watch, on_log=show.line
        )
        run = Run(info, lambda: next(each for each in place.runs(function.metadata.name) if each.id == info.id))
        return run.check() if watch else run

    def to_mock_server(self) -> MockServer:
        """Start the function in this process, for tests: `server.test(path, body)`. Errors: SpecError, HandlerError."""
        from trimtab.project.mock import MockServer

        if self.kind == "job":
            raise Conflict(f"{self.metadata.name!r} is a job: `run(local=True)` runs it in this process")
        return MockServer(check(self.function))

    def delete(self) -> None:
        """Remove it from where it runs. Errors: NotFound, TargetUnreachable."""
        from trimtab.project.target import find

        find(self._target).delete(self.metadata.name)
        self._url = ""

    def _where(self) -> Target:
        from trimtab.project.target import find

        return find(self._target)

    def _address(self) -> str:
        from trimtab.project.target import find

        if not self._url:
            self._url = find(self._target).get(self.metadata.name).url
        if not self._url:
            raise Conflict(f"{self.metadata.name!r} is of kind {self.kind!r} and has no URL: `run` runs it")
        return self._url
