"""`triggers`: what begins runs by itself, and the process that runs them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from stellwerk.cli import exits, parameters, words
from stellwerk.cli.command import Command, Group
from stellwerk.cli.output import Line, Span, Table, dim, state, strong
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stellwerk.core.errors import StellwerkError
    from stellwerk.triggers.model import Firing, Made, Source, TriggerLine
    from stellwerk.workspace.going_on import Gone
    from stellwerk.workspace.triggering import Runner, Told


@click.group(cls=Group)
def triggers() -> None:
    """What begins runs by itself: clocks, data, events, webhooks.

    \b
    Example:
      stellwerk triggers list
    """


@triggers.command(cls=Command)
@click.argument("name")
@click.option("--pipeline", required=True, help="The pipeline that is run.")
@parameters.option
@click.option("--cron", help='Times, as five fields of cron: "30 2 * * 1-5".')
@click.option("--zone", default="UTC", show_default=True, help="The time zone of --cron, such as Europe/Berlin.")
@click.option(
    "--catch-up",
    type=click.Choice(["none", "last", "all"]),
    default="last",
    show_default=True,
    help="What becomes of times that passed while nobody looked.",
)
@click.option("--jitter", metavar="DURATION", default="0s", help="Over which firings of --cron are spread.")
@click.option("--on-data", metavar="DATASET", help="New versions of a dataset that passed a confirmed contract.")
@click.option(
    "--unchecked", is_flag=True, help="With --on-data: versions that no contract was asked about count too."
)
@click.option("--on-event", metavar="EVENT", help="Such as drift, lease-forecast, labels:500, release.stopped.")
@click.option(
    "--of", "of", default="", metavar="NAME", help="With --on-event: only of this endpoint, model or dataset."
)
@click.option(
    "--on-webhook",
    type=click.Choice(["standard", "github"]),
    help="Signed deliveries, in the form of Standard Webhooks or of GitHub.",
)
@click.option("--secret-file", type=click.File("r"), help="With --on-webhook: their secret; - reads it from stdin.")
@click.option("--interval", metavar="DURATION", help="Between two firings, at least; 60s by default, 0s for --cron.")
@click.option("--queue", type=click.IntRange(1, 1000), default=10, show_default=True, help="Firings that may wait.")
@click.option(
    "--depth",
    type=click.IntRange(0, 10),
    default=3,
    show_default=True,
    help="How many firings in a row may have led to one.",
)
@click.option("--each", is_flag=True, help="A run for every cause, instead of one for all that came meanwhile.")
@click.pass_obj
def add(session: Session, /, name: str, pipeline: str, param: tuple[str, ...], **said: Any) -> None:
    """Begin runs of a pipeline by a clock, new data, an event, or a webhook.

    Exactly one of --cron, --on-data, --on-event and --on-webhook says by what. Parameters may hold {day} and {time} of
    a clock, {version} and {subject} of data and events, and {cause}. Nothing is run before `stellwerk triggers run`.

    \b
    Example:
      stellwerk triggers add nightly --pipeline delay -p depth=6 --cron "30 2 * * 1-5" --zone Europe/Berlin
      stellwerk triggers add fresh --pipeline delay --on-data flights
      stellwerk triggers add labelled --pipeline delay --on-event labels:500 --of delay
      stellwerk triggers add pushed --pipeline delay --on-webhook github
    """
    from stellwerk.core.clock import parse_duration
    from stellwerk.triggers.declaration import usual_interval
    from stellwerk.triggers.model import Limits

    on = _source(said)
    interval = int(parse_duration(said["interval"]).total_seconds()) if said["interval"] else usual_interval(on)
    limits = Limits(interval=interval, queue=said["queue"], depth=said["depth"], each=said["each"])
    with session.workspace() as workspace:
        parameters.known(session, workspace, [pipeline])
        made = workspace.triggers.add(
            name, pipeline, on, params=parameters.texts(param), limits=limits, secret=_secret(said["secret_file"])
        )
    _show_made(session, made)
    session.screen.suggest("stellwerk triggers run")


def _source(said: dict[str, Any]) -> Source:
    from stellwerk.core.clock import parse_duration
    from stellwerk.triggers.model import OnData, OnEvent, OnTime, OnWebhook

    ways = {"--cron": "cron", "--on-data": "on_data", "--on-event": "on_event", "--on-webhook": "on_webhook"}
    given = [option for option, key in ways.items() if said[key] is not None]
    if len(given) != 1:
        raise Invalid(
            f"{' and '.join(given) or 'nothing'} says what fires it (expected exactly one of {', '.join(ways)})",
            code="usage",
            hint='such as --cron "30 2 * * *"',
        )
    others = {"--unchecked": ("unchecked", "--on-data"), "--of": ("of", "--on-event")}
    others |= {"--secret-file": ("secret_file", "--on-webhook")}
    for option, (key, of) in others.items():
        if said[key] and of not in given:
            raise Invalid(f"{option} belongs to {of}", code="usage", hint="leave it out")
    if said["cron"] is not None:
        jitter = int(parse_duration(said["jitter"]).total_seconds())
        return OnTime(cron=said["cron"], zone=said["zone"], catch_up=said["catch_up"], jitter=jitter)
    if said["on_data"] is not None:
        return OnData(dataset=said["on_data"], unchecked=said["unchecked"])
    if said["on_event"] is not None:
        return OnEvent(event=said["on_event"], of=said["of"])
    return OnWebhook(style=said["on_webhook"])


def _secret(file: IO[str] | None) -> str:
    if file is None:
        return ""
    found = file.read().strip()
    if not found:
        raise Invalid("the secret is empty", code="usage", hint="leave --secret-file out for a new one")
    return found


def _show_made(session: Session, made: Made) -> None:
    line = made.trigger
    rows: list[tuple[Line, ...]] = [
        (dim("trigger"), strong(line.name)),
        (dim("pipeline"), line.pipeline),
        (dim("fired by"), fired_by(line)),
    ]
    rows += [(dim("next"), ", ".join(f"{at:%a %Y-%m-%d %H:%M %Z}" for at in line.coming))] if line.coming else []
    rows += [(dim("deliver to"), made.path)] if made.path else []
    rows += [(dim("secret"), strong(made.secret))] if made.secret else []
    session.screen.show(made, Table(rows=tuple(rows)))
    if made.secret:
        session.screen.say(dim("the secret is shown this once; give it to the sender, which signs with it"))


@triggers.command(cls=Command)
@click.option("--prune", is_flag=True, help="Take away triggers that are not declared.")
@click.pass_obj
def apply(session: Session, prune: bool) -> None:
    """Make triggers as `[trigger.NAME]` of stellwerk.toml declares them.

    What did not change goes on as it was; doing it again changes nothing. Triggers that are not declared are named, and
    taken away only with --prune.

    \b
    Example:
      stellwerk triggers apply
    """
    from stellwerk.triggers.declaration import parse

    project = session.project()
    if project is None:
        raise NotFound("there is no stellwerk.toml here", code="no-such-file", hint="`stellwerk triggers add`")
    declared = parse(project.triggers)
    with session.workspace() as workspace:
        parameters.known(session, workspace, [one.pipeline for one in declared])
        applied = workspace.triggers.apply(declared, prune=prune)
    rows = tuple((strong(one.name), state(one.change)) for one in applied)
    session.screen.show(applied, Table(rows=rows) if rows else dim("no trigger is declared"))
    for one in applied:
        if one.made is not None and one.made.secret and not session.as_json:
            _show_made(session, one.made)


@triggers.command("list", cls=Command)
@click.pass_obj
def list_triggers(session: Session) -> None:
    """List triggers with the next time of their clock and their newest firing.

    \b
    Example:
      stellwerk triggers list
    """
    with session.workspace() as workspace:
        found = workspace.triggers.list()
    session.screen.show(found, _table(found) if found else dim("no trigger yet"))
    if not found:
        session.screen.suggest('stellwerk triggers add NAME --pipeline PIPELINE --cron "30 2 * * *"')


@triggers.command(cls=Command)
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Firings at most.")
@click.pass_obj
def show(session: Session, name: str, limit: int) -> None:
    """Show a trigger: what fires it, the next times of its clock, its firings and their runs.

    \b
    Example:
      stellwerk triggers show nightly
    """
    with session.workspace() as workspace:
        line = workspace.triggers.show(name, limit=limit)
    facts: list[tuple[Line, ...]] = [
        (dim("trigger"), strong(line.name) if not line.paused else (strong(line.name), Span("  paused", "warn"))),
        (dim("pipeline"), line.pipeline + "".join(f"  {key}={text}" for key, text in line.params.items())),
        (dim("fired by"), fired_by(line)),
        (dim("limits"), _limits(line)),
    ]
    facts += [(dim("next"), f"{at:%a %Y-%m-%d %H:%M %Z}") for at in line.coming]
    facts.append((dim("made"), f"{words.moment(line.created_at)} by {line.created_by}"))
    blocks: list[Any] = [Table(rows=tuple(facts)), ""]
    session.screen.show(line, *blocks, _firings(line.firings) if line.firings else dim("it has not fired yet"))


@triggers.command(cls=Command)
@click.argument("name")
@click.pass_obj
def pause(session: Session, name: str) -> None:
    """Let nothing fire a trigger. What waits is run all the same.

    \b
    Example:
      stellwerk triggers pause nightly
    """
    with session.workspace() as workspace:
        line = workspace.triggers.pause(name)
    session.screen.show(line, (strong(line.name), " is paused"))


@triggers.command(cls=Command)
@click.argument("name")
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """Let a trigger be fired again. What happened meanwhile does not count.

    \b
    Example:
      stellwerk triggers resume nightly
    """
    with session.workspace() as workspace:
        line = workspace.triggers.resume(name)
    session.screen.show(line, (strong(line.name), " goes on"))


@triggers.command(cls=Command)
@click.argument("name")
@click.option("--why", default="", help="For the ledger.")
@click.pass_obj
def fire(session: Session, name: str, why: str) -> None:
    """Fire a trigger by hand, paused or not.

    \b
    Example:
      stellwerk triggers fire nightly --why "the data of Monday came late"
    """
    with session.workspace() as workspace:
        firing = workspace.triggers.fire(name, why=why)
    session.screen.show(firing, (strong(firing.name), f"  waits as firing {firing.id}"))
    session.screen.suggest("stellwerk triggers run")


@triggers.command(cls=Command)
@click.argument("name")
@click.pass_obj
def remove(session: Session, name: str) -> None:
    """Take a trigger away, and what waits in its queue. What it fired stays in the ledger.

    \b
    Example:
      stellwerk triggers remove nightly
    """
    with session.workspace() as workspace:
        gone = workspace.triggers.remove(name)
    session.screen.show(gone, (strong(gone.name), " fires no more"))


@triggers.command(cls=Command)
@click.option("--once", is_flag=True, help="Run what is due now, and end: for cron, systemd and CI.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Runs at the same time.")
@click.option("--project", type=click.Path(path_type=Path), help="Folder of the project whose pipelines are run.")
@click.option("--only", multiple=True, metavar="PIPELINE", help="Run nothing but this pipeline; may be repeated.")
@click.option(
    "--drop",
    multiple=True,
    metavar="DATASET=FOLDER",
    help="Files that are put into this folder become parts of a dataset; may be repeated.",
)
@click.pass_obj
def run(
    session: Session, once: bool, workers: int, project: Path | None, only: tuple[str, ...], drop: tuple[str, ...]
) -> int:
    """Run what triggers fire, each run in a process of its own, until it is ended.

    It looks for times that have come and for what happened, takes what is due, and says what became of it. Executions of
    the project that waited go on once a decision was taken, a time or an event has come, unless the code is another one
    by now: that is said once, and they are left. Several may run, on several machines: every firing begins one run. With
    --once it ends with 1 where a run failed.

    \b
    Example:
      stellwerk triggers run
      stellwerk triggers run --once --project /srv/flights --drop flights=/srv/incoming
    """
    from stellwerk.workspace.dropping import Drops, parse
    from stellwerk.workspace.triggering import Runner

    file, name = _pipelines_of(session, project)
    with session.workspace() as workspace:
        runner = Runner(
            caller=workspace._caller,
            place=session.place if session.remote else str(session.layout().root),
            file=file,
            project=name,
            workers=workers,
            only=only,
            drops=[Drops(dataset=name, folder=folder, say=_dropped(session)) for name, folder in map(parse, drop)],
            watch=lambda told: _watch(session, told),
            trouble=lambda problem: _trouble(session, problem),
            went=lambda gone: _went(session, gone),
        )
        if not once:
            _forever(session, runner)
            return exits.DONE
        runner.once()
    continued, failed = runner.continued
    session.screen.show({"runs": runner.done, "failed": runner.failed + failed, "continued": continued}, _sum(runner))
    return exits.STOP if runner.failed + failed else exits.DONE


def _forever(session: Session, runner: Runner) -> None:
    end = threading.Event()
    with _until_told(end):
        session.screen.say("waiting for triggers", dim("  (Ctrl-C ends it)"))
        runner.forever(end)
    session.screen.say(dim("ended"))


@contextmanager
def _until_told(end: threading.Event) -> Iterator[None]:
    """End in an orderly way at the first signal; the second one is as always."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _frame: object) -> None:
        end.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pipelines_of(session: Session, project: Path | None) -> tuple[Path, str]:
    """The file whose pipelines are run, which must be there before anything is taken, and the name of its project."""
    from stellwerk.releases.declaration import parse

    folder = (project or session.home()).resolve()
    if not folder.is_dir():
        raise NotFound(f"there is no folder {str(project)!r}", code="no-such-folder", hint="check --project")
    declared = folder / "stellwerk.toml"
    found = parse(declared.read_text("utf-8")) if declared.is_file() else None
    name = found.pipeline if found is not None else "pipeline.py"
    if not (folder / name).is_file():
        raise NotFound(
            f"there is no pipeline file {name!r} in the project",
            code="no-such-file",
            hint="--project names the folder of stellwerk.toml",
        )
    return folder / name, found.name if found is not None else ""


def _watch(session: Session, told: Told) -> None:
    firing = told.firing
    if firing.status == "claimed":
        session.screen.say(strong(firing.name), f"  {firing.pipeline}: {firing.cause.text}", _others(firing))
        return
    outcome = firing.outcome or ("tried again later" if firing.status == "queued" else firing.status)
    problem = f"  {firing.problem.splitlines()[0]}" if firing.problem else ""
    session.screen.say(
        strong(firing.name), "  ", state(outcome), dim(f"  run {firing.run}" if firing.run else ""), problem
    )
    for line in told.said.splitlines()[-12:] if firing.outcome in ("failed", "interrupted") else ():
        session.screen.say(dim(f"    {line}"))


def _went(session: Session, gone: Gone) -> None:
    """What becomes of an execution that had waited."""
    due = gone.due
    who = (strong(due.execution.pipeline), f"  run {due.execution.id}")
    if gone.left:
        session.screen.say(*who, Span(f"  {gone.left}: ", "warn"), f"`stellwerk resume {due.execution.id}` says more")
    elif not gone.status:
        session.screen.say(*who, f" goes on: {due.task}, ", dim(due.cause))
    else:
        session.screen.say(*who, "  ", state(gone.status))
        for line in gone.said.splitlines()[-12:]:
            session.screen.say(dim(f"    {line}"))


def _trouble(session: Session, problem: StellwerkError) -> None:
    session.screen.say(Span("waiting: ", "warn"), f"{problem.message} ({problem.code})")


def _dropped(session: Session) -> Any:
    return lambda file, said: session.screen.say(strong(file), f"  {said}")


def _sum(runner: Runner) -> Line:
    continued, failed = runner.continued
    if not runner.done + continued:
        return dim("nothing was due")
    went = f", {continued} of them went on" if continued else ""
    bad = runner.failed + failed
    return (f"{words.count(runner.done + continued, 'run')}{went}", Span(f", {bad} failed", "bad") if bad else "")


def fired_by(line: TriggerLine) -> str:
    """What fires a trigger, in a few words."""
    on = line.on
    match on.kind:
        case "time":
            return f"{on.cron} {on.zone}"
        case "data":
            return f"new versions of {on.dataset}" + (", unchecked" if on.unchecked else "")
        case "event":
            return on.event + (f" of {on.of}" if on.of else "")
        case _:
            return f"webhook, signed as {on.style}"


def _limits(line: TriggerLine) -> str:
    limits = line.limits
    parts = [f"{words.count(limits.interval, 'second')} apart"] if limits.interval else []
    parts += [f"{limits.queue} may wait", f"{limits.depth} in a row"]
    parts += ["a run for each cause"] if limits.each else []
    if line.on.kind == "time":
        parts.append(f"catches up {line.on.catch_up}")
        parts += [f"spread over {words.count(line.on.jitter, 'second')}"] if line.on.jitter else []
    return ", ".join(parts)


def _table(found: Sequence[TriggerLine]) -> Table:
    return Table(
        header=("name", "pipeline", "fired by", "next", "waiting", "newest firing", "run"),
        right=(4,),
        firm=(0, 3),
        spare=(6, 4),
        rows=tuple(
            (
                strong(one.name) if not one.paused else dim(f"{one.name} (paused)"),
                one.pipeline,
                fired_by(one),
                f"{one.coming[0]:%Y-%m-%d %H:%M}" if one.coming else "–",
                str(one.queued) if one.queued else "–",
                _outcome(one.firings[0]) if one.firings else dim("never"),
                dim(one.firings[0].run if one.firings else ""),
            )
            for one in found
        ),
    )


def _outcome(firing: Firing) -> Line:
    return (f"{words.moment(firing.due_at)} ", state(firing.outcome or firing.status))


def _others(firing: Firing) -> Span:
    return dim(f" and {firing.others} more" if firing.others else "")


def _firings(found: Sequence[Firing]) -> Table:
    return Table(
        header=("due", "status", "cause", "run"),
        firm=(0, 1, 3),
        rows=tuple(
            (
                words.moment(one.due_at),
                state(one.outcome or one.status),
                (one.cause.text, _others(one), dim(f"  {one.problem.splitlines()[0]}" if one.problem else "")),
                dim(one.run or "–"),
            )
            for one in found
        ),
    )
