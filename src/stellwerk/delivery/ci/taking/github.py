"""Workflows of GitHub Actions as steps: one for each job, matrices multiplied out. Steps of a job share its files."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stellwerk.delivery.ci.taking import expressions, variables, yaml
from stellwerk.delivery.ci.taking.model import Command, Names, Parameter, Taken, Wait, kind, ordered
from stellwerk.delivery.ci.taking.notes import Advice, Notes
from stellwerk.delivery.ci.taking.yaml import Items, Node, Table, table, text, texts

MAX_COPIES = 256
_ALWAYS = re.compile(r"(\$\{\{)?\s*(always\(\)|success\(\)|!\s*cancelled\(\))\s*(\}\})?")

TOP: dict[str, Advice] = {
    "name": ("taken", "", ""),
    "run-name": ("left", "a run is called by its pipeline", ""),
    "env": ("taken", "", ""),
    "permissions": ("left", "steps get no token of GitHub's", "keep it in the file that `stellwerk ci init` writes"),
    "concurrency": ("changed", "processes of one workspace take turns where they must", ""),
    "defaults": ("taken", "", ""),
    "jobs": ("taken", "", ""),
}
JOB: dict[str, Advice] = {
    "runs-on": (
        "changed",
        "which machine runs a step is the executor's choice",
        "`resources` of a step, or `run --on`",
    ),
    "permissions": TOP["permissions"],
    "concurrency": TOP["concurrency"],
    "services": ("left", "no container is started beside a step", "start it before, and pass its address"),
    "outputs": ("left", "texts are no outputs of a script", "write them to a file, and name it among the outputs"),
    "continue-on-error": ("left", "a failed step fails what waits for it", "end the script with `|| true`"),
    "name": ("taken", "", ""),
}
STEP: dict[str, Advice] = {
    "continue-on-error": JOB["continue-on-error"],
    "timeout-minutes": ("left", "the limit is one of the whole step", "`timeout` of the step, or `timeout 5m …`"),
    "id": ("taken", "", ""),
    "name": ("taken", "", ""),
}
_HANDLED_JOB = {"needs", "if", "steps", "env", "strategy", "container", "timeout-minutes", "environment", "defaults"}
_HANDLED_STEP = {"run", "uses", "with", "env", "if", "shell", "working-directory"}
ACTIONS: dict[str, Advice] = {
    "actions/checkout": ("changed", "the project's folder has the sources already", ""),
    "actions/cache": ("changed", "results are kept by step key; other files between runs are not", ""),
    "actions/setup-python": ("changed", "used where a step has an environment of its own", ""),
    "actions/upload-artifact": ("changed", "the step is refused where it did not leave these files", ""),
    "actions/download-artifact": ("taken", "", ""),
}


@dataclass(slots=True)
class _Body:
    """What the steps of one job came to."""

    lines: list[str] = field(default_factory=list)
    gives: list[tuple[str, list[str]]] = field(default_factory=list)
    """The name of an artifact, and its paths."""
    fetches: list[str] = field(default_factory=list)
    python: str = ""


def take(documents: list[Node], source: str) -> Taken:
    """Every job as a step, and about every keyword what became of it."""
    notes = Notes()
    top = table(documents[0])
    parameters = _triggers(top, notes)
    for name, line in top.lines.items():
        if name not in ("on", "true"):
            notes.advise(line, name, TOP.get(name, ("left", "this keyword is not known", "")))
    steps = _Reader(top, parameters, notes).steps()
    return Taken(source=source, system="github", steps=steps, parameters=parameters, findings=notes.all())


def _triggers(top: Table, notes: Notes) -> tuple[Parameter, ...]:
    """What starts the workflow is left; the inputs of one that is started by hand are parameters."""
    said = top.entries.get("on")
    line = top.lines.get("on", 1)
    named = [one.text for one in texts(said)] or list(table(said).entries)
    for name in named:
        notes.left(
            table(said).lines.get(name, line), f"on.{name}", "what starts a run is said elsewhere",
            "`stellwerk ci init github`; for a time, a trigger",
        )  # fmt: skip
    inputs = table(table(table(said).entries.get("workflow_dispatch")).entries.get("inputs"))
    found = []
    for name, node in inputs.entries.items():
        notes.taken(inputs.lines[name], f"on.workflow_dispatch.inputs.{name}")
        found.append(Parameter(name=re.sub(r"\W", "_", name), default=text(table(node).entries.get("default"))))
    return tuple(found)


class _Reader:
    """Jobs of one workflow on their way to steps."""

    def __init__(self, top: Table, parameters: tuple[Parameter, ...], notes: Notes) -> None:
        self._top, self._notes, self._names = top, notes, Names()
        self._given = {one.name: one.name for one in parameters}
        self._made: dict[str, list[str]] = {}
        self._uploads: dict[str, list[str]] = {}

    def steps(self) -> tuple[Command | Wait, ...]:
        """All steps, in an order in which they can run."""
        jobs = table(self._top.entries.get("jobs"))
        kept: list[tuple[str, Table, list[dict[str, str]]]] = []
        for name, node in jobs.entries.items():
            body = table(node)
            if self._takes_part(name, body, jobs.lines[name]):
                copies = self._copies(name, body)
                labels = [" ".join((name, *copy.values())) for copy in copies]
                self._made[name] = [self._names.new(label) for label in labels]
                kept.append((name, body, copies))
        # Whose files somebody fetches is known when all jobs are read.
        read = {
            step: self._body(name, body, copy)
            for name, body, copies in kept
            for step, copy in zip(self._made[name], copies, strict=True)
        }
        for step, found in read.items():
            for artifact, _ in found.gives:
                self._uploads.setdefault(artifact, []).append(step)
        made: list[Command | Wait] = []
        for name, body, copies in kept:
            made += self._steps_of(name, body, copies, jobs.lines[name], read)
        placed = ordered(made)
        for name, _, _ in kept:
            if not {step.name for step in placed} >= set(self._made[name]):
                self._notes.left(jobs.lines[name], name, "its needs lead in a circle, or to a job that is not there")
        return placed

    def _takes_part(self, name: str, body: Table, line: int) -> bool:
        if "uses" in body.entries:
            self._notes.left(
                body.lines["uses"], f"{name}.uses", "another workflow is not fetched", "copy its jobs into this file"
            )
            return False
        condition = text(body.entries.get("if"))
        if "failure()" in condition or condition in ("false", "${{ false }}"):
            self._notes.left(
                body.lines["if"], f"{name}.if", "no step runs because another failed",
                "handle it where the command ends: its exit code says what happened",
            )  # fmt: skip
            return False
        if not isinstance(body.entries.get("steps"), Items):
            self._notes.left(line, name, "it has no steps")
            return False
        return True

    def _copies(self, name: str, body: Table) -> list[dict[str, str]]:
        strategy = table(body.entries.get("strategy"))
        for key, line in strategy.lines.items():
            if key != "matrix":
                self._notes.changed(line, f"{name}.strategy.{key}", "what fails stops only what waits for it")
        said = strategy.entries.get("matrix")
        if said is None:
            return [{}]
        line = strategy.lines["matrix"]
        if not isinstance(said, Table):
            self._notes.left(line, f"{name}.strategy.matrix", "it is computed while it runs", "`sw.each` over a list")
            return [{}]
        axes = {key: texts(value) for key, value in said.entries.items() if key not in ("include", "exclude")}
        product = itertools.islice(itertools.product(*axes.values()), MAX_COPIES + 1)
        copies = [{key: one.text for key, one in zip(axes, row, strict=True)} for row in product] if axes else []
        excluded = list(_rows(said.entries.get("exclude")))
        copies = [copy for copy in copies if not any(row.items() <= copy.items() for row in excluded)]
        added: list[dict[str, str]] = []
        for row in _rows(said.entries.get("include")):
            fitting = [copy for copy in copies if all(row.get(key, copy[key]) == copy[key] for key in axes)]
            for copy in fitting if axes else ():
                copy.update(row)
            added += [] if fitting and axes else [dict(row)]
        copies += added
        if not 1 <= len(copies) <= MAX_COPIES:
            self._notes.left(line, f"{name}.strategy.matrix", f"{len(copies)} copies (expected 1 to {MAX_COPIES})")
            return [{}]
        self._notes.taken(line, f"{name}.strategy.matrix")
        return copies

    def _steps_of(
        self, name: str, body: Table, copies: list[dict[str, str]], line: int, read: Mapping[str, _Body]
    ) -> Iterator[Command | Wait]:
        notes = self._notes
        self._tell(name, body)
        after = [step for need in texts(body.entries.get("needs")) for step in self._need(name, need)]
        if "environment" in body.entries:
            where = text(body.entries["environment"]) or text(table(body.entries["environment"]).entries.get("name"))
            notes.changed(
                body.lines["environment"], f"{name}.environment", "who may approve is said on GitHub; here it is a case",
                "`stellwerk inbox`",
            )  # fmt: skip
            wait = Wait(
                name=self._names.new(f"approve {name}"), question=f"May {name} go to {where}?", after=tuple(after)
            )
            after = [wait.name]
            yield wait
        for step, copy in zip(self._made[name], copies, strict=True):
            found = read[step]
            takes = [other for artifact in found.fetches for other in self._giving(artifact, name)]
            environment, exports = self._environment(name, body, copy)
            container = body.entries.get("container")
            minutes = text(body.entries.get("timeout-minutes"))
            yield Command(
                name=step,
                script="\n".join((*exports, *found.lines)) or "true",
                environment=environment,
                after=tuple(one for one in dict.fromkeys(after) if one not in takes),
                takes=tuple(dict.fromkeys(takes)),
                gives=tuple(path for _, paths in found.gives for path in paths),
                image=text(container) or text(table(container).entries.get("image")),
                python=found.python,
                timeout=f"{minutes}m" if minutes.isdecimal() else "",
                kind=kind(name),
            )
        notes.taken(line, name)

    def _giving(self, artifact: str, job: str) -> list[str]:
        """The steps whose artifact of this name a job can fetch; of all that came before where it names none."""
        if artifact:
            return self._uploads.get(artifact, [])
        before = {step for other in self._before(job) for step in self._made.get(other, ())}
        return [step for steps in self._uploads.values() for step in steps if step in before]

    def _before(self, job: str) -> set[str]:
        """The jobs that one needs, directly or not."""
        jobs = table(self._top.entries.get("jobs"))
        found: set[str] = set()
        waiting = [job]
        while waiting:
            needs = texts(table(jobs.entries.get(waiting.pop())).entries.get("needs"))
            fresh = {one.text for one in needs} - found
            found |= fresh
            waiting += fresh
        return found

    def _need(self, name: str, need: yaml.Text) -> list[str]:
        if need.text in self._made:
            self._notes.taken(need.line, f"{name}.needs {need.text}")
            return self._made[need.text]
        self._notes.left(need.line, f"{name}.needs {need.text}", "that job is not among the steps")
        return []

    def _tell(self, name: str, body: Table) -> None:
        for key, line in body.lines.items():
            if key in JOB:
                self._notes.advise(line, f"{name}.{key}", JOB[key])
            elif key not in _HANDLED_JOB:
                self._notes.left(line, f"{name}.{key}", "this keyword is not known")
            elif key in ("env", "steps", "timeout-minutes", "defaults"):
                self._notes.taken(line, f"{name}.{key}")
        if "container" in body.entries:
            self._notes.changed(
                body.lines["container"], f"{name}.container", "used by executors that run containers",
                "name it with its digest, so that it cannot change",
            )  # fmt: skip
        condition = text(body.entries.get("if"))
        if condition and not _ALWAYS.fullmatch(condition):
            self._notes.left(
                body.lines["if"], f"{name}.if", "a condition on GitHub's events; the step always runs", "`sw.when`"
            )

    def _environment(self, name: str, body: Table, copy: dict[str, str]) -> tuple[dict[str, str], list[str]]:
        """Variables whose values are known, and lines that set the others."""
        known: dict[str, str] = {}
        lines: list[str] = []
        for source in (table(self._top.entries.get("env")), table(body.entries.get("env"))):
            for key, node in source.entries.items():
                found = self._pieces(text(node), node.line, f"{name}: {key}", copy)
                value = expressions.plain(found)
                if value is None:
                    lines.append(f"export {key}={expressions.quoted(found)}")
                else:
                    known[key] = value
        return known, lines

    def _pieces(self, said: str, line: int, where: str, copy: dict[str, str]) -> list[expressions.Piece]:
        found = expressions.pieces(said, matrix=copy, given=self._given)
        for piece in found:
            if piece.unknown.startswith("secrets."):
                self._notes.left(
                    line, f"{where}: ${{{{ {piece.unknown} }}}}",
                    "no secret is passed to a step: the ledger keeps its plan",
                    "let the command read it from a file or a vault",
                )  # fmt: skip
            elif piece.unknown:
                self._notes.left(
                    line, f"{where}: ${{{{ {piece.unknown} }}}}", "only GitHub knows it; the script stops without it",
                    f"set {piece.variable} by `environ=` of the step, or make it a parameter",
                )  # fmt: skip
        return found

    def _body(self, name: str, job: Table, copy: dict[str, str]) -> _Body:
        result = _Body()
        defaults = table(table(job.entries.get("defaults")).entries.get("run")).entries
        defaults = {**table(table(self._top.entries.get("defaults")).entries.get("run")).entries, **defaults}
        listed = job.entries["steps"]
        for number, node in enumerate(listed.items if isinstance(listed, Items) else (), 1):
            step = table(node)
            where = f"{name}.steps[{number}]"
            for key, line in step.lines.items():
                if key in STEP:
                    self._notes.advise(line, f"{where}.{key}", STEP[key])
                elif key not in _HANDLED_STEP:
                    self._notes.left(line, f"{where}.{key}", "this keyword is not known")
            condition = text(step.entries.get("if"))
            if "failure()" in condition:
                self._notes.left(step.lines["if"], f"{where}.if", "nothing runs after a script that failed")
                continue
            if condition and not _ALWAYS.fullmatch(condition):
                self._notes.left(
                    step.lines["if"],
                    f"{where}.if",
                    "a condition on GitHub's events; it always runs",
                    "`if` in the script",
                )
            if "uses" in step.entries:
                self._uses(where, step, copy, result)
            elif "run" in step.entries:
                self._run(where, step, defaults, copy, result)
        return result

    def _uses(self, where: str, step: Table, copy: dict[str, str], result: _Body) -> None:
        said, line = text(step.entries["uses"]), step.lines["uses"]
        action = said.partition("@")[0]
        given = {key: text(value) for key, value in table(step.entries.get("with")).entries.items()}
        given = {key: expressions.script(self._pieces(value, line, where, copy)) for key, value in given.items()}
        action = "actions/cache" if action.startswith("actions/cache/") else action
        if action not in ACTIONS:
            self._notes.left(
                line, f"{where}.uses {said}", "an action runs on GitHub's runners alone", "the command that it runs"
            )
            return
        self._notes.advise(line, f"{where}.uses {said}", ACTIONS[action])
        if action == "actions/setup-python":
            result.python = given.get("python-version", "")
        elif action == "actions/upload-artifact":
            paths = [path.strip() for path in given.get("path", "").splitlines() if path.strip()]
            result.gives.append((given.get("name", "artifact"), paths))
        elif action == "actions/download-artifact":
            result.fetches.append(given.get("name", ""))
            if given.get("path"):
                self._notes.changed(line, f"{where}.with.path", "files come to where their step left them")

    def _run(self, where: str, step: Table, defaults: dict[str, Node], copy: dict[str, str], result: _Body) -> None:
        shell = (text(step.entries.get("shell")) or text(defaults.get("shell")) or "bash").split()[0]
        if shell not in ("bash", "sh"):
            self._notes.left(
                step.lines.get("shell", step.line), f"{where}.shell", f"{shell} reads it, not a shell",
                "a step of its own: `sw.command(…, [\"python\", \"-c\", …])`",
            )  # fmt: skip
            return
        said = step.entries["run"]
        lines = []
        folder = text(step.entries.get("working-directory")) or text(defaults.get("working-directory"))
        if folder:
            lines.append(f"cd {expressions.quoted(self._pieces(folder, step.line, where, copy))}")
        own = table(step.entries.get("env"))
        for key, node in own.entries.items():
            lines.append(f"export {key}={expressions.quoted(self._pieces(text(node), node.line, where, copy))}")
        script = expressions.script(self._pieces(text(said), said.line, where, copy))
        variables.tell(text(said), said.line, where, "github", set(own.entries), self._notes)
        lines = [*variables.guards(script, variables.unset(text(said), "github", set(own.entries))), *lines]
        lines.append(script.rstrip("\n"))
        result.lines += lines if len(lines) == 1 and _stateless(script) else ["(", *lines, ")"]
        self._notes.taken(said.line, f"{where}.run")


def _stateless(script: str) -> bool:
    """Whether a script is one simple command that changes nothing for those after it."""
    if "\n" in script.strip() or re.search(r"[;&|(){}=$`<>]", script):
        return False
    try:
        words = shlex.split(script)
    except ValueError:
        return False
    return bool(words) and words[0] not in ("cd", "export", "set", "source", ".", "exit", "umask", "unset", "exec")


def _rows(node: Node | None) -> Iterator[dict[str, str]]:
    for row in node.items if isinstance(node, Items) else ():
        yield {key: text(value) for key, value in table(row).entries.items()}
