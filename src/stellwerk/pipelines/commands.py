"""The step that runs an executable: in a folder of its own, with its inputs as files, from an argument list."""

from __future__ import annotations

import codecs
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.errors import Invalid, Unavailable
from stellwerk.pipelines.model import Encoded
from stellwerk.pipelines.values import FILE_MEDIA, STANDARD

PASSED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "VIRTUAL_ENV", "PYTHONPATH")
"""Variables that a program needs to start; of the others only what the step names is passed."""
SUFFIXES = {
    "application/vnd.apache.parquet": ".parquet",
    "application/vnd.stellwerk.npy": ".npy",
    "application/json": ".json",
    "application/octet-stream": ".bin",
}
MAX_TEXT = 1 << 20
_PIECE = 1 << 16
PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""A place in an argument where the value of a name is put."""


def command(
    *,
    argv: Sequence[str],
    params: Mapping[str, Any],
    outputs: Mapping[str, str],
    environ: Mapping[str, str],
    paths: Sequence[str] = (),
    places: Mapping[str, str] | None = None,
    files: Sequence[Encoded] = (),
    **inputs: Encoded | Sequence[Encoded],
) -> Any:
    """Run the executable; give the files that it was to write, by name, or else what it printed.

    Raises:
        Invalid: `command-failed` with its status and last words, `missing-output`, `output-is-no-file`, or
            `printed-too-much`.
        Unavailable: `no-such-command`.
    """
    with tempfile.TemporaryDirectory(prefix="stellwerk-command-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for path, content in zip(paths, files, strict=True):
            _write(folder / path, content)
        texts: dict[str, str] = {key: _text(value) for key, value in params.items()}
        given = {key: _lay(folder, key, value, places or {}) for key, value in inputs.items()}
        texts |= {key: str(path.relative_to(folder)) for key, path in given.items()}
        for key, path in outputs.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            texts[key] = path
        said = _run([PLACE.sub(lambda found: texts[found[1]], part) for part in argv], folder, environ)
        if not outputs:
            return said
        return {key: _kept(folder / path, path) for key, path in outputs.items()}


command.raw_inputs = True  # type: ignore[attr-defined]  # its inputs stay bytes: they are written to files as they are


def _run(argv: list[str], folder: Path, environ: Mapping[str, str]) -> str:
    environment = {key: os.environ[key] for key in PASSED if key in os.environ}
    try:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**environment, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as cause:
        raise Unavailable(
            f"command {argv[0]!r} cannot be started: {cause.strerror}",
            code="no-such-command",
            hint="it must be on the PATH, or one of the step's files that may be executed",
        ) from cause
    printed, decoder = bytearray(), codecs.getincrementaldecoder("utf-8")("replace")
    with process:
        try:
            # Piece by piece: a line may be as long as the program likes.
            while process.stdout and (piece := process.stdout.read1(_PIECE)):  # type: ignore[attr-defined]
                sys.stdout.write(decoder.decode(piece))
                printed += piece[: max(0, MAX_TEXT + 1 - len(printed))]
            sys.stdout.write(decoder.decode(b"", final=True))
        except BaseException:
            process.kill()
            raise
    text = printed.decode("utf-8", "replace")
    if process.returncode:
        last = " | ".join(text.strip().splitlines()[-3:])
        raise Invalid(
            f"command {argv[0]!r} ended with status {process.returncode}" + (f": {last[-500:]}" if last else ""),
            code="command-failed",
        )
    if len(printed) > MAX_TEXT:
        raise Invalid(
            f"command {argv[0]!r} printed more than {MAX_TEXT:,} bytes, which is too much for a value",
            code="printed-too-much",
            hint="let it write a file, and name that in `outputs`",
        )
    return text


def _lay(folder: Path, name: str, value: Encoded | Sequence[Encoded], places: Mapping[str, str]) -> Path:
    """Write an input to its place, if it has one of its own."""
    if name in places and isinstance(value, Encoded):
        return _write(folder / places[name], value)
    return _put(folder / "in", name, value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else canonical.dumps(value).decode()


def _put(folder: Path, name: str, value: Encoded | Sequence[Encoded]) -> Path:
    """Write an input as a file, or a list of them as files in a folder."""
    if isinstance(value, Encoded):
        return _write(folder / name / _name(name, value), value)
    place = folder / name
    place.mkdir(parents=True)
    for number, one in enumerate(value):
        _write(place / _name(f"{number:04}", one), one)
    return place


def _name(name: str, value: Encoded) -> str:
    media, _, rest = value.media.partition(";")
    if media == FILE_MEDIA:
        return rest.partition("=")[2] or name
    return name + SUFFIXES.get(media, ".bin")


def _write(path: Path, value: Encoded) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if value.media.partition(";")[0] == FILE_MEDIA:
        with tempfile.TemporaryDirectory(dir=path.parent) as aside:
            decoded = STANDARD.decode(value, folder=Path(aside))
            Path(decoded).replace(path)
        return path
    path.write_bytes(value.data)
    return path


def _kept(file: Path, path: str) -> Encoded:
    if not os.path.lexists(file):
        raise Invalid(f"the command did not write its output {path!r}", code="missing-output")
    if not file.is_file() or file.is_symlink():
        what = "link" if file.is_symlink() else "folder" if file.is_dir() else "special file"
        raise Invalid(
            f"the command left a {what} as its output {path!r} (expected a file)",
            code="output-is-no-file",
            hint="name each file that it writes as an output, or let it pack a folder into one file (`tar -cf`)",
        )
    return STANDARD.encode(file)
