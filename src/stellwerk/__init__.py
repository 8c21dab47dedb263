"""Stellwerk: one store, one ledger, and an interlocking that computes whether a model may run, and until when.

Names are loaded on first use, so that `import stellwerk` costs next to nothing in a training container.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stellwerk._version import __version__

if TYPE_CHECKING:
    from stellwerk.core.errors import (
        Bug as Bug,
    )
_EXPORTS: dict[str, str] = {}


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'stellwerk' has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTS[name]), name)


__all__ = ["__version__", *_EXPORTS]
