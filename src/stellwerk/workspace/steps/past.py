"""What is known of a step key: what went into it, who computed it or tried to, and what differs from here and now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, NotFound, StellwerkError
from stellwerk.pipelines.closure import closure, difference
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.keys import KeyDocument, parse
from stellwerk.pipelines.loading import resolve
from stellwerk.pipelines.model import BUILTIN, Closure, Node, Plan
from stellwerk.tracking.model import Run
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.rebuilding.keeping import SOURCES
from stellwerk.workspace.steps import plans
from stellwerk.workspace.steps.retelling import aside, retold

CODE = "code"
"""The tag of a group's run that names the source tree which its pods ran."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A step key, explained.

    Args:
        task: The task that the newest run was.
        function: `module:qualname`, or `builtin:<name>`; empty if no plan tells it.
        parts: The digest of each part of its code, by name.
        packages: `name==version` of its environment, with `python` and `platform`.
        runs: Newest first.
        sources: The digest of the source tree that the newest run had; empty if none was kept.
    """

    key: Digest
    said: KeyDocument
    task: str
    function: str
    node: Node | None
    parts: tuple[tuple[str, Digest], ...]
    packages: tuple[str, ...]
    runs: tuple[Run, ...]
    sources: str = ""
    experiment: str = ""

    @property
    def failed(self) -> Run | None:
        """The newest run of the key that failed."""
        return next((run for run in self.runs if run.status == "failed"), None)

    @property
    def done(self) -> Run | None:
        """The newest run of the key that has its result."""
        return next((run for run in self.runs if run.status == "finished"), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """What is different here from what a key was made of; nothing means that the key is the same."""

    code: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


def account(caller: Caller, subject: str) -> Account:
    """Explain a step key, or the step key of a run.

    Raises:
        NotFound: `unknown-key`: nobody kept what it stands for.
    """
    key = _key(caller, subject)
    runs: tuple[Run, ...] = caller.call(ops.runs_of_step, {"step_key": key})
    parent = _parent(caller, runs)
    node = _node(caller, runs, parent)
    said = _said(caller, key, runs, node)
    tags = {**(parent.tags if parent is not None else {}), **(runs[0].tags if runs else {})}
    return Account(
        key=key,
        said=said,
        task=runs[0].name if runs else "",
        function=node.function if node else "",
        node=node,
        parts=_parts(caller, said.code),
        packages=_packages(caller, runs, said.environment),
        runs=runs,
        sources=tags.get(CODE) or tags.get(SOURCES, ""),
        experiment=runs[0].experiment if runs else "",
    )


def differences(found: Account, folder: Path) -> Differences:
    """What of the code and the environment is different here."""
    return Differences(code=_code_here(found, folder), environment=_environment_here(found))


def function_here(found: Account, folder: Path) -> Node:
    """The node with its function as it is in a folder."""
    if found.node is None:
        raise NotFound(
            "no plan tells which function this step key belongs to",
            code="unknown-function",
            hint="the run that it was part of is gone",
        )
    return plans.located(found.node, folder)


def _code_here(found: Account, folder: Path) -> tuple[str, ...]:
    if found.node is None or found.function.startswith(BUILTIN):
        return ()
    node = function_here(found, folder)
    try:
        here = closure(resolve(node.function, node.file))
    except StellwerkError as cause:
        return (f"{node.function} cannot be loaded here: {cause.message}",)
    return difference(Closure(digest=found.said.code, parts=found.parts), here)


def _environment_here(found: Account) -> tuple[str, ...]:
    here = _spelled(canonical.loads(current().document))
    if not found.packages:
        return ()
    before, now = _versions(found.packages), _versions(here)
    return tuple(
        f"{name} {now.get(name, 'is missing')} (it was {before.get(name, 'not there')})"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    )


def _said(caller: Caller, key: Digest, runs: Sequence[Run], node: Node | None) -> KeyDocument:
    """The document of a key: it was kept where a step failed or ran by itself; else it is put together again."""
    try:
        return replace(parse(caller.blobs.get(key)), aside=aside(runs, node))
    except NotFound as cause:
        found = retold(caller, key, runs, node)
        if found is None:
            raise NotFound(
                f"nobody kept what the step key {key} stands for",
                code="unknown-key",
                hint="`stellwerk runs RUN` shows what is known of a run",
            ) from cause
        return found


def _key(caller: Caller, subject: str) -> Digest:
    if subject.startswith("sha256:"):
        from stellwerk.core.digest import parse as parse_digest

        return parse_digest(subject)
    run: Run = caller.call(ops.get_run, {"run": subject})
    if run.step_key is None:
        raise Invalid(
            f"run {subject} has no step key (it is a {run.kind})",
            code="no-step-key",
            hint="name one of its steps: `stellwerk runs RUN` lists them",
        )
    return run.step_key


def _parent(caller: Caller, runs: tuple[Run, ...]) -> Run | None:
    found: Run | None = None
    for run in runs:
        if run.parent is not None:
            found = caller.call(ops.get_run, {"run": run.parent})
            break
    return found or (runs[0] if runs else None)


def _node(caller: Caller, runs: tuple[Run, ...], parent: Run | None) -> Node | None:
    kept = parent.tags.get("plan") if parent is not None else None
    if parent is None or not kept:
        return None
    plan: Plan = plans.read(caller.blobs, kept)
    name, _ = plans.task_parts(next((run.name for run in runs if run.parent == parent.id), runs[0].name))
    return next((node for node in plan.nodes if node.id == name), None)


def _parts(caller: Caller, code: Digest) -> tuple[tuple[str, Digest], ...]:
    try:
        body = canonical.loads(caller.blobs.get(code))
    except NotFound:
        return ()
    return tuple((name, Digest(digest)) for name, digest in body) if isinstance(body, list) else ()


def _packages(caller: Caller, runs: tuple[Run, ...], named: Digest) -> tuple[str, ...]:
    """The lock that a run had; the key names it, unless the step has an environment of its own."""
    for digest in (named, *(run.environment for run in runs if run.environment)):
        try:
            return _spelled(canonical.loads(caller.blobs.get(digest)))
        except (NotFound, Invalid):
            continue
    return ()


def _spelled(lock: dict[str, object]) -> tuple[str, ...]:
    listed = lock.get("distributions")
    packages = listed if isinstance(listed, list) else []
    return (f"python=={lock.get('python')}", f"platform=={lock.get('platform')}", *map(str, packages))


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {name: version for name, _, version in (one.partition("==") for one in packages)}
