"""What a logger of PyTorch Lightning does, of either package that it comes in."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_utilities.core.rank_zero import rank_zero_only

from stellwerk.workspace.ports import Scribe


class ScribeLogger:
    """Logs to a scribe, in the process of rank zero."""

    def __init__(self, scribe: Scribe) -> None:
        super().__init__()
        self._scribe, self._step = scribe, 0

    @property
    def name(self) -> str:
        """What a folder of checkpoints is called."""
        return "stellwerk"

    @property
    def version(self) -> str | None:
        """The run's id, in the process of rank zero."""
        return self._scribe.run.id if _zero() else None

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        if _zero():
            said = vars(params) if isinstance(params, Namespace) else params or {}
            self._scribe.params(dict(_flat(said)))

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if _zero():
            self._step = self._step if step is None else step
            self._scribe.log(metrics, self._step)

    def finalize(self, status: str) -> None:
        if _zero() and status in ("success", "finished"):
            self._scribe.rest()  # `test` may come after `fit`
        elif _zero():
            self._scribe.end("failed")


def _zero() -> bool:
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def _flat(params: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}/")
        else:
            yield f"{before}{name}", value
