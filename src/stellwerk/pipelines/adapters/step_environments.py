"""The environments that steps declare, made real on this machine: which interpreter a step runs under."""

from __future__ import annotations

from pathlib import Path

from stellwerk.core.errors import Invalid, NotFound, Refused
from stellwerk.pipelines import locks
from stellwerk.pipelines.adapters import machine
from stellwerk.pipelines.adapters.environments import Environments, Recipe
from stellwerk.pipelines.adapters.installing import export
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.locks import Lock
from stellwerk.pipelines.model import Environment, Plan

_UV_LOCK = "uv.lock"


class StepEnvironments:
    """Knows the interpreter of each environment that a plan declares.

    Args:
        project: The folder that the paths of lock files are relative to.
    """

    def __init__(self, project: Path, environments: Environments) -> None:
        self._project = project
        self._environments = environments
        self._known: dict[Environment, Path] = {}

    def prepare(self, plan: Plan) -> None:
        """Make all environments of a plan, so that nothing waits for them later and what is wrong is said at once."""
        for node in plan.nodes:
            if node.environment is not None:
                self.interpreter(node.environment)

    def interpreter(self, environment: Environment) -> Path:
        """The interpreter of an environment, which is made if need be.

        Raises:
            Refused: `needs-containers`: it is an image.
            NotFound: `no-such-file`: there is no such lock.
        """
        if environment not in self._known:
            recipe = Recipe(
                lock=self._lock(environment),
                python=environment.python,
                complete=bool(environment.lock),
            )
            self._known[environment] = self._environments.interpreter(recipe)
        return self._known[environment]

    def _lock(self, environment: Environment) -> Lock:
        if environment.image:
            raise Refused(
                f"a step asks for the container image {environment.image[:80]!r}, and containers do not run here",
                code="needs-containers",
                hint="run it on Kubeflow, or give the step a lock file: sw.Environment(lock=...)",
            )
        named = Path(environment.lock).name
        if environment.extra and named != _UV_LOCK:
            raise Invalid(
                f"which packages the extra {environment.extra!r} means is told by {_UV_LOCK} (got {named or 'no lock'})",
                code="no-lock",
                hint=f"sw.Environment(extra={environment.extra!r}, lock={_UV_LOCK!r}); `uv lock` makes it",
            )
        if named == _UV_LOCK:
            return export(self._file(environment.lock), environment.extra)
        if environment.lock:
            file = self._file(environment.lock)
            return locks.read(environment.lock, file.read_bytes()).beside(file.parent)
        return locks.exactly(current().distributions).without({"stellwerk", *machine.local()})

    def _file(self, path: str) -> Path:
        file = self._project / path
        if not file.resolve().is_relative_to(self._project.resolve()) or not file.is_file():
            raise NotFound(
                f"there is no lock file {path!r} in {self._project.name or 'the project'}",
                code="no-such-file",
                hint="paths of lock files are relative to the folder of the pipeline file",
            )
        return file
