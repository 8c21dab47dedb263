"""PyTorch Lightning as `pytorch_lightning`."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.loggers.logger import Logger, rank_zero_experiment

from stellwerk.workspace.adapters.frameworks.logger import ScribeLogger


class StellwerkLogger(ScribeLogger, Logger):
    """A logger for its Trainer."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run, for whoever wants to log more to it; in other processes something that does nothing."""
        return self._scribe.run
