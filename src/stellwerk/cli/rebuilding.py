"""`rebuild`: a model made again from what the ledger kept, and how much of it came out again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Span, Table, Tone, dim, strong
from stellwerk.cli.progress import Lines, Phases, Progress
from stellwerk.cli.session import Session
from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    from stellwerk.evidence.reproduction import Level
    from stellwerk.workspace.rebuilding.model import Rebuilt

_TONES: dict[str, Tone] = {"B": "good", "P": "good", "M": "good", "S": "warn", "X": "bad"}


@click.command(cls=Command)
@click.argument("model")
@click.option("--level", default="M", show_default=True, metavar="B|P|M|S", help="The least level that is enough.")
@click.option("--here", is_flag=True, help="In this environment, instead of a fresh one made of the run's lock.")
@click.option("--offline", is_flag=True, help="Take packages from uv's cache only.")
@click.option(
    "--metric", default="", help="What the seeds are compared by; the loss that chose the model by default."
)
@click.option(
    "--margin", type=float, help="By how much the seeds' mean may differ (level S); the endpoint's by default."
)
@click.pass_obj
def rebuild(
    session: Session, model: str, level: str, here: bool, offline: bool, metric: str, margin: float | None
) -> int:
    """Make a model again from the ledger, and say how much came out again.

    MODEL is name@3, name@alias, a digest, or a name, which means its newest version. Code, data and packages are those
    of its run; every step is executed, and nothing of it is registered. The levels are B (the same bytes), P (the same
    predictions), M (a metric as another seed would have), S (seeds around the same mean) and X (not reproducible).
    Exit code 0 is the level demanded or a better one, 1 a worse one.

    \b
    Example:
      stellwerk rebuild delay@3
      stellwerk rebuild delay --level B --offline
    """
    from stellwerk.evidence import reproduction

    demanded = reproduction.level(level)
    if margin is not None and not 0 < margin < float("inf"):
        raise Invalid(f"--margin is {margin} (expected a number above 0)", code="usage")
    screen = session.screen
    with screen.progress() as lines, session.workspace() as workspace, Phases(lines) as phases:
        found = workspace.rebuild(
            model, here=here, offline=offline, metric=metric, margin=margin, say=phases, heard=_Tasks(lines)
        )
    screen.show({**_facts(found), "demanded": demanded}, *_shown(found))
    reached = found.grade.reaches(demanded)
    if not reached:
        screen.say(dim(f"level {demanded} was demanded"))
    return exits.DONE if reached else exits.STOP


class _Tasks:
    """A line for each step that is executed."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._since: dict[str, float] = {}

    def __call__(self, kind: str, task: str) -> None:
        now = monotonic()
        if kind == "node-started":
            self._since[task] = now
            self._lines.put(Progress(name=f"  {task}", state="running", since=now))
            return
        seconds = now - self._since.get(task, now)
        state = "failed" if kind == "node-failed" else "done"
        self._lines.put(Progress(name=f"  {task}", state="failed" if state == "failed" else "done", seconds=seconds))


def _facts(found: Rebuilt) -> dict[str, object]:
    return {
        "model": found.model,
        "level": found.grade.level,
        "first": found.grade.first,
        "differing": found.grade.differing,
        "reasons": found.grade.reasons,
        "facts": found.facts,
        "run": found.run,
        "report": found.report,
        "evidence": found.evidence,
    }


def _shown(found: Rebuilt) -> list[Block]:
    from stellwerk.evidence.reproduction import MEANING

    grade, facts = found.grade, found.facts
    letter: Level = grade.level
    where = "in a fresh environment" if facts.fresh else "in this environment"
    blocks: list[Block] = [
        (Span(letter, _TONES[letter]), "  ", strong(found.model), f"  {MEANING[letter]}  ",
         dim(f"{words.took(facts.seconds)}, {where}")),
        "",
        _steps(found),
        "",
    ]  # fmt: skip
    blocks += [(dim(f"{one.level}  "), one.text) for one in grade.reasons]
    if grade.first:
        others = len(grade.differing) - 1
        more = f", and {words.count(others, 'other step')}"
        blocks += ["", f"The first step that differs is {grade.first}{more if others else ''}."]
    if facts.notes:
        blocks += ["", strong("Around it"), *(f"  {note}" for note in facts.notes)]
    blocks += ["", (dim("run  "), found.run)]
    return blocks


def _steps(found: Rebuilt) -> Table:
    return Table(
        header=("step", "came out", "took"),
        right=(2,),
        firm=(1,),
        rows=tuple(
            (
                task,
                Span("same", "good") if same else Span(_how(found, task), "bad"),
                words.took(seconds),
            )
            for task, same, seconds in found.tasks
        ),
    )


def _how(found: Rebuilt, task: str) -> str:
    pair = next(pair for pair in found.facts.steps if pair.task == task)
    if pair.error:
        return "failed" if not pair.now else "differs"
    return "differs" if task in found.grade.differing else "differs in turn"
