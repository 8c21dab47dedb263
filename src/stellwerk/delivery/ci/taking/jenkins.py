"""A declarative Jenkinsfile as steps: one for each stage. Stages share a folder there, so each passes its own on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from stellwerk.core.errors import Invalid
from stellwerk.delivery.ci.taking import expressions, variables
from stellwerk.delivery.ci.taking.groovy import CODE, Call, Value
from stellwerk.delivery.ci.taking.jenkins_words import AROUND, LEFT_POST, OPTIONS, STEPS, TOP
from stellwerk.delivery.ci.taking.model import Command, Names, Parameter, Taken, Wait, kind, ordered
from stellwerk.delivery.ci.taking.notes import Advice, Notes

MAX_COPIES = 200
WHOLE = "."
"""The folder that stages of Jenkins share."""


@dataclass(slots=True)
class _Script:
    """What the steps of one stage came to."""

    lines: list[str] = field(default_factory=list)
    retries: int = 0
    timeout: str = ""
    kept: bool = False
    """Whether its files are of use even where no stage follows."""


def take(statements: tuple[Call, ...], source: str) -> Taken:
    """Every stage as a step, and about every construct what became of it."""
    notes = Notes()
    pipeline = next((one for one in statements if one.name == "pipeline" and one.block is not None), None)
    if pipeline is None:
        raise Invalid(
            f"{source} holds no `pipeline {{ … }}`", code="invalid-ci-file",
            hint="only declarative pipelines are read; a scripted one is a program",
        )  # fmt: skip
    for other in statements:
        if other is not pipeline:
            said = other.raw.splitlines()[0][:60] if other.raw else other.name
            notes.left(other.line, said, "code outside of `pipeline` is not run", "what it does, in Python")
    return _Reader(pipeline, notes).taken(source)


class _Reader:
    """Stages on their way to steps."""

    def __init__(self, pipeline: Call, notes: Notes) -> None:
        self._pipeline, self._notes, self._names = pipeline, notes, Names()
        self._parameters: list[Parameter] = []
        self._kept: set[str] = set()
        self._places: dict[str, tuple[int, str]] = {}
        """Line and name of the stage that each step was."""

    def taken(self, source: str) -> Taken:
        """Everything that the file came to."""
        shared: dict[str, Value] = {}
        image = ""
        for part in self._pipeline.block or ():
            match part.name:
                case "agent":
                    image = self._agent(part)
                case "environment":
                    shared = self._variables(part)
                case "parameters":
                    self._ask(part)
                case "stages":
                    self._notes.taken(part.line, "stages")
                case "options":
                    self._options(part)
                case "post":
                    self._post(part, "pipeline")
                case _:
                    advice = TOP.get(part.name, ("left", "this section is not known", ""))
                    self._notes.advise(part.line, part.name, advice)
        steps, _ = self._stages(self._pipeline.inner("stages"), (), shared, image, {})
        return Taken(
            source=source,
            system="jenkins",
            steps=ordered(self._passing(steps)),
            findings=self._notes.all(),
            parameters=tuple(self._parameters),
        )

    def _passing(self, steps: list[Command | Wait]) -> list[Command | Wait]:
        """The steps, of which only those pass on their folder whose files are of use to somebody."""
        used = {name for step in steps if isinstance(step, Command) for name in step.takes} | self._kept
        found: list[Command | Wait] = []
        for step in steps:
            if isinstance(step, Command) and step.name not in used:
                self._notes.taken(*self._places[step.name])
                found.append(replace(step, gives=()))
                continue
            if isinstance(step, Command):
                self._notes.changed(
                    *self._places[step.name],
                    "the folder that stages share is passed on as an archive",
                    "name the files that the next step needs, and no others",
                )
            found.append(step)
        return found

    def _stages(
        self,
        block: Call | None,
        before: tuple[str, ...],
        shared: Mapping[str, Value],
        image: str,
        axes: dict[str, str],
    ) -> tuple[list[Command | Wait], tuple[str, ...]]:
        """The steps of stages one after another, and the names of those that the next one waits for."""
        found: list[Command | Wait] = []
        for stage in (block.block or ()) if block is not None else ():
            if stage.name != "stage":
                self._notes.left(stage.line, stage.name, "it is no stage")
                continue
            steps, before = self._stage(stage, before, shared, image, axes)
            found += steps
        return found, before

    def _stage(
        self, stage: Call, before: tuple[str, ...], shared: Mapping[str, Value], image: str, axes: dict[str, str]
    ) -> tuple[list[Command | Wait], tuple[str, ...]]:
        name = stage.values[0].text if stage.values else "stage"
        where = f"stage {name!r}"
        inner = {part.name: part for part in stage.block or ()}
        found: list[Command | Wait] = []
        if "environment" in inner:
            shared = {**shared, **self._variables(inner["environment"])}
        if "agent" in inner:
            image = self._agent(inner["agent"]) or image
        script = _Script()
        self._tell(stage, where, script)
        after: tuple[str, ...] = ()
        if "input" in inner:
            wait = self._input(inner["input"], name, before)
            found.append(wait)
            after = (wait.name,)
        stages = self._within(inner, where, before, shared, image, axes)
        if stages is not None:
            return self._after([*found, *stages[0]], after), stages[1]
        if "steps" not in inner:
            self._notes.left(stage.line, where, "it has no steps")
            return found, before
        self._run(inner["steps"].block or (), where, script, set(shared) | set(axes))
        if not script.lines:
            self._notes.left(stage.line, where, "nothing of its steps could be taken over")
            return found, before
        fixed, exports = self._environment(shared)
        step = Command(
            name=self._names.new(" ".join((name, *axes.values()))),
            script="\n".join((*exports, *script.lines)),
            environment={**fixed, **axes},
            after=after,
            takes=before,
            gives=(WHOLE,),
            image=image,
            retries=script.retries,
            timeout=script.timeout,
            kind=kind(name),
        )
        if script.kept:
            self._kept.add(step.name)
        self._places[step.name] = (stage.line, where)
        return [*found, step], (step.name,)

    def _within(
        self,
        inner: Mapping[str, Call],
        where: str,
        before: tuple[str, ...],
        shared: Mapping[str, Value],
        image: str,
        axes: dict[str, str],
    ) -> tuple[list[Command | Wait], tuple[str, ...]] | None:
        """The steps of the stages within a stage, at once or one after another; None where it has none."""
        if "parallel" in inner:
            self._notes.taken(inner["parallel"].line, f"{where} › parallel")
            found: list[Command | Wait] = []
            ends: list[str] = []
            for branch in inner["parallel"].block or ():
                steps, last = self._stage(branch, before, shared, image, axes)
                found += steps
                ends += last
            return found, tuple(dict.fromkeys(ends)) or before
        if "stages" in inner:
            return self._stages(inner["stages"], before, shared, image, axes)
        if "matrix" in inner:
            return self._matrix(inner["matrix"], where, before, shared, image)
        return None

    @staticmethod
    def _after(steps: list[Command | Wait], names: tuple[str, ...]) -> list[Command | Wait]:
        """Steps that wait for a person, too."""
        return [
            replace(step, after=(*step.after, *names)) if names and step.name not in names else step for step in steps
        ]

    def _matrix(
        self, matrix: Call, where: str, before: tuple[str, ...], shared: Mapping[str, Value], image: str
    ) -> tuple[list[Command | Wait], tuple[str, ...]]:
        axes: dict[str, list[str]] = {}
        for axis in (matrix.inner("axes") or matrix).block or ():
            name, values = axis.inner("name"), axis.inner("values")
            if axis.name == "axis" and name and values and name.values:
                axes[name.values[0].text] = [value.text for value in values.values]
        copies = [
            dict(zip(axes, row, strict=True))
            for row in itertools.islice(itertools.product(*axes.values()), MAX_COPIES + 1)
        ]
        if matrix.inner("excludes"):
            self._notes.left(matrix.line, f"{where} › matrix › excludes", "all combinations run")
        if not axes or len(copies) > MAX_COPIES:
            self._notes.left(matrix.line, f"{where} › matrix", f"no axes, or more than {MAX_COPIES} combinations")
            return [], before
        self._notes.taken(matrix.line, f"{where} › matrix")
        found: list[Command | Wait] = []
        ends: list[str] = []
        for copy in copies:
            steps, last = self._stages(matrix.inner("stages"), before, shared, image, copy)
            found += steps
            ends += last
        return found, tuple(dict.fromkeys(ends)) or before

    def _tell(self, stage: Call, where: str, script: _Script) -> None:
        for part in stage.block or ():
            match part.name:
                case "when":
                    conditions = ", ".join(one.name for one in part.block or () if not one.name.startswith("before"))
                    self._notes.left(
                        part.line, f"{where} › when {conditions}", "a condition on the build; the step always runs",
                        "`sw.when` on a step, or leave this stage to Jenkins",
                    )  # fmt: skip
                case "post":
                    self._post(part, where)
                case "options":
                    self._options(part, script)
                case "tools":
                    self._notes.advise(part.line, f"{where} › tools", TOP["tools"])
                case "failFast":
                    self._notes.changed(part.line, f"{where} › failFast", "what fails stops only what waits for it")
                case "agent" | "environment" | "input" | "parallel" | "stages" | "matrix" | "steps":
                    pass
                case _:
                    self._notes.left(part.line, f"{where} › {part.name}", "this section is not known")

    def _post(self, post: Call, where: str) -> None:
        for condition in post.block or ():
            for step in condition.block or ():
                advice: Advice = STEPS.get(step.name, ("left", *LEFT_POST[1:]))
                if step.name in ("sh", CODE):
                    advice = ("left", *LEFT_POST[1:])
                self._notes.advise(step.line, f"{where} › post › {condition.name} › {step.name}", advice)

    def _options(self, options: Call, script: _Script | None = None) -> None:
        for option in options.block or ():
            where = f"options › {option.name}"
            if option.name == "timeout" and script is None:
                self._notes.left(option.line, where, "the limit is one of each step", "`timeout` of the steps")
            elif option.name == "timeout" and script is not None:
                script.timeout = _duration(option)
                self._notes.taken(option.line, where)
            elif option.name == "retry" and script is not None:
                script.retries = _tries(option)
                self._notes.taken(option.line, where)
            else:
                self._notes.advise(
                    option.line, where, OPTIONS.get(option.name, ("left", "this option is Jenkins' own", ""))
                )

    def _agent(self, agent: Call) -> str:
        for inner in agent.block or ():
            if inner.name == "docker":
                given = inner.inner("image")
                image = (
                    given.values[0].text if given and given.values else inner.values[0].text if inner.values else ""
                )
                self._notes.changed(
                    inner.line, "agent › docker", "used by executors that run containers",
                    "name the image with its digest, so that it cannot change",
                )  # fmt: skip
                return image
            self._notes.left(
                inner.line, f"agent › {inner.name}", "which machine runs a step is the executor's choice",
                "`resources` of a step, or `run --on`",
            )  # fmt: skip
        if not agent.block:
            self._notes.taken(agent.line, "agent")
        return ""

    def _ask(self, parameters: Call) -> None:
        for one in parameters.block or ():
            name, default = one.named.get("name"), one.named.get("defaultValue")
            choices = one.named.get("choices")
            first = choices.items[0].text if choices is not None and choices.items else ""
            if name is None or one.name not in ("string", "text", "booleanParam", "choice"):
                self._notes.left(one.line, f"parameters › {one.name}", "no parameter of this kind is known")
                continue
            self._parameters.append(Parameter(name=name.text, default=default.text if default else first))
            if one.name == "choice":
                self._notes.changed(one.line, f"parameters › {name.text}", "any text is taken, not only the choices")
            else:
                self._notes.taken(one.line, f"parameters › {name.text}")

    def _input(self, call: Call, stage: str, before: tuple[str, ...]) -> Wait:
        message = call.inner("message")
        question = message.values[0].text if message and message.values else f"May {stage} go on?"
        self._notes.changed(call.line, f"stage {stage!r} › input", "somebody decides the case that it becomes",
                            "`stellwerk inbox`")  # fmt: skip
        return Wait(name=self._names.new(f"approve {stage}"), question=question, after=before)

    def _variables(self, block: Call) -> dict[str, Value]:
        found = {}
        for one in block.block or ():
            if one.assigned and one.values:
                value = one.values[0]
                if value.call is not None and value.call.name == "credentials":
                    self._notes.left(
                        one.line, f"environment › {one.name}", "no secret is passed to a step: the ledger keeps its plan",
                        "let the command read it from a file or a vault",
                    )  # fmt: skip
                elif value.kind == "code":
                    self._notes.left(
                        one.line, f"environment › {one.name}", "code of Groovy is not run", "a parameter"
                    )
                else:
                    self._notes.taken(one.line, f"environment › {one.name}")
                found[one.name] = value
            else:
                self._notes.left(one.line, "environment", "it is no assignment")
        return found

    def _environment(self, shared: Mapping[str, Value]) -> tuple[dict[str, str], list[str]]:
        """Variables whose values are known, and lines that set the others."""
        fixed: dict[str, str] = {}
        lines: list[str] = []
        for name, value in shared.items():
            if value.kind in ("text", "word"):
                fixed[name] = value.text
            elif value.kind == "template":
                found = _pieces(value)
                lines.append(f"export {name}={expressions.quoted(found)}")
                said = " ".join(f"${piece.variable}" for piece in found if piece.variable)
                variables.tell(said, value.line, f"environment › {name}", "jenkins", set(shared), self._notes)
        return fixed, lines

    def _run(self, steps: tuple[Call, ...], where: str, script: _Script, known: set[str]) -> None:
        for step in steps:
            place = f"{where} › {step.name}"
            match step.name:
                case "sh":
                    self._shell(step, place, script, known)
                case "echo" | "print":
                    said = step.values[0] if step.values else Value(text="", kind="text", line=step.line)
                    script.lines.append(f"echo {expressions.quoted(_pieces(said))}")
                    self._notes.taken(step.line, place)
                case "dir":
                    self._around(step, place, script, known, f"cd {_word(step)}")
                case "withEnv":
                    pairs = [item for value in step.values for item in value.items]
                    exports = [f"export {expressions.quoted(_pieces(one))}" for one in pairs]
                    self._around(step, place, script, known, *exports)
                case "withCredentials":
                    self._notes.left(
                        step.line, place, "no secret is passed to a step: the ledger keeps its plan",
                        "let the command read it from a file or a vault",
                    )  # fmt: skip
                    self._run(step.block or (), where, script, known)
                case "timeout" | "retry" if step.block is not None:
                    if step.name == "timeout":
                        script.timeout = _duration(step)
                    else:
                        script.retries = _tries(step)
                    self._notes.changed(step.line, place, "it holds for the whole step")
                    self._run(step.block, where, script, known)
                case name if name in AROUND and step.block is not None:
                    self._notes.left(step.line, place, "only the steps inside are taken over")
                    self._run(step.block, where, script, known)
                case _:
                    self._notes.advise(
                        step.line,
                        place,
                        STEPS.get(step.name, ("left", "a step of Jenkins' own", "the command behind it")),
                    )

    def _around(self, step: Call, place: str, script: _Script, known: set[str], *first: str) -> None:
        inner = _Script()
        self._run(step.block or (), place, inner, known)
        script.lines += ["(", *first, *inner.lines, ")"]
        script.retries, script.timeout = inner.retries or script.retries, inner.timeout or script.timeout
        self._notes.taken(step.line, place)

    def _shell(self, step: Call, place: str, script: _Script, known: set[str]) -> None:
        given = step.named.get("script") or (step.values[0] if step.values else None)
        if given is None or given.kind not in ("text", "template"):
            self._notes.left(step.line, place, "what it runs is computed by Groovy", "write the command itself")
            return
        for option in step.named:
            if option not in ("script", "label"):
                self._notes.left(step.line, f"{place} › {option}", "what a command gives back is not used by others")
        text = _shell_text(given)
        variables.tell(text, step.line, place, "jenkins", known | {one.name for one in self._parameters}, self._notes)
        body = "\n".join(line.rstrip() for line in _dedented(text).strip("\n").splitlines())
        simple = "\n" not in body and not re.search(r"\b(cd|export|set|exit|exec|source|umask|unset)\b|=|^\. ", body)
        script.lines += [body] if simple else ["(", body, ")"]
        self._notes.taken(step.line, place)


def _pieces(value: Value) -> list[expressions.Piece]:
    """A text of Groovy as pieces: `${env.X}`, `$X` and `${params.X}` are variables of the shell."""
    if value.kind != "template":
        return [expressions.Piece(text=value.text)]
    return list(_split(value.text))


_PLACE = re.compile(r"\\\$|\$\{\s*([^}]*?)\s*\}|\$([A-Za-z_][A-Za-z0-9_.]*)")
_VARIABLE = re.compile(r"(?:env\.|params\.)?([A-Za-z_][A-Za-z0-9_]*)")


def _split(text: str) -> Iterator[expressions.Piece]:
    at = 0
    for match in _PLACE.finditer(text):
        if match.start() > at:
            yield expressions.Piece(text=text[at : match.start()])
        said = match[1] or match[2]
        if said is None:
            yield expressions.Piece(text="$")
        else:
            found = _VARIABLE.fullmatch(said)
            name = found[1] if found else "GROOVY_" + re.sub(r"[^A-Za-z0-9]+", "_", said).strip("_").upper()[:40]
            yield expressions.Piece(variable=name)
        at = match.end()
    if at < len(text):
        yield expressions.Piece(text=text[at:])


def _shell_text(value: Value) -> str:
    """What Groovy would give the shell, with variables of the shell in place of Groovy's own."""
    if value.kind != "template":
        return value.text
    return "".join(f"${{{one.variable}}}" if one.variable else one.text for one in _split(value.text))


def _dedented(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return "\n".join(line[margin:] for line in text.splitlines())


def _word(step: Call) -> str:
    return expressions.quoted(_pieces(step.values[0])) if step.values else "."


def _duration(call: Call) -> str:
    time, unit = call.named.get("time") or (call.values[0] if call.values else None), call.named.get("unit")
    factor = {"SECONDS": 1, "MINUTES": 60, "HOURS": 3600, "DAYS": 86400}.get(unit.text if unit else "MINUTES")
    if time is None or not time.text.isdecimal() or factor is None:
        return ""
    return f"{int(time.text) * factor}s"


def _tries(call: Call) -> int:
    """How often it is tried again: Jenkins counts the first time, too."""
    count = call.values[0].text if call.values else ""
    return max(0, min(100, int(count) - 1)) if count.isdecimal() and len(count) < 5 else 0
