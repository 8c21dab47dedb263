"""Hugging Face's Trainer: whatever it logs, by its global step, in the process of rank zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback

from stellwerk.workspace.ports import Scribe


class StellwerkCallback(TrainerCallback):
    """Logs to a scribe."""

    def __init__(self, scribe: Scribe) -> None:
        super().__init__()
        self._scribe = scribe

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any = None, **_: Any) -> None:
        if state.is_world_process_zero:
            self._scribe.begin()
            config: Any = getattr(model, "config", None)
            self._scribe.params({**(config.to_dict() if hasattr(config, "to_dict") else {}), **args.to_dict()})

    def on_log(self, args: Any, state: Any, control: Any, *, logs: Mapping[str, Any] | None = None, **_: Any) -> None:
        if state.is_world_process_zero:
            self._scribe.log(logs or {}, state.global_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.is_world_process_zero:
            self._scribe.rest()  # `evaluate` may come
