"""The execution of plans: resolves inputs, asks the step cache, runs what is missing, commits results.

The promise: steps run at least once, *results* exactly once. Outputs are content-addressed and durable before one
conditional commit names them; whatever ends the execution before that leaves nothing but bytes that nobody names.
What happens next is decided by the state machine in `rules`; `engine` performs its commands in order.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from stellwerk.core.arguments import nearest
from stellwerk.core.errors import Invalid, NotFound, Refused, StellwerkError
from stellwerk.pipelines import loading, rules
from stellwerk.pipelines.buffer import PATIENCE, Buffer
from stellwerk.pipelines.closure import closure
from stellwerk.pipelines.engine import Engine, Watch
from stellwerk.pipelines.fleet import Fleet
from stellwerk.pipelines.model import (
    BUILTIN,
    WAIT,
    Builtin,
    Closure,
    Plan,
    RunReport,
)

if TYPE_CHECKING:
    from stellwerk.core.clock import Clock
    from stellwerk.core.digest import Digest
    from stellwerk.pipelines.ports import Blobs, Elsewhere, Executor, Journal, Resolver, Waits


def execute(
    plan: Plan,
    *,
    blobs: Blobs,
    journal: Journal,
    resolver: Resolver,
    executor: Executor,
    isolated: Executor,
    apart: Executor | None = None,
    here: Executor | None = None,
    waits: Waits | None = None,
    elsewhere: Elsewhere | None = None,
    environment: Digest,
    clock: Clock,
    builtins: Iterable[Builtin] = (),
    execution: str = "",
    again: Collection[str] = (),
    history: Mapping[str, tuple[int, int]] | None = None,
    known: Mapping[str, Closure] | None = None,
    stay: float = 0.0,
    watch: Watch | None = None,
    patience: float = PATIENCE,
    chance: Callable[[], float] = random.random,
    pause: Callable[[float], None] = time.sleep,
) -> RunReport:
    """Execute a plan as far as it goes; a failed step fails what waits for it, and nothing else.

    It ends early, with a report that says `waiting`, where only persons, events or times can make it go on: executing
    the plan again under the same `execution` goes on from there.

    Args:
        executor: Runs the steps that declare no limits.
        isolated: Runs the steps that declare a timeout or a memory limit.
        apart: Runs the steps that declare an environment; `isolated` by default.
        here: Runs the built-in steps; `executor` by default.
        waits: Watches for what steps wait for; without it, a plan that waits is refused.
        elsewhere: Another workspace that is asked for results that this one does not have.
        environment: The digest of the environment lock in which the executors run.
        execution: Names this execution in the keys of what is not to be found by others.
        again: Nodes that are executed whether their results are known or not.
        history: By task how often it was tried before, and how many of these attempts were lost.
        known: The closures of the plan, where they have been computed.
        stay: Seconds to wait for decisions before ending early.
        patience: Seconds that results may wait to be kept together with others.
        chance: Draws numbers in [0, 1) for the jitter of retries.
        pause: Waits for so many seconds.
    """
    if loading.inside_child():
        raise Refused(
            "a step's own process tried to execute a plan",
            code="nested-run",
            hint="put what a script does, and does not define, under `if __name__ == '__main__':`",
        )
    shape = rules.Shape(plan)
    if waits is None and any(node.function == WAIT for node in plan.nodes):
        raise Invalid("this plan waits for persons or events, which nobody watches here", code="nobody-watches")
    must_have(plan, again)
    buffer = Buffer(blobs, journal, patience=patience)
    fleet = Fleet(here=here or executor, limited=isolated, main=executor, apart=apart)
    state, first = rules.begin(shape, fleet.capacity(), history=history)
    run = Engine(
        shape=shape,
        state=state,
        buffer=buffer,
        journal=journal,
        resolver=resolver,
        fleet=fleet,
        waits=waits,
        elsewhere=elsewhere,
        environment=environment,
        clock=clock,
        builtins={builtin.name: builtin.code for builtin in builtins},
        execution=execution,
        again=frozenset(again),
        closures=dict(closures(plan) if known is None else known),
        stay=stay,
        watch=watch,
        chance=chance,
        pause=pause,
    )
    try:
        report = run.perform(first)
    except KeyboardInterrupt:
        fleet.close()
        with suppress(StellwerkError):  # whatever cannot be written any more, it was interrupted
            run.tell("cancelled")
            buffer.close()
        raise
    except BaseException:
        fleet.close()
        buffer.abandon()
        raise
    buffer.close()
    return report


def must_have(plan: Plan, steps: Iterable[str]) -> None:
    """Refuse names that are no steps of a plan. Raises `NotFound` (`unknown-step`)."""
    known = [node.id for node in plan.nodes]
    for name in steps:
        if name not in known:
            raise NotFound(
                f"pipeline {plan.name!r} has no step {name[:60]!r} (it has {', '.join(known)}){nearest(name, known)}",
                code="unknown-step",
            )


def closures(plan: Plan) -> dict[str, Closure]:
    """The code closure of each function of a plan, by function reference; built-in steps have none."""
    return {
        function: closure(loading.resolve(function, file))
        for function, file in dict.fromkeys((node.function, node.file) for node in plan.nodes)
        if not function.startswith(BUILTIN)
    }
