"""How values pass between steps: by type, as bytes with a media type. Where the bytes are kept is behind `ports`.

Frames pass as Parquet, arrays as npy without objects, plain data as canonical JSON, bytes as they are, files by their
content. Models and other types pass through codecs that the composition root registers. Executable formats such as
pickle never pass. Third-party packages are imported only when a value of theirs is at hand.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.errors import Bug, Corrupt, Invalid, StellwerkError
from stellwerk.pipelines.model import Encoded

FILE_MEDIA = "application/vnd.stellwerk.file"
JSON_MEDIA = "application/json"
PARQUET = "application/vnd.apache.parquet"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """One type of value and its form as bytes.

    Args:
        name: What the type is called in messages.
        media_type: Names the form; one codec per media type.
        accepts: Says whether a value is of this type, without importing anything heavy.
        encode: Deterministic; raises for a value that has no such form.
        decode: Never executes what the bytes say.
    """

    name: str
    media_type: str
    accepts: Callable[[Any], bool]
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


class Codecs:
    """An ordered registry of codecs; the first that accepts a value encodes it."""

    def __init__(self, codecs: Iterable[Codec]) -> None:
        self._codecs = tuple(codecs)
        self._by_media = {codec.media_type: codec for codec in self._codecs}
        if len(self._by_media) != len(self._codecs):
            raise Bug("two codecs have the same media type", code="repeated-codec")

    @property
    def names(self) -> tuple[str, ...]:
        return (*(codec.name for codec in self._codecs), "pathlib.Path of a file")

    def knows(self, media: str) -> bool:
        """Whether values of a media type can be read."""
        return media.partition(";")[0] == FILE_MEDIA or media in self._by_media

    def with_first(self, *codecs: Codec) -> Codecs:
        """A registry in which these codecs are asked first."""
        return Codecs((*codecs, *self._codecs))

    def encode(self, value: Any, *, step: str = "") -> Encoded:
        """The value as bytes; what is bytes already passes. `Invalid` with code `unsupported-value` if no codec can."""
        if isinstance(value, Encoded):
            return value
        if isinstance(value, Path):
            return _encode_file(value, self.names, step)
        for codec in self._codecs:
            if codec.accepts(value):
                try:
                    return Encoded(media=codec.media_type, data=codec.encode(value))
                except Exception as cause:  # whatever a codec raises, the value has no such form
                    raise _unsupported(value, step, self.names, f"as {codec.name}: {cause}") from cause
        raise _unsupported(value, step, self.names)

    def decode(self, encoded: Encoded, *, folder: Path | None = None) -> Any:
        """The value of some bytes. Files are written into the folder, which must be private to the caller."""
        if encoded.media.partition(";")[0] == FILE_MEDIA:
            return _decode_file(encoded, folder)
        codec = self._by_media.get(encoded.media)
        if codec is None:
            raise Invalid(
                f"values of media type {encoded.media!r} cannot be read here (expected one of "
                f"{', '.join(self._by_media)})",
                code="unknown-media-type",
            )
        try:
            return codec.decode(encoded.data)
        except StellwerkError:
            raise
        except Exception as cause:  # readers of foreign formats raise anything
            raise Corrupt(f"bytes that should be {codec.name} are not: {cause}", code="unreadable-value") from cause


def codec_from(reference: str) -> Codec:
    """The codec at `module:name`: how a child process, which has no composition root, is told of codecs."""
    module, _, name = reference.partition(":")
    codec = getattr(import_module(module), name)
    if not isinstance(codec, Codec):
        raise Bug(f"{reference} is not a codec", code="not-a-codec")
    return codec


def type_name(value: object) -> str:
    """The type of a value with its module, as people write it."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _unsupported(value: object, step: str, names: tuple[str, ...], why: str = "") -> Invalid:
    where = f"step {step!r} returned" if step else "got"
    return Invalid(
        f"{where} a {type_name(value)}, which cannot be passed on{' ' + why if why else ''} "
        f"(expected one of: {', '.join(names)})",
        code="unsupported-value",
        hint=_ADVICE.get(type_name(value), _ADVICE.get(type(value).__name__, "return one of the supported types")),
    )


_ADVICE = {
    "dict": "a step that returns several values names them: @step(outputs=('train', 'gate'))",
    "tuple": "a step that returns several values names them: @step(outputs=('train', 'gate')) and returns a dict",
    "LazyFrame": "return frame.collect()",
    "pandas.DataFrame": "return polars.from_pandas(frame)",
}


def _made_by(value: object, package: str, *names: str) -> bool:
    return any(
        kind.__name__ in names and kind.__module__.partition(".")[0] == package for kind in type(value).__mro__
    )


def _encode_frame(value: Any) -> bytes:
    buffer = io.BytesIO()
    value.write_parquet(buffer, compression="zstd", statistics=True)
    return buffer.getvalue()


def _decode_frame(data: bytes) -> Any:
    import polars

    return polars.read_parquet(io.BytesIO(data))


def _encode_array(value: Any) -> bytes:
    import numpy

    buffer = io.BytesIO()
    numpy.save(buffer, value, allow_pickle=False)
    return buffer.getvalue()


def _decode_array(data: bytes) -> Any:
    import numpy

    return numpy.load(io.BytesIO(data), allow_pickle=False)


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str, list, tuple, dict)) or _is_scalar(value)


def _is_scalar(value: object) -> bool:
    return _made_by(value, "numpy", "generic")


def _plain(value: Any, depth: int = 0) -> Any:
    """Replace numpy's scalars, which metrics are full of, by Python's."""
    if depth > canonical.MAX_DEPTH:
        raise Invalid(f"nested deeper than {canonical.MAX_DEPTH} levels", code="invalid-json")
    if isinstance(value, (list, tuple)):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    return value.item() if _is_scalar(value) else value


def _encode_file(path: Path, names: tuple[str, ...], step: str) -> Encoded:
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise _unsupported(path, step, names, f"because it cannot be read: {cause.strerror}") from cause
    return Encoded(media=file_media(path.name), data=data)


def file_media(path: str) -> str:
    """The media type of a file value, which keeps the last part of its path."""
    name = path.rpartition("/")[2]
    return f"{FILE_MEDIA}; name={name if _FILE_NAME.fullmatch(name) else 'file'}"


def _decode_file(encoded: Encoded, folder: Path | None) -> Path:
    name = encoded.media.partition("name=")[2]
    if folder is None or not _FILE_NAME.fullmatch(name):
        raise Invalid(f"a file value cannot be written as {name[:40]!r}", code="unknown-media-type")
    path = folder / name
    path.write_bytes(encoded.data)
    return path


STANDARD = Codecs(
    (
        Codec(
            name="polars.DataFrame",
            media_type=PARQUET,
            accepts=lambda value: _made_by(value, "polars", "DataFrame"),
            encode=_encode_frame,
            decode=_decode_frame,
        ),
        Codec(
            name="numpy.ndarray without objects",
            media_type="application/vnd.stellwerk.npy",
            accepts=lambda value: _made_by(value, "numpy", "ndarray"),
            encode=_encode_array,
            decode=_decode_array,
        ),
        Codec(
            name="bytes",
            media_type="application/octet-stream",
            accepts=lambda value: isinstance(value, (bytes, bytearray)),
            encode=bytes,
            decode=lambda data: data,
        ),
        Codec(
            name="JSON (None, bool, int, float, str, list, dict)",
            media_type=JSON_MEDIA,
            accepts=_is_plain,
            encode=lambda value: canonical.dumps(_plain(value)),
            decode=canonical.loads,
        ),
    )
)
"""What every workspace can pass."""
