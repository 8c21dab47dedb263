"""What is known only while a plan is executed: branches, loops, waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from stellwerk.core import canonical, names
from stellwerk.core.arguments import bound
from stellwerk.core.clock import format_instant, parse_duration
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.authoring.building import builtin, needed
from stellwerk.pipelines.authoring.steps import whole
from stellwerk.pipelines.model import ITEM, Branch, Loop, Ref, Test
from stellwerk.pipelines.parameters import texts

_UNSET = object()
MAX_ITEMS = 10_000


@bound
@contextmanager
def when(
    value: Any,
    *,
    equals: Any = _UNSET,
    above: Any = _UNSET,
    below: Any = _UNSET,
    at_least: Any = _UNSET,
    at_most: Any = _UNSET,
    among: Any = _UNSET,
) -> Iterator[Branch]:
    """What is called inside runs only if an output fulfils the condition; without one, if it is true.

    `with sw.when(score, above=0.7) as good: ...`, and for the opposite `with sw.otherwise(good): ...`. Steps that use
    something from a branch that is not taken are omitted, too; `sw.either` and lists go on with what there is.
    """
    tests: dict[Test, Any] = {
        "equals": equals,
        "above": above,
        "below": below,
        "at_least": at_least,
        "at_most": at_most,
        "among": among,
    }
    given = [(test, compared) for test, compared in tests.items() if compared is not _UNSET]
    if not isinstance(value, Ref) or len(given) > 1:
        got = " and ".join(test for test, _ in given) if isinstance(value, Ref) else type(value).__name__
        raise Invalid(f"when got {got} (expected the output of a step and one comparison)", code="wrong-arguments")
    truth: tuple[Test, Any] = ("true", None)
    test, compared = given[0] if given else truth
    builder = needed("when")
    builder.check(value, "the condition")
    plain = canonical.loads(canonical.dumps(compared))
    if test == "among" and not isinstance(plain, list):
        raise Invalid(f"among got {compared!r} (expected a list)", code="wrong-type")
    branch = builder.add_group(
        "when", lambda name, within: Branch(id=name, within=within, subject=value, test=test, value=plain)
    )
    with builder.inside(branch):
        yield branch


@bound
@contextmanager
def otherwise(branch: Branch) -> Iterator[Branch]:
    """What is called inside runs only if a branch of the same pipeline is not taken."""
    builder = needed("otherwise")
    if not isinstance(branch, Branch) or builder.groups.get(branch.id) is not branch:
        raise Invalid("otherwise needs what `with sw.when(...) as` gave in this pipeline", code="foreign-reference")
    builder.check(branch.subject, "the condition")
    opposite = builder.add_group(
        "otherwise",
        lambda name, within: Branch(
            id=name,
            within=within,
            subject=branch.subject,
            test=branch.test,
            value=branch.value,
            negated=not branch.negated,
        ),
    )
    with builder.inside(opposite):
        yield opposite


@bound
@contextmanager
def each(items: Any, *, at_once: int = 0) -> Iterator[Any]:
    """What is called inside runs once for each item: of a list that is written here, or that a step gives.

    Inside, the value of `with sw.each(months) as month` is the item; outside, the outputs of its steps are lists.

    Args:
        at_once: How many steps of the loop may run at the same time; 0 for as many as there is room for.
    """
    whole("at_once", at_once, MAX_ITEMS)
    builder = needed("each")
    if isinstance(items, Ref):
        builder.check(items, "the list of a loop")
        source, values = items, ()
    elif isinstance(items, Sequence) and not isinstance(items, (str, bytes)):
        if len(items) > MAX_ITEMS or any(isinstance(item, Ref) for item in items):
            raise Invalid(
                f"each got {len(items)} items, which may be up to {MAX_ITEMS} and no outputs of steps",
                code="wrong-arguments",
                hint="let a step give the list",
            )
        source, values = None, tuple(canonical.loads(canonical.dumps(list(items))))
    else:
        raise Invalid(
            f"each got a {type(items).__name__} (expected a list, or the output of a step)", code="wrong-type"
        )
    loop = builder.add_group(
        "each", lambda name, within: Loop(id=name, within=within, items=source, values=values, at_once=at_once)
    )
    with builder.inside(loop):
        yield Ref(node=loop.id, output=ITEM)


@contextmanager
def after(*values: Any) -> Iterator[None]:
    """What is called inside waits for these, though it uses nothing of theirs."""
    builder = needed("after")
    if not values or not all(isinstance(value, Ref) for value in values):
        raise Invalid(f"after got {values!r} (expected outputs of steps)", code="wrong-arguments")
    before = list(builder.after)
    for value in values:
        builder.check(value, "after")
        if value.node in builder.nodes:
            builder.after.append(value.node)
    try:
        yield
    finally:
        builder.after[:] = before


@bound
def wait_for_person(
    question: str,
    *,
    about: Any = None,
    options: Sequence[str] = ("approve", "refuse"),
    queue: str = "pipelines",
    deadline: str = "",
    each_time: bool = False,
) -> Any:
    """Wait until a person has decided a case. The machine is free meanwhile; the value is what was chosen.

    The execution goes on only under the same code. The same question about the same things under the same code is asked
    once, unless `each_time`. Refusing, which is the last of the options, fails the step.

    Args:
        question: What the person reads.
        about: What the decision is about, if anything: an output, or a list of them.
        options: What can be chosen; the last one refuses.
        queue: Who is asked.
        deadline: After this time, such as `3d`, the case counts as refused.
    """
    if not isinstance(question, str) or not 1 <= len(question) <= 2000:
        raise Invalid("the question is empty or longer than 2,000 characters", code="wrong-arguments")
    words = texts("options", options)
    if len(words) < 2 or len(set(words)) < len(words) or not all(words):
        raise Invalid(f"options are {options!r} (expected two or more different texts)", code="wrong-arguments")
    names.name(queue, what="queue")
    if deadline:
        parse_duration(deadline, what="deadline")
    params = {
        "for": "person",
        "question": question,
        "options": list(words),
        "queue": queue,
        "deadline": deadline,
    }
    if about is not None and not isinstance(about, (Ref, list, tuple)):
        raise Invalid(f"about is {about!r} (expected an output of a step, or a list of them)", code="wrong-type")
    things = [about] if isinstance(about, Ref) else list(() if about is None else about)
    inputs = {f"about[{number}]": thing for number, thing in enumerate(things)}
    return builtin("wait", "wait-for-person", "wait", params, inputs, cache=not each_time)


@bound
def wait_until(moment: datetime | str, *, after: Any = None) -> Any:
    """Wait until an instant, or for a duration such as `2h` from when it is reached. The value is the instant."""
    if isinstance(moment, datetime):
        params = {"for": "time", "until": format_instant(moment)}
    else:
        parse_duration(moment, what="moment")
        params = {"for": "time", "lasts": moment}
    return builtin("wait", "wait-until", "wait", params, {} if after is None else {"after": after}, cache=False)


@bound
def wait_for_event(kind: str, *, subject: str = "", deadline: str = "", after: Any = None) -> Any:
    """Wait until the ledger has an entry of a kind, made after this wait began. The value names the entry.

    Args:
        kind: Such as `dataset.added`; `dataset.*` is any that begins so.
        subject: Only entries about it, such as `dataset:flights`.
        deadline: After this time, such as `3d`, the step fails.
    """
    if not isinstance(kind, str) or not names.is_event(kind[:-1] + "any" if kind.endswith(".*") else kind):
        raise Invalid(
            f"the kind of event is {names.shortened(kind)} (expected such as 'dataset.added' or 'dataset.*')",
            code="invalid-event",
        )
    if not isinstance(subject, str):
        raise Invalid(f"subject is {subject!r} (expected text such as 'dataset:flights')", code="wrong-type")
    if deadline:
        parse_duration(deadline, what="deadline")
    params = {"for": "event", "kind": kind, "subject": subject, "deadline": deadline}
    return builtin("wait", "wait-for-event", "wait", params, {} if after is None else {"after": after}, cache=False)
