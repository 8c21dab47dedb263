"""Keras 3, on any backend: metrics of each epoch. Of several processes only the one of rank zero logs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import keras

from stellwerk.core.errors import Invalid
from stellwerk.workspace.ports import Scribe


class KerasCallback(keras.callbacks.Callback):
    """Logs to a scribe.

    Args:
        every: Log metrics of each so many batches too.
    """

    def __init__(self, scribe: Scribe, *, every: int | None = None) -> None:
        if every is not None and every < 1:
            raise Invalid(f"every={every} is no number of batches (expected 1 or more)", code="invalid-number")
        super().__init__()
        self._scribe, self._every, self._batches = scribe, every, 0

    def on_train_begin(self, logs: Any = None) -> None:
        self._batches = 0
        if _zero():
            self._scribe.begin()
            self._scribe.params(_parameters(self.model, self.params))

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._batches += 1
        if self._every and self._batches % self._every == 0 and _zero():
            self._scribe.log({f"batch/{name}": value for name, value in (logs or {}).items()}, self._batches - 1)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        if _zero():
            self._scribe.log(logs or {}, epoch)

    def on_train_end(self, logs: Any = None) -> None:
        if _zero():
            self._scribe.end()


def _parameters(model: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: given[name] for name in ("epochs", "steps") if given.get(name) is not None}
    if model.built:
        found["parameters"] = model.count_params()
    loss = getattr(model, "loss", None)
    if loss is not None:
        found["loss"] = loss if isinstance(loss, str) else getattr(loss, "name", None) or _called(loss)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        found["optimizer"] = _called(optimizer)
        config = optimizer.get_config().items()
        found |= {f"optimizer/{name}": value for name, value in config if value is not None and name != "name"}
    return found


def _called(thing: Any) -> str:
    return str(getattr(thing, "__name__", None) or type(thing).__name__)


def _zero() -> bool:
    """Whether this process is the one of rank zero, or the only one."""
    backend = keras.backend.backend()
    if backend == "torch":
        distributed = sys.modules["torch"].distributed
        started = distributed.is_available() and distributed.is_initialized()
        return not started or bool(distributed.get_rank() == 0)
    if backend == "jax":
        return bool(sys.modules["jax"].process_index() == 0)
    if backend == "tensorflow":
        resolver = sys.modules["tensorflow"].distribute.get_strategy().cluster_resolver
        return resolver is None or resolver.task_id in (0, None)
    return True
