"""What training frameworks are given so that they log to a run, such as `stellwerk.integrations.xgboost()`."""

from stellwerk.workspace.integrating import keras, lightgbm, lightning, sklearn, transformers, xgboost

__all__ = ["keras", "lightgbm", "lightning", "sklearn", "transformers", "xgboost"]
