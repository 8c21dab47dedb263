"""`.gitlab-ci.yml` as steps: one for each job, matrices and copies multiplied out. `extends` is in `gitlab_jobs`."""

from __future__ import annotations

import itertools
import re

from stellwerk.delivery.ci.taking import gitlab_jobs, variables, yaml
from stellwerk.delivery.ci.taking.gitlab_jobs import Job, Pipeline
from stellwerk.delivery.ci.taking.model import Command, Names, Taken, Wait, kind, ordered
from stellwerk.delivery.ci.taking.notes import Advice, Notes
from stellwerk.delivery.ci.taking.yaml import Items, Table, flag, table, text, texts

MAX_COPIES = 200

_REPORTED = "the step's log, metrics and files are kept with its run"
ADVICE: dict[str, Advice] = {
    "cache": ("changed", "results are kept by step key; files between runs are not", "give them as inputs"),
    "interruptible": ("changed", "a run can be cancelled at any time and resumed", ""),
    "tags": ("left", "which machine runs a step is the executor's choice", "`resources` of a step, or `run --on`"),
    "services": ("left", "no container is started beside a step", "start it before, and pass its address"),
    "environment": ("left", "where something is released to is an endpoint's business", "`stellwerk release`"),
    "resource_group": ("left", "one at a time is said of resources", '`Resources(custom={"name": 1})`'),
    "trigger": ("left", "no other pipeline is started", "call it as a sub-pipeline, or `stellwerk run` there"),
    "release": ("left", "a release of GitLab's is made by GitLab", "keep this job in GitLab"),
    "pages": ("left", "pages are published by GitLab", "keep this job in GitLab"),
    "coverage": ("left", "no number is read out of a log", "let the script write a metric"),
    "id_tokens": ("left", "tokens are given by GitLab alone", "keep it in the file that `stellwerk ci init` writes"),
    "secrets": ("left", "no secret is fetched for a step", "have it in the environment of `stellwerk run`"),
    "identity": ("left", "tokens are given by GitLab alone", ""),
    "hooks": ("left", "what happens before the sources are there is GitLab's", ""),
    "dast_configuration": ("left", "a scanner of GitLab's", ""),
    "start_in": ("left", "no step is delayed by a time", "`sw.wait_until` before it"),
    "manual_confirmation": ("changed", "the question is the one that a person is asked", ""),
    "only": ("left", "which pushes start a pipeline is for GitLab to say; the step always runs", "`sw.when`"),
    "except": ("left", "which pushes start a pipeline is for GitLab to say; the step always runs", "`sw.when`"),
}  # fmt: skip
HANDLED = frozenset({
    "script", "before_script", "after_script", "stage", "extends", "needs", "dependencies", "variables", "artifacts",
    "rules", "when", "allow_failure", "parallel", "retry", "timeout", "image", "inherit",
})  # fmt: skip


def take(documents: list[yaml.Node], source: str) -> Taken:
    """Every job as a step, and about every keyword what became of it."""
    notes = Notes()
    pipeline = gitlab_jobs.resolve(documents, notes)
    _top(pipeline, notes)
    reader = _Reader(pipeline, notes)
    steps = reader.steps()
    return Taken(source=source, system="gitlab", steps=steps, findings=notes.all())


def _top(pipeline: Pipeline, notes: Notes) -> None:
    top = pipeline.top
    for name in ("stages", "variables"):
        if name in top.entries:
            notes.taken(top.lines[name], name)
    if "include" in top.entries:
        notes.left(
            top.lines["include"], "include", "other files are not fetched", "copy what they hold into this file"
        )
    if "workflow" in top.entries:
        notes.left(
            top.lines["workflow"], "workflow", "when to run is for GitLab to say", "`stellwerk ci init gitlab`"
        )


class _Reader:
    """Jobs of one file on their way to steps."""

    def __init__(self, pipeline: Pipeline, notes: Notes) -> None:
        self._pipeline, self._notes, self._names = pipeline, notes, Names()
        self._made: dict[str, tuple[str, ...]] = {}
        """By job: the steps that were made of it."""
        self._gives: set[str] = set()
        self._kept: list[Job] = []

    def steps(self) -> tuple[Command | Wait, ...]:
        """All steps, in an order in which they can run."""
        position = {stage: index for index, stage in enumerate(self._pipeline.stages)}
        for job in self._pipeline.jobs:
            if self._takes_part(job):
                self._kept.append(job)
                self._made[job.name] = tuple(self._names.new(name) for name, _ in self._copies(job))
                if table(job.body.entries.get("artifacts")).entries.get("paths"):
                    self._gives.update(self._made[job.name])
        jobs = sorted(self._kept, key=lambda job: position.get(job.stage, len(position)))
        made: list[Command | Wait] = []
        for job in jobs:
            made += self._steps_of(job)
        placed = ordered(made)
        for job in jobs:
            if not {step.name for step in placed} >= set(self._made[job.name]):
                self._notes.left(job.line, job.name, "its needs lead in a circle, or to a job that is not there")
        return placed

    def _takes_part(self, job: Job) -> bool:
        body, notes = job.body, self._notes
        if job.stage not in self._pipeline.stages:
            notes.left(job.line, job.name, f"its stage {job.stage!r} is not among the stages", "add it to `stages`")
            return False
        if "script" not in body.entries:
            if "trigger" in body.entries:
                notes.advise(body.lines["trigger"], f"{job.name}.trigger", ADVICE["trigger"])
            else:
                notes.left(job.line, job.name, "it has no script", "copy it here from where it is included from")
            return False
        if text(body.entries.get("when")) == "never" or self._never(job):
            notes.left(job.line, job.name, "it never runs")
            return False
        if text(body.entries.get("when")) in ("on_failure", "delayed"):
            notes.left(
                body.lines["when"], f"{job.name}.when", "no step runs because another failed, or after a time",
                "handle it where the command ends: its exit code says what happened",
            )  # fmt: skip
            return False
        return True

    def _never(self, job: Job) -> bool:
        rules = job.body.entries.get("rules")
        listed = [table(rule) for rule in rules.items] if isinstance(rules, Items) else []
        return bool(listed) and all(text(rule.entries.get("when")) == "never" for rule in listed)

    def _copies(self, job: Job) -> list[tuple[str, dict[str, str]]]:
        """The names and variables of the copies that a job is run as."""
        parallel = job.body.entries.get("parallel")
        if parallel is None:
            return [(job.name, {})]
        where, line = f"{job.name}.parallel", job.body.lines["parallel"]
        count = text(parallel)
        if count.isdecimal() and 2 <= int(count) <= MAX_COPIES:
            self._notes.taken(line, where)
            return [
                (f"{job.name} {n}", {"CI_NODE_INDEX": str(n), "CI_NODE_TOTAL": count})
                for n in range(1, int(count) + 1)
            ]
        rows = table(parallel).entries.get("matrix")
        copies = [
            dict(pairs)
            for row in (rows.items if isinstance(rows, Items) else ())
            for pairs in itertools.islice(
                itertools.product(
                    *([(name, one.text) for one in texts(values)] for name, values in table(row).entries.items())
                ),
                MAX_COPIES + 1,
            )
        ]
        if not 1 <= len(copies) <= MAX_COPIES:
            self._notes.left(line, where, f"{len(copies)} copies (expected 1 to {MAX_COPIES})", "it runs once")
            return [(job.name, {})]
        self._notes.taken(line, where)
        return [(f"{job.name} {' '.join(copy.values())}", copy) for copy in copies]

    def _steps_of(self, job: Job) -> list[Command | Wait]:
        body, notes = job.body, self._notes
        self._tell(job)
        after, takes = self._needs(job)
        found: list[Command | Wait] = []
        if self._manual(job):
            question = text(body.entries.get("manual_confirmation")) or f"May {job.name} go on?"
            wait = Wait(name=self._names.new(f"approve {job.name}"), question=question, after=(*after, *takes))
            found.append(wait)
            after = (*after, wait.name)
        said = self._environment(job)
        # GitLab puts variables into the values of others; a plan does not.
        environment = {name: value for name, value in said.items() if "$" not in value}
        exports = [f"export {name}={_expanded(value)}" for name, value in said.items() if "$" in value]
        script = "\n".join((*exports, self._script(job)))
        script = "\n".join((*variables.guards(script, self._unset(job, script)), script))
        for name, (_, copy) in zip(self._made[job.name], self._copies(job), strict=True):
            found.append(
                Command(
                    name=name,
                    script=script,
                    environment={**environment, **copy},
                    after=tuple(dict.fromkeys(after)),
                    takes=tuple(dict.fromkeys(takes)),
                    gives=tuple(one.text for one in texts(table(body.entries.get("artifacts")).entries.get("paths"))),
                    image=_image(body),
                    retries=self._retries(job),
                    timeout=self._timeout(job),
                    kind=kind(job.name, job.stage),
                )
            )
        notes.taken(job.line, job.name)
        return found

    def _tell(self, job: Job) -> None:
        """What becomes of the keywords that need no more than a word."""
        for name, line in job.body.lines.items():
            where = f"{job.name}.{name}"
            if name in ADVICE:
                self._notes.advise(line, where, ADVICE[name])
            elif name not in HANDLED:
                self._notes.left(line, where, "this keyword is not known")
            elif name in ("script", "before_script", "variables", "stage"):
                self._notes.taken(line, where)
        artifacts = table(job.body.entries.get("artifacts"))
        for name, line in artifacts.lines.items():
            where = f"{job.name}.artifacts.{name}"
            if name == "paths":
                self._notes.changed(line, where, "the step is refused where it did not leave these files")
            elif name == "reports":
                self._notes.changed(line, where, _REPORTED, "`stellwerk ci report` makes GitLab's files")
            else:
                self._notes.changed(line, where, "outputs are kept by content as long as something leads to them")
        if "image" in job.body.entries:
            self._notes.changed(
                job.body.lines["image"], f"{job.name}.image", "used by executors that run containers",
                "name it with its digest, so that it cannot change",
            )  # fmt: skip
        if "rules" in job.body.entries:
            self._rules(job)
        if "allow_failure" in job.body.entries and flag(job.body.entries["allow_failure"]) is not False:
            self._notes.left(
                job.body.lines["allow_failure"], f"{job.name}.allow_failure", "a failed step fails what waits for it",
                "end the script with `|| true` if it does not matter",
            )  # fmt: skip
        if "after_script" in job.body.entries:
            self._notes.left(
                job.body.lines["after_script"], f"{job.name}.after_script", "nothing runs after a script that failed",
                "put it into the script, with `trap … EXIT`",
            )  # fmt: skip

    def _rules(self, job: Job) -> None:
        line, where = job.body.lines["rules"], f"{job.name}.rules"
        rules = job.body.entries["rules"]
        listed = [table(rule) for rule in rules.items] if isinstance(rules, Items) else []
        if listed and all(set(rule.entries) <= {"changes", "when"} for rule in listed):
            self._notes.changed(line, where, "a step runs when its code, parameters or inputs changed, not its paths")
            return
        self._notes.left(line, where, "conditions on GitLab's variables; the step always runs", "`sw.when` on a step")

    def _manual(self, job: Job) -> bool:
        body = job.body
        rules = body.entries.get("rules")
        listed = [table(rule) for rule in rules.items] if isinstance(rules, Items) else []
        line = next((rule.lines["when"] for rule in listed if text(rule.entries.get("when")) == "manual"), 0)
        if text(body.entries.get("when")) == "manual":
            line = body.lines["when"]
        if line:
            self._notes.changed(
                line, f"{job.name}.when", "somebody decides the case that it becomes", "`stellwerk inbox`"
            )
        elif "when" in body.entries:
            self._notes.changed(
                body.lines["when"], f"{job.name}.when", "a step runs when what it waits for ended well"
            )
        return bool(line)

    def _needs(self, job: Job) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The steps that come before, and those of them whose files it gets."""
        body = job.body
        if "needs" not in body.entries:
            order = self._pipeline.stages
            before = [other for other in self._kept if order.index(other.stage) < order.index(job.stage)]
            names = [name for other in before for name in self._made[other.name]]
            return self._sorted(names, self._dependencies(job, names))
        self._notes.taken(body.lines["needs"], f"{job.name}.needs")
        after: list[str] = []
        files: list[str] = []
        needs = body.entries["needs"]
        for item in needs.items if isinstance(needs, Items) else ():
            said = table(item)
            name = text(item) or text(said.entries.get("job"))
            elsewhere = set(said.entries) & {"project", "pipeline", "parallel"}
            if name not in self._made or elsewhere:
                if flag(said.entries.get("optional")) is not True:
                    self._notes.left(
                        item.line,
                        f"{job.name}.needs {name or ' '.join(elsewhere)}",
                        "that job is not among the steps",
                    )
                continue
            after += self._made[name]
            if flag(said.entries.get("artifacts")) is not False:
                files += self._made[name]
        return self._sorted(after, self._dependencies(job, files))

    def _dependencies(self, job: Job, names: list[str]) -> list[str]:
        if "dependencies" not in job.body.entries:
            return names
        self._notes.taken(job.body.lines["dependencies"], f"{job.name}.dependencies")
        chosen = {name for one in texts(job.body.entries["dependencies"]) for name in self._made.get(one.text, ())}
        return [name for name in names if name in chosen]

    def _sorted(self, after: list[str], files: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        takes = tuple(name for name in files if name in self._gives)
        return tuple(name for name in after if name not in takes), takes

    def _environment(self, job: Job) -> dict[str, str]:
        """All variables that the file sets for a job, as they are written."""
        inherit = table(job.body.entries.get("inherit")).entries.get("variables")
        shared = self._pipeline.variables.entries
        if flag(inherit) is False:
            shared = {}
        elif isinstance(inherit, Items):
            shared = {name: value for name, value in shared.items() if name in {one.text for one in texts(inherit)}}
        own = table(job.body.entries.get("variables")).entries
        both = {**shared, **own}
        for name, value in both.items():
            said = text(value) or text(table(value).entries.get("value"))
            variables.tell(said, value.line, f"variables.{name}", "gitlab", set(both), self._notes)
        return {name: text(value) or text(table(value).entries.get("value")) for name, value in both.items()}

    def _script(self, job: Job) -> str:
        lines = [
            one
            for part in ("before_script", "script")
            for one in texts(job.body.entries.get(part))
        ]  # fmt: skip
        known = set(self._environment(job)) | {name for _, copy in self._copies(job) for name in copy}
        for one in lines:
            variables.tell(one.text, one.line, job.name, "gitlab", known, self._notes)
        return "\n".join(one.text.rstrip("\n") for one in lines)

    def _unset(self, job: Job, script: str) -> list[str]:
        """The variables that a script reads and only GitLab sets, tokens and secrets among them."""
        known = set(self._environment(job)) | {name for _, copy in self._copies(job) for name in copy}
        fetched = {
            name for part in ("id_tokens", "secrets") for name in table(job.body.entries.get(part)).entries
        } - known  # fmt: skip
        system = variables.unset(script, "gitlab", known)
        return [*system, *(one for one in variables.used(script) if one in fetched)]

    def _retries(self, job: Job) -> int:
        said = job.body.entries.get("retry")
        if said is None:
            return 0
        count = text(said) or text(table(said).entries.get("max"))
        if isinstance(said, Table) and set(said.entries) - {"max"}:
            self._notes.changed(job.body.lines["retry"], f"{job.name}.retry", "it is tried again whatever the reason")
        else:
            self._notes.taken(job.body.lines["retry"], f"{job.name}.retry")
        return int(count) if count in ("1", "2") else 0

    def _timeout(self, job: Job) -> str:
        said = text(job.body.entries.get("timeout"))
        if not said:
            return ""
        seconds = duration(said)
        if seconds is None:
            self._notes.left(job.body.lines["timeout"], f"{job.name}.timeout", f"{said!r} is no time that is known")
            return ""
        self._notes.taken(job.body.lines["timeout"], f"{job.name}.timeout")
        return f"{seconds}s"


_UNITS = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600,
          "d": 86400, "day": 86400, "w": 604800, "week": 604800}  # fmt: skip


def duration(said: str) -> int | None:
    """`1h 30m`, `3 hours 20 minutes` or `90` (seconds) as seconds."""
    parts = re.findall(r"(\d{1,7})\s*([a-z]*)", said.lower())
    if not parts or re.sub(r"\d+\s*[a-z]*|[\s,]|and", "", said.lower()):
        return None
    total = 0
    for number, unit in parts:
        factor = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s")) or (1 if not unit else 0)
        if not factor:
            return None
        total += int(number) * factor
    return total or None


def _expanded(value: str) -> str:
    """A value as a word of shell in which variables count and nothing else; `$$` is a dollar."""
    escaped = re.sub(r'([\\"`])', r"\\\1", value)
    escaped = re.sub(r"\$\$", r"\\$", escaped)
    return f'"{escaped}"'


def _image(body: Table) -> str:
    said = body.entries.get("image")
    return text(said) or text(table(said).entries.get("name"))
