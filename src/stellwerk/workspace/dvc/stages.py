"""The stages of an existing `dvc.yaml` as steps of a pipeline: each command in a folder with what it declares.

Unlike DVC, a stage sees only what it declares: a file that it reads without naming it is not there. Parameter files count
as a whole. Stages whose outputs are folders are refused; the others keep their commands as they are.
"""

from __future__ import annotations

import inspect
import itertools
import posixpath
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.data.dvc import yamltext
from stellwerk.data.dvc.model import Stage
from stellwerk.data.dvc.pipelines import pipeline
from stellwerk.pipelines.authoring import file
from stellwerk.pipelines.authoring.building import builtin, needed
from stellwerk.pipelines.model import Ref

PARAMS = "params.yaml"
_TEMPLATE = re.compile(r"\$\{\s*([A-Za-z0-9_.\-\[\]]+)\s*\}")
_SHELL = ("sh", "-c", 'eval "$STAGE_COMMAND"')
"""DVC's commands are lines of a shell. The line itself is a variable, so that no brace in it is taken for a place."""


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
        made: dict[str, Ref] = {}
        done: set[str] = set()

        def take(stage: Stage, waiting: tuple[str, ...]) -> None:
            if stage.name in done:
                return
            if stage.name in waiting:
                raise Invalid(f"{self.where}: stage {stage.name!r} waits for itself", code="cyclic-plan")
            for needs in stage.dependencies:
                maker = makers.get(self._path(stage, needs))
                if maker is not None:
                    take(maker, (*waiting, stage.name))
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
        for needs in (*stage.dependencies, *_params(stage)):
            whole = self._path(stage, needs)
            if whole in made:
                name = f"input_{len(places)}"
                inputs[name], places[name] = made[whole], whole
            else:
                paths += self._files(stage, whole)
        for number, name in enumerate(dict.fromkeys(paths)):
            inputs[f"files[{number}]"] = file(name)
        outputs = {f"output_{n}": self._path(stage, one.path) for n, one in enumerate(stage.outputs)}
        work = posixpath.normpath(posixpath.join(self.folder, stage.wdir or ""))
        line = "\n".join(["set -e", f"mkdir -p {shlex.quote(work)}", f"cd {shlex.quote(work)}", *stage.cmd])
        body = {
            "argv": list(_SHELL),
            "params": {},
            "outputs": outputs,
            "environ": {"STAGE_COMMAND": line},
            "paths": list(dict.fromkeys(paths)),
            "places": places,
        }
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", stage.name)
        refs = builtin(
            "command", name, "stage", body, inputs, tuple(outputs) or ("value",), cache=not stage.always_changed
        )
        return {path: refs[name] for name, path in outputs.items()} if outputs else {stage.name: refs}

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
                hint="`stellwerk dvc import` takes over what DVC keeps; or check it out first",
            )


def _params(stage: Stage) -> list[str]:
    """The parameter files of a stage."""
    found: list[str] = []
    for one in stage.params:
        found += list(one) if isinstance(one, Mapping) else [PARAMS]
    return list(dict.fromkeys(found))


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
