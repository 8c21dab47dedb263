"""The stages of an existing `dvc.yaml` as steps of a pipeline: each command in a folder with what it declares.

Unlike DVC, a stage sees only what it declares: a file that it reads without naming it is not there. Of a parameter file
it finds all, but only the parameters that it names count; where it names none, the file counts as a whole. Frozen stages
and unknown keys are refused while planning; a stage that writes a folder as an output fails after its command, for
nothing says before what it will write.
"""

from __future__ import annotations

import inspect
import itertools
import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stellwerk.core.arguments import nearest
from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.data.dvc import yamltext
from stellwerk.data.dvc.model import Stage
from stellwerk.data.dvc.pipelines import pipeline
from stellwerk.pipelines.authoring import file
from stellwerk.pipelines.authoring.building import builtin, needed
from stellwerk.pipelines.model import Ref
from stellwerk.workspace.dvc.naming import named, readable

PARAMS = "params.yaml"
KEYS = (
    "cmd", "wdir", "deps", "params", "outs", "metrics", "plots", "vars", "frozen", "always_changed", "desc", "meta",
    "foreach", "do", "matrix",
)  # fmt: skip
"""What DVC knows of a stage."""
_TEMPLATE = re.compile(r"\$\{\s*([A-Za-z0-9_.\-\[\]]+)\s*\}")
_SHELL = ("sh", "-c", 'eval "$STAGE_COMMAND"')
"""DVC's commands are lines of a shell. The line itself is a variable, so that no brace in it is taken for a place."""


class Taken(dict[str, Ref]):
    """What stages give: their outputs by path, and stages without outputs by name."""

    def __init__(self, where: str, makers: Mapping[str, str]) -> None:
        super().__init__()
        self.where, self.makers = where, makers

    def __missing__(self, name: object) -> Ref:
        known = (path if path == maker else f"{path} of stage {maker}" for path, maker in self.makers.items())
        raise Invalid(
            f"{self.where} gives no {name!r} (it gives {', '.join(known) or 'nothing'}){nearest(str(name), self)}",
            code="unknown-output",
        )


def stages(path: str = "dvc.yaml") -> dict[str, Ref]:
    """The stages of a `dvc.yaml` as steps; what stands for each of their outputs, by path.

    Args:
        path: Relative to the folder of the file that calls this.

    Raises:
        NotFound: `no-such-file`.
        Invalid: With file and stage, for what cannot be taken over.
    """
    needed("stages")
    caller = inspect.stack()[1].filename
    home = Path(caller).parent if Path(caller).is_file() else Path.cwd()
    place = home / path
    if not place.is_file():
        raise NotFound(f"there is no {path!r} beside {Path(caller).name}", code="no-such-file")
    folder = posixpath.dirname(path)
    found = pipeline(place.read_bytes(), path)
    known = _variables(home, folder, found.vars)
    for stage in found.stages:
        _check(stage, path)
    written = [one for stage in found.stages for one in _expanded(stage, known, path)]
    return _Taking(home, folder, path, written).all()


@dataclass(slots=True)
class _Taking:
    """Stages on their way to steps, each after those whose outputs it uses."""

    home: Path
    folder: str
    where: str
    written: list[Stage]

    def all(self) -> dict[str, Ref]:
        makers = {self._path(stage, one.path): stage for stage in self.written for one in stage.outputs}
        named = {path: maker.name for path, maker in makers.items()}
        made = Taken(self.where, named | {one.name: one.name for one in self.written if not one.outputs})
        done: set[str] = set()

        def take(stage: Stage, waiting: tuple[str, ...]) -> None:
            if stage.name in done:
                return
            if stage.name in waiting:
                raise Invalid(f"{self.where}: stage {stage.name!r} waits for itself", code="cyclic-plan")
            for needs in (*stage.dependencies, *_params(stage, self._says(stage))):
                for path in _within(self._path(stage, needs), makers):
                    take(makers[path], (*waiting, stage.name))
            done.add(stage.name)
            made.update(self._step(stage, made))

        for stage in self.written:
            take(stage, ())
        return made

    def _path(self, stage: Stage, path: str) -> str:
        """A path of a stage as seen from the project."""
        whole = posixpath.normpath(posixpath.join(self.folder, stage.wdir or "", path))
        if whole.startswith(("..", "/")):
            raise Invalid(
                f"{self.where}: stage {stage.name!r} names {path!r}, outside of the project", code="invalid-path"
            )
        return whole

    def _step(self, stage: Stage, made: Mapping[str, Ref]) -> dict[str, Ref]:
        inputs: dict[str, Ref] = {}
        places: dict[str, str] = {}
        paths: list[str] = []
        counted, read = self._counted(stage, made)
        for whole in counted:
            written = _within(whole, made)
            for one in written:
                name = f"input_{len(places)}"
                inputs[name], places[name] = made[one], one
            if not written or (self.home / whole).is_dir():
                paths += (one for one in self._files(stage, whole) if one not in made)
        for number, name in enumerate(dict.fromkeys(paths)):
            inputs[f"files[{number}]"] = file(name)
        params: dict[str, str] = {}
        aside: dict[str, str] = {}
        for whole, keys in read.items():
            name = f"input_{len(places)}"
            inputs[name], places[name] = file(whole), whole
            data = (self.home / whole).read_bytes()
            aside[name] = of_bytes(data)
            params |= {f"{whole}:{key}": value for key, value in named(data, whole, keys, self._says(stage)).items()}
        outputs = {f"output_{n}": self._path(stage, one.path) for n, one in enumerate(stage.outputs)}
        work = posixpath.normpath(posixpath.join(self.folder, stage.wdir or ""))
        line = "\n".join(["set -e", f"mkdir -p {shlex.quote(work)}", f"cd {shlex.quote(work)}", *stage.cmd])
        body = {
            "argv": list(_SHELL),
            "params": params,
            "outputs": outputs,
            "environ": {"STAGE_COMMAND": line},
            "paths": list(dict.fromkeys(paths)),
            "places": places,
        }
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", stage.name)
        refs = builtin(
            "command",
            name,
            "stage",
            body,
            inputs,
            tuple(outputs) or ("value",),
            cache=not stage.always_changed,
            aside=aside,
        )
        return {path: refs[name] for name, path in outputs.items()} if outputs else {stage.name: refs}

    def _counted(self, stage: Stage, made: Mapping[str, Ref]) -> tuple[list[str], dict[str, list[str]]]:
        """What a stage needs that counts as a whole, and the parameter files of which only named parameters count."""
        counted = [self._path(stage, one) for one in stage.dependencies]
        read: dict[str, list[str]] = {}
        for path, keys in _params(stage, self._says(stage)).items():
            whole = self._path(stage, path)
            apart = keys and readable(whole) and whole not in counted and not _within(whole, made)
            if apart and (self.home / whole).is_file():
                read[whole] = keys
            else:
                counted.append(whole)
        return counted, read

    def _says(self, stage: Stage) -> str:
        return f"{self.where}: stage {stage.name!r}"

    def _files(self, stage: Stage, path: str) -> Iterator[str]:
        """A file of the project, or everything in a folder."""
        place = self.home / path
        if place.is_dir():
            inside = sorted(one for one in place.rglob("*") if one.is_file() and "__pycache__" not in one.parts)
            yield from (one.relative_to(self.home).as_posix() for one in inside)
        elif place.is_file():
            yield path
        else:
            raise NotFound(
                f"{self.where}: stage {stage.name!r} depends on {path!r}, which is not there and no stage's output",
                code="no-such-file",
                hint="`stellwerk data dvc import` takes over what DVC keeps; or check it out first",
            )


def _within(path: str, among: Iterable[str]) -> list[str]:
    """The path itself, or what lies below it."""
    return [one for one in among if one == path or one.startswith(f"{path}/")]


def _check(stage: Stage, where: str) -> None:
    """Refuse what would be left out of account: keys that DVC does not know, and that a stage is not to run."""
    for key, _ in stage.further:
        expected = "a loop has `foreach` and `do`, and all other keys inside `do`" if key in KEYS else ", ".join(KEYS)
        near = "" if key in KEYS else nearest(key, KEYS)
        raise Invalid(
            f"{where}: stage {stage.name!r} cannot have the key {key!r} (expected: {expected}){near}",
            code="invalid-dvc-file",
        )
    if stage.frozen:
        raise Invalid(
            f"{where}: stage {stage.name!r} is frozen (expected only stages that may be executed)",
            code="frozen-stage",
            hint="take `frozen` out; or take the stage out, and its outputs count as files of the project",
        )


def _params(stage: Stage, where: str) -> dict[str, list[str]]:
    """The parameter files of a stage with the parameters that it names; none where a file counts as a whole."""
    found: dict[str, list[str]] = {}
    wholes: set[str] = set()
    for one in stage.params:
        for path, keys in one.items() if isinstance(one, Mapping) else [(PARAMS, [one])]:
            if not isinstance(keys or [], list) or not all(isinstance(key, str) for key in keys or []):
                raise Invalid(
                    f"{where} has {keys!r} as parameters of {path!r} (expected a list of names)",
                    code="invalid-dvc-file",
                )
            found.setdefault(path, []).extend(keys or [])
            wholes |= set() if keys else {path}
    return {path: [] if path in wholes else list(dict.fromkeys(keys)) for path, keys in found.items()}


def _variables(home: Path, folder: str, listed: tuple[Any, ...]) -> dict[str, Any]:
    """What templates may name: `params.yaml`, and `vars`."""
    known: dict[str, Any] = {}
    files = [PARAMS, *(one for one in listed if isinstance(one, str))]
    for name in files:
        place = home / folder / name.partition(":")[0]
        if place.is_file():
            known |= dict(yamltext.read(place.read_bytes(), name) or {})
    for one in listed:
        known |= dict(one) if isinstance(one, Mapping) else {}
    return known


def _expanded(stage: Stage, known: Mapping[str, Any], where: str) -> Iterator[Stage]:
    """A stage, or one for each item of its `foreach` or `matrix`."""
    known = {**known, **{key: value for one in stage.vars if isinstance(one, Mapping) for key, value in one.items()}}
    rounds = _rounds(stage, known, where)
    for suffix, more in rounds:
        scope = {**known, **more}

        def say(text: str, scope: Mapping[str, Any] = scope) -> str:
            return _filled(text, scope, stage, where)

        yield replace(
            stage,
            name=stage.name + suffix,
            cmd=tuple(say(one) for one in stage.cmd),
            wdir=say(stage.wdir) if stage.wdir else stage.wdir,
            dependencies=tuple(say(one) for one in stage.dependencies),
            outputs=tuple(replace(one, path=say(one.path)) for one in stage.outputs),
            params=tuple(
                say(one) if isinstance(one, str) else {say(k): v for k, v in one.items()} for one in stage.params
            ),
        )


def _rounds(stage: Stage, known: Mapping[str, Any], where: str) -> list[tuple[str, dict[str, Any]]]:
    if stage.foreach is not None:
        items = stage.foreach
        if isinstance(items, str):
            items = _named(items.strip()[2:-1].strip(), known, stage, where)
        if isinstance(items, Mapping):
            return [(f"@{key}", {"item": value, "key": key}) for key, value in items.items()]
        if not isinstance(items, list):
            raise Invalid(f"{where}: `foreach` of stage {stage.name!r} is no list", code="invalid-plan")
        plain = all(not isinstance(item, (list, Mapping)) for item in items)
        return [(f"@{item if plain else number}", {"item": item}) for number, item in enumerate(items)]
    if stage.matrix is not None:
        axes = {
            name: _named(some.strip()[2:-1].strip(), known, stage, where) if isinstance(some, str) else some
            for name, some in dict(stage.matrix).items()
        }
        return [
            ("@" + "-".join(map(str, chosen)), {"item": dict(zip(axes, chosen, strict=True))})
            for chosen in itertools.product(*axes.values())
        ]
    return [("", {})]


def _filled(text: str, scope: Mapping[str, Any], stage: Stage, where: str) -> str:
    def value(found: re.Match[str]) -> str:
        one = _named(found[1], scope, stage, where)
        if isinstance(one, (list, Mapping)):
            raise Invalid(
                f"{where}: stage {stage.name!r} puts {found[0]} into text, which is no single value",
                code="invalid-plan",
            )
        return str(one).lower() if isinstance(one, bool) else str(one)

    return _TEMPLATE.sub(value, text)


def _named(name: str, scope: Mapping[str, Any], stage: Stage, where: str) -> Any:
    value: Any = scope
    for part in name.replace("[", ".").replace("]", "").split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise Invalid(
                f"{where}: stage {stage.name!r} uses ${{{name}}}, which is neither in {PARAMS} nor in `vars`",
                code="unknown-value",
            )
    return value
