"""The pipeline file of what was taken over: plain Python for people to go on with."""

from __future__ import annotations

import keyword
import re
import shlex

from stellwerk.core.names import slug
from stellwerk.delivery.ci.taking.model import Command, Taken, Wait

MAX_LINE = 110
_SAFE = re.compile(r"[A-Za-z0-9_./*?@+=,:${}-]+")
"""What a shell may read as patterns and variables, as the CI system does."""
_ARCHIVE = "files.tar"
_LEFT = "left"
"""What the output is called that holds the files that a step left for others."""
_PACK = f"tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --exclude=./{_ARCHIVE} -cf {_ARCHIVE} --"
"""The same files always make the same archive."""

_HEAD = '''\
"""The steps of `{source}`, taken over by `stellwerk ci import`; yours to edit.

Each script runs in a folder of its own with the files of the project, as a CI job does. The fewer files a step names,
the less often it runs again. What steps pass on are archives of the paths that the CI file named.
"""

from pathlib import Path

import stellwerk as sw

SHELL = ("bash", "-eo", "pipefail", "-c", 'eval "$SCRIPT"', "step")
IGNORED = {{"__pycache__", "node_modules", "build", "dist"}}


def sources() -> list[str]:
    """Every file of the project, besides hidden ones and this one."""
    this = Path(__file__)
    files = (path for path in this.parent.rglob("*") if path.is_file() and not path.is_symlink() and path != this)
    paths = [path.relative_to(this.parent) for path in files]
    return sorted(
        path.as_posix() for path in paths if not any(part[0] == "." or part in IGNORED for part in path.parts)
    )
'''


def render(taken: Taken, *, name: str) -> str:
    """The file as text; it is Python that only needs Stellwerk."""
    names = _identifiers(taken)
    constants = _constants(taken, names)
    scripts = "\n".join(f"\n{constant} = {_long(script)}" for script, constant in constants.items())
    parameters = ", ".join(f"{one.name}: str = {_quoted(one.default)}" for one in taken.parameters)
    body = [*(["files = sources()"] if scripts else [])]
    for step in taken.steps:
        body += _step(step, taken, names, constants)
    # What nothing else uses is what the pipeline is for.
    used = {
        need for step in taken.steps for need in (*step.after, *(step.takes if isinstance(step, Command) else ()))
    }
    last = [step for step in taken.steps if step.name not in used]
    body.append("return {" + ", ".join(f"{_quoted(step.name)}: {_value(step, names)}" for step in last) + "}")
    inner = "\n".join(f"    {line}" if line else "" for line in body)
    pipeline = slug(name)
    head = _HEAD.format(source=taken.source)
    return f"{head}\n{scripts}\n\n\n@sw.pipeline(name={_quoted(pipeline)})\ndef imported({parameters}):\n{inner}\n"


_RESERVED = {"files", "sources", "sw", "Path", "argv", "params", "outputs", "environ", "paths"}
"""What means something else in the file, or among the inputs of a command."""


def _identifiers(taken: Taken) -> dict[str, str]:
    """What each step is called in Python."""
    found: dict[str, str] = {}
    for step in taken.steps:
        plain = re.sub(r"\W", "_", step.name)
        plain = f"step_{plain}" if plain[0].isdigit() or keyword.iskeyword(plain) else plain
        reserved = {*_RESERVED, *(one.name for one in taken.parameters), *found.values()}
        while plain in reserved or plain.upper() in ("SHELL", "IGNORED"):
            plain += "_"
        found[step.name] = plain
    return found


def _constants(taken: Taken, names: dict[str, str]) -> dict[str, str]:
    """What each script is called; copies of a job share theirs."""
    found: dict[str, str] = {}
    for step in taken.steps:
        if isinstance(step, Command):
            found.setdefault(_script(step), names[step.name].upper())
    return found


def _step(step: Command | Wait, taken: Taken, names: dict[str, str], constants: dict[str, str]) -> list[str]:
    by_name = {one.name: one for one in taken.steps}
    if isinstance(step, Wait):
        about = ", ".join(_value(by_name[need], names) for need in step.after)
        given = f", about=[{about}]" if about else ""
        return [f"{names[step.name]} = sw.wait_for_person({_quoted(step.question)}{given})"]
    arguments = [_quoted(step.name), "*SHELL"]
    arguments += [_quoted("{" + names[need] + "}") for need in step.takes]
    arguments.append("files=files")
    if step.takes:
        arguments.append(
            _table("inputs", [f"{_quoted(names[one])}: {_value(by_name[one], names)}" for one in step.takes])
        )
    arguments.append(_table("environ", _environ(step, taken, constants)))
    arguments += [f'outputs={{"{_LEFT}": "{_ARCHIVE}"}}'] if step.gives else []
    arguments += [f"kind={_quoted(step.kind)}"] if step.kind != "step" else []
    arguments += [f"retries={step.retries}"] if step.retries else []
    arguments += [f"timeout={_quoted(step.timeout)}"] if step.timeout else []
    environment = [f"{key}={_quoted(said)}" for key, said in (("image", step.image), ("python", step.python)) if said]
    lines = _call(f"{names[step.name]} = sw.command", arguments)
    if environment:
        # Kept as a comment: with it a step needs an executor that makes such an environment.
        lines.insert(0, f"# It asked for sw.Environment({', '.join(environment)}).")
    if not step.after:
        return lines
    waits = ", ".join(_value(by_name[need], names) for need in step.after)
    return [f"with sw.after({waits}):", *(f"    {line}" for line in lines)]


def _environ(step: Command, taken: Taken, constants: dict[str, str]) -> list[str]:
    read = {one.name for one in taken.parameters if re.search(rf"\$\{{?{re.escape(one.name)}\b", step.script)}
    pairs = [f'"SCRIPT": {constants[_script(step)]}']
    pairs += [f"{_quoted(key)}: {_quoted(value)}" for key, value in step.environment.items() if key not in read]
    return pairs + [f"{_quoted(name)}: {name}" for name in sorted(read)]


def _value(step: Command | Wait, names: dict[str, str]) -> str:
    """What stands for the output of a step."""
    return names[step.name] + (f'["{_LEFT}"]' if isinstance(step, Command) and step.gives else "")


def _script(step: Command) -> str:
    """The script between unpacking what others left and packing what it leaves."""
    before = [f'tar -xf "${number}"' for number in range(1, len(step.takes) + 1)]
    if len(step.takes) > 9:
        before = ['for archive in "$@"; do tar -xf "$archive"; done']
    # An `exit` must not skip the packing.
    body = ["(", step.script, ")"] if step.gives and re.search(r"\b(exit|exec)\b", step.script) else [step.script]
    after = []
    if step.gives:
        paths = " ".join(_path(path) for path in step.gives)
        after = ["shopt -s globstar"] if "**" in paths else []
        after.append(f"{_PACK} {paths}")
    return "\n".join((*before, *body, *after)) + "\n"


def _path(path: str) -> str:
    return path if _SAFE.fullmatch(path) else shlex.quote(path)


def _call(head: str, arguments: list[str]) -> list[str]:
    line = f"{head}({', '.join(arguments)})"
    if len(line) <= MAX_LINE and "\n" not in line:
        return [line]
    inner = [part for argument in arguments for part in f"{argument},".split("\n")]
    return [f"{head}(", *(f"    {part}" for part in inner), ")"]


def _table(name: str, pairs: list[str]) -> str:
    line = f"{name}={{{', '.join(pairs)}}}"
    if len(line) <= MAX_LINE - 8:
        return line
    return "\n".join((f"{name}={{", *(f"    {pair}," for pair in pairs), "}"))


def _quoted(text: str) -> str:
    """A text as Python writes it, in double quotes."""
    said = repr(text)
    return said if said[0] == '"' else '"' + said[1:-1].replace('"', '\\"').replace("\\'", "'") + '"'


def _long(text: str) -> str:
    """A script as Python writes a text of several lines."""
    if any(ord(char) < 32 and char not in "\n\t" for char in text):
        return repr(text)
    escaped = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    if escaped.endswith('"'):
        escaped = escaped[:-1] + '\\"'
    return f'"""\\\n{escaped}"""'
