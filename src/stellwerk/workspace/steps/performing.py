"""Performing one task of a plan: its key is looked up, and what nobody has computed yet is executed and committed.

The promise is the engine's: outputs are durable before one conditional commit names them, so that a task which runs
twice has one result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stellwerk.core import canonical, failpoints
from stellwerk.core.clock import parse_instant
from stellwerk.core.digest import Digest
from stellwerk.core.digest import parse as parse_digest
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.pipelines import rules, sources
from stellwerk.pipelines.adapters.in_process import InProcess
from stellwerk.pipelines.adapters.subprocess import Subprocess
from stellwerk.pipelines.closure import closure, difference
from stellwerk.pipelines.conditions import Untestable, holds
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.keys import KeyDocument, check_aside, environment_key
from stellwerk.pipelines.loading import resolve
from stellwerk.pipelines.model import (
    BUILTIN,
    DATASET,
    EITHER,
    FILE,
    WAIT,
    Attempt,
    Branch,
    Builtin,
    Closure,
    Encoded,
    Failure,
    Loop,
    Node,
    Outcome,
    Plan,
    StepResult,
    Stored,
)
from stellwerk.pipelines.ports import Executor
from stellwerk.pipelines.values import JSON_MEDIA, STANDARD
from stellwerk.store import service as trees
from stellwerk.workspace import builtins, codecs, elsewhere
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.rebuilding.keeping import SOURCES
from stellwerk.workspace.resolving import Names
from stellwerk.workspace.steps.recording import Book

failpoints.declare("task.stored", "task.committed")

Inputs = Mapping[str, Stored | tuple[Stored, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One task to perform.

    Args:
        task: What it is called, such as `train#0`.
        parent: The run that holds the tasks together; empty for none.
        expected: The digest that the code of the step must have; empty if any will do.
        code: The source tree of the store that the code comes from; empty if it comes from this machine.
        folder: What the paths of the plan's files are relative to.
    """

    plan: Plan
    node: Node
    task: str
    inputs: Inputs = field(default_factory=dict)
    seed: int | None = None
    parent: str = ""
    expected: str = ""
    code: str = ""
    folder: Path = field(default_factory=Path.cwd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Performed:
    """What came of a task: how its outputs are kept, and whether that was known."""

    task: str
    key: str
    cached: bool
    outputs: dict[str, Stored]
    run: str = ""


def perform(caller: Caller, order: Order) -> Performed:
    """Perform a task. A step that fails raises the error of its failure, after its run has ended."""
    node = order.node
    if node.function == DATASET:
        return _input(order, dataset(Names(caller, order.folder), node))
    if node.function in (WAIT, FILE, EITHER):
        raise Invalid(
            f"{node.id!r} cannot be executed by itself", code="not-a-task", hint="`stellwerk run` executes all of it"
        )
    found = _closure(caller, order)
    explained = _document(caller, order, found)
    caller.blobs.put(_parts(node, found))  # what the digest of the code stands for
    book = Book(caller=caller, plan=order.plan, node=node, task=order.task, parent=order.parent, document=explained)
    known = (book.known() or elsewhere.find(caller, node, explained.key)) if node.cache else None
    if known is not None:
        run = book.found(known).id
        return Performed(task=order.task, key=explained.key, cached=True, outputs=known.outputs, run=run)
    book.start(_sources(caller, order, found))
    try:
        ended = _execute(caller, attempt(order.task, node, explained, found, caller))
        if isinstance(ended, Failure):
            book.fail(ended)
            raise Failed(ended)
        result = _commit(caller, book, ended)
    except Failed as failed:
        raise failed.failure.error() from failed
    except BaseException as error:
        book.interrupt(str(error) or type(error).__name__)
        raise
    return Performed(task=order.task, key=explained.key, cached=False, outputs=result.outputs, run=book.run)


class Failed(Exception):  # becomes the error of its failure
    """The step failed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.traceback or failure.message)
        self.failure = failure


# Groups


def judge(caller: Caller, branch: Branch, subject: Stored) -> bool:
    """Whether a branch is taken."""
    try:
        return holds(branch, _plain(caller, subject, branch.id))
    except Untestable as why:
        raise Invalid(f"condition {branch.id!r}: {why}", code="invalid-condition") from why


def items(caller: Caller, loop: Loop, given: Stored | tuple[Stored, ...]) -> tuple[Stored, ...]:
    """The items of a loop, each kept by itself."""
    if not isinstance(given, Stored):
        return given
    value = _plain(caller, given, loop.id)
    if not isinstance(value, list):
        raise Invalid(
            f"loop {loop.id!r} goes over a {type(value).__name__} (expected a list)", code="invalid-condition"
        )
    return tuple(keep(caller, item) for item in value)


def keep(caller: Caller, value: Any) -> Stored:
    """Keep a JSON value."""
    encoded = STANDARD.encode(value)
    return Stored(digest=caller.blobs.put(encoded.data), media=encoded.media)


def _plain(caller: Caller, stored: Stored, name: str) -> Any:
    if stored.media != JSON_MEDIA:
        raise Invalid(
            f"{name!r} looks at a value that is kept as {stored.media} (expected plain data)",
            code="invalid-condition",
        )
    return canonical.loads(caller.blobs.get(stored.digest))


# The key


def dataset(names: Names, node: Node) -> Stored:
    """The table of a dataset node, as its name is meant at this moment."""
    moment = parse_instant(node.params["as_of"]) if "as_of" in node.params else None
    return names.dataset(node.params["name"], node.params["version"], moment)


def _input(order: Order, stored: Stored) -> Performed:
    return Performed(task=order.task, key="", cached=True, outputs={order.node.outputs[0]: stored})


def _other(caller: Caller, expected: str, found: Closure) -> str:
    """Which parts of the code are other ones, as far as the expected ones are known."""
    try:
        body = canonical.loads(caller.blobs.get(parse_digest(expected)))
        before = Closure(digest=Digest(expected), parts=tuple((name, Digest(digest)) for name, digest in body))
        return ", ".join(difference(before, found)[:5])
    except (NotFound, TypeError, ValueError):
        return f"it is {found.digest}, expected was {expected}"


def _closure(caller: Caller, order: Order) -> Closure | None:
    node = order.node
    if node.function.startswith(BUILTIN):
        return None
    found = closure(resolve(node.function, node.file))
    if order.expected and order.expected != found.digest:
        raise Conflict(
            f"the code of {node.id!r} is not what was exported: {_other(caller, order.expected, found)}",
            code="source-changed",
            hint="build the image anew, or export the pipeline again",
        )
    return found


def _parts(node: Node, found: Closure | None) -> bytes:
    if found is not None:
        return canonical.dumps([list(part) for part in found.parts])
    builtin = _builtin(node)
    return canonical.dumps({"builtin": builtin.name, "version": builtin.version})


def _sources(caller: Caller, order: Order, found: Closure | None) -> dict[str, str]:
    """The files that the step needs, kept with its run, unless the pipeline brought them from the workspace."""
    if found is None or order.code:
        return {}
    files = sources.files(replace(order.plan, nodes=(order.node,)), [found])
    tree = trees.put_files(caller.blobs, {name: path.read_bytes() for name, path in files.items()})
    return {SOURCES: tree} if files else {}


def _builtin(node: Node) -> Builtin:
    name = node.function.removeprefix(BUILTIN)
    return next((one for one in builtins.BUILTINS if one.name == name), Builtin(name=name, version=1))


def said(caller: Caller, order: Order) -> KeyDocument:
    """What the key of a task is made of."""
    return _document(caller, order, _closure(caller, order))


def _document(caller: Caller, order: Order, found: Closure | None) -> KeyDocument:
    node = order.node
    own, names = node.environment, Names(caller, order.folder)
    builtin = node.function.startswith(BUILTIN)
    locks = {own.lock: names.file(own.lock).digest} if own is not None and own.lock else {}
    return KeyDocument(
        code=_builtin(node).code if found is None else found.digest,
        params=names.pin(node.function.removeprefix(BUILTIN), node.params) if builtin else dict(node.params),
        inputs={name: value for name, value in order.inputs.items() if name not in node.aside},
        environment=environment_key(current().digest, own, locks),
        kind=node.kind,
        outputs=node.outputs,
        seed=order.seed,
        execution="" if node.cache else f"{order.parent or 'alone'}{order.task}",
        aside=check_aside(node, order.inputs),
    )


# The execution


def attempt(task: str, node: Node, explained: KeyDocument, found: Closure | None, caller: Caller) -> Attempt:
    """One execution of a task, with the bytes of its inputs."""
    timeout, memory = rules.limits(node)
    return Attempt(
        id=f"{task}@1",
        task=task,
        node=node.id,
        function=rules.PORTABLE.get(node.function, node.function),
        file=node.file,
        code=found,
        inputs={
            name: tuple(
                Encoded(media=one.media, data=caller.blobs.get(one.digest), digest=one.digest)
                for one in ((value,) if isinstance(value, Stored) else value)
            )
            for name, value in explained.given.items()
        },
        listed=frozenset(name for name, value in explained.given.items() if not isinstance(value, Stored)),
        params=explained.params,
        seed=explained.seed,
        outputs=explained.outputs,
        timeout=timeout,
        memory=memory,
    )


def _execute(caller: Caller, one: Attempt) -> Outcome | Failure:
    names = Names(caller, caller.home)
    return execute(one, builtins.table(names.contract, names.seal))


def execute(one: Attempt, steps: Mapping[str, Any]) -> Outcome | Failure:
    """Run one attempt to its end: in a process of its own if it has limits, and else in this one."""
    with_limits = one.timeout is not None or one.memory is not None
    if with_limits and not one.function.startswith(BUILTIN):
        return run_once(Subprocess(codecs=(codecs.REFERENCE,)), one)
    here = InProcess(builtins=steps, codecs=STANDARD.with_first(codecs.MODEL))
    return run_once(here, replace(one, timeout=None, memory=None))


def run_once(executor: Executor, one: Attempt) -> Outcome | Failure:
    """Run one attempt to its end."""
    try:
        executor.start(one)
        ended = executor.wait(None)
    finally:
        executor.close()
    if ended is None:
        return Failure(code="worker-lost", message=f"nothing is known of the end of {one.task!r}")
    return ended.outcome


def _commit(caller: Caller, book: Book, outcome: Outcome) -> StepResult:
    outputs = {
        name: Stored(digest=caller.blobs.put(value.data), media=value.media)
        for name, value in outcome.outputs.items()
    }
    log = caller.blobs.put(outcome.log.encode("utf-8", "replace")) if outcome.log else ""
    failpoints.hit("task.stored")
    answer = _answer(outcome)
    metrics = {
        name: float(value) for name, value in (answer.get("metrics") or {}).items() if isinstance(value, (int, float))
    }
    features = {"features": Digest(answer["features"])} if "gate" in answer and "features" in answer else {}
    result = book.finish(StepResult(outputs=outputs, seconds=outcome.seconds, log=log), metrics, features)
    failpoints.hit("task.committed")
    return result


def _answer(outcome: Outcome) -> dict[str, Any]:
    """What a step says of itself, if its only output is an object."""
    value = outcome.outputs.get("value")
    found = canonical.loads(value.data) if value is not None and value.media == JSON_MEDIA else {}
    return found if isinstance(found, dict) else {}
