"""A declarative Jenkinsfile as steps: one for each stage. Stages share a folder there, so each passes its own on."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from stellwerk.core.errors import Invalid
from stellwerk.delivery.ci.taking import expressions, jenkins_asks, jenkins_values, variables
from stellwerk.delivery.ci.taking.groovy import CODE, Call, Value
from stellwerk.delivery.ci.taking.jenkins_words import AROUND, LEFT_POST, OPTIONS, STEPS, TOP
from stellwerk.delivery.ci.taking.model import Command, Names, Parameter, Taken, Wait, kind, ordered
from stellwerk.delivery.ci.taking.notes import Advice, Notes

MAX_COPIES = 200
_KNOWN = ("text", "word", "template")
"""Kinds of values of variables that need no Groovy."""
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
    lost: set[str] = field(default_factory=set)
    """Variables that Jenkins would set to what nobody has here."""
    unset: list[str] = field(default_factory=list)
    """Lines that stop it where variables are not set."""


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
        self._waits: set[str] = set()
        self._behind: set[str] = set()
        """Waits of stages that are left out, for those that follow."""
        self._lost: set[str] = set()

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
            steps=ordered(self._asked_for(self._passing(steps))),
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

    def _asked_for(self, steps: list[Command | Wait]) -> list[Command | Wait]:
        """The steps without questions of stages that are left out, behind which nothing comes."""
        used: set[str] = set()
        found: list[Command | Wait] = []
        for step in reversed(steps):
            if step.name in used or step.name not in self._behind:
                used |= set(step.after)
                found.insert(0, step)
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
            return self._after([*found, *stages[0]], after), tuple(dict.fromkeys((*stages[1], *after)))
        if "steps" not in inner:
            self._notes.left(stage.line, where, "it has no steps")
            return found, (*before, *after)
        written = inner["steps"].block or ()
        asked, steps = jenkins_asks.leading(written)
        for around in written:
            if around.name != "input" and (around.line, around.name) not in {(one.line, one.name) for one in steps}:
                self._notes.changed(around.line, f"{where} › {around.name}", "a case waits until somebody decides it")
        for call in asked:
            found.append(self._input(call, name, (*before, *after)))
            after = (*after, found[-1].name)
        late = jenkins_asks.asking(steps)
        if late is not None:
            self._notes.left(late.line, f"{where} › input", "a person is asked between stages only",
                             "`input` as the first step of a stage of its own")  # fmt: skip
            self._notes.left(stage.line, where, "it asks somebody in its midst, and would run unasked",
                             "a stage for what comes after the question")  # fmt: skip
            said = jenkins_asks.question(late) or f"May what follows {name} go on?"
            found.append(self._wait(name, said, (*before, *after)))
            self._behind.add(found[-1].name)
            return found, (*before, *after, found[-1].name)
        script.lost = self._lost | {one for one, value in shared.items() if value.kind not in _KNOWN}
        self._run(steps, where, script, (set(shared) - script.lost) | set(axes))
        if not script.lines:
            if steps or not asked:
                self._notes.left(stage.line, where, "nothing of its steps could be taken over")
            return found, (*before, *after)
        fixed, exports = self._environment(shared)
        step = Command(
            name=self._names.new(" ".join((name, *axes.values()))),
            script="\n".join((*dict.fromkeys(script.unset), *exports, *script.lines)),
            environment={**fixed, **axes},
            after=(*(one for one in before if one in self._waits), *after),
            takes=tuple(one for one in before if one not in self._waits),
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
                script.timeout = jenkins_values.duration(option)
                self._notes.taken(option.line, where)
            elif option.name == "retry" and script is not None:
                script.retries = jenkins_values.tries(option)
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
                self._lost |= {name.text} if name is not None else set()
                continue
            self._parameters.append(Parameter(name=name.text, default=default.text if default else first))
            if one.name == "choice":
                self._notes.changed(one.line, f"parameters › {name.text}", "any text is taken, not only the choices")
            else:
                self._notes.taken(one.line, f"parameters › {name.text}")

    def _input(self, call: Call, stage: str, before: tuple[str, ...]) -> Wait:
        message = call.inner("message")
        said = message.values[0].text if message and message.values else jenkins_asks.question(call)
        self._notes.changed(call.line, f"stage {stage!r} › input", "somebody decides the case that it becomes",
                            "`stellwerk inbox`")  # fmt: skip
        return self._wait(stage, said or f"May {stage} go on?", before)

    def _wait(self, stage: str, question: str, before: tuple[str, ...]) -> Wait:
        wait = Wait(name=self._names.new(f"approve {stage}"), question=question, after=before)
        self._waits.add(wait.name)
        return wait

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
                found = jenkins_values.pieces(value)
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
                    script.lines.append(f"echo {expressions.quoted(jenkins_values.pieces(said))}")
                    self._notes.taken(step.line, place)
                case "dir":
                    self._around(step, place, script, known, f"cd {jenkins_values.word(step)}")
                case "withEnv":
                    pairs = [item for value in step.values for item in value.items]
                    exports = [f"export {expressions.quoted(jenkins_values.pieces(one))}" for one in pairs]
                    names = {one.text.partition("=")[0] for one in pairs}
                    self._around(step, place, script, known | names, *exports)
                case "withCredentials":
                    self._notes.left(
                        step.line, place, "no secret is passed to a step: the ledger keeps its plan",
                        "let the command read it from a file or a vault",
                    )  # fmt: skip
                    script.lost |= jenkins_asks.secrets(step)
                    self._run(step.block or (), where, script, known - jenkins_asks.secrets(step))
                case "timeout" | "retry" if step.block is not None:
                    if step.name == "timeout":
                        script.timeout = jenkins_values.duration(step)
                    else:
                        script.retries = jenkins_values.tries(step)
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
        inner = _Script(lost=script.lost, unset=script.unset)
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
        text = jenkins_values.shell_text(given)
        known = known | {one.name for one in self._parameters}
        variables.tell(text, step.line, place, "jenkins", known, self._notes)
        lost = (one for one in variables.used(text) if one in script.lost - known)
        script.unset += variables.guards(text, (*variables.unset(text, "jenkins", known), *lost))
        body = "\n".join(line.rstrip() for line in jenkins_values.dedented(text).strip("\n").splitlines())
        simple = "\n" not in body and not re.search(r"\b(cd|export|set|exit|exec|source|umask|unset)\b|=|^\. ", body)
        script.lines += [body] if simple else ["(", body, ")"]
        self._notes.taken(step.line, place)
