"""How models pass between steps: their files in one archive. Other values are in `pipelines.values`."""

from __future__ import annotations

from typing import Any

from stellwerk.pipelines.values import Codec

MEDIA = "application/vnd.stellwerk.model"


def _is_model(value: Any) -> bool:
    kind = type(value)
    return kind.__name__ == "TabularModel" and kind.__module__ == "stellwerk.models.tabular"


def _encode(value: Any) -> bytes:
    from stellwerk.models import archive
    from stellwerk.models.adapters import skops_format

    return archive.write(skops_format.save(value))


def _decode(data: bytes) -> Any:
    from stellwerk.models.adapters import skops_format

    return skops_format.load(files(data))


def files(data: bytes) -> dict[str, bytes]:
    """The files of a model that was passed between steps."""
    from stellwerk.models import archive

    return archive.read(data)


MODEL = Codec(name="stellwerk.Model", media_type=MEDIA, accepts=_is_model, encode=_encode, decode=_decode)
REFERENCE = "stellwerk.workspace.codecs:MODEL"
"""How child processes find this codec."""
