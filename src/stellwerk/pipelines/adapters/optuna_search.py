"""The advisor on Optuna. Its study lies in memory and is made from our trials, which are the only ones that are kept.

Each question is answered by a sampler of its own, seeded by the study's seed and the number of the trial: so there is no
state of a generator that a restart would lose, and the same trials are followed by the same next one.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from stellwerk.core.errors import Unavailable
from stellwerk.pipelines.tuning.model import Pruning, Setup, State, Trial
from stellwerk.pipelines.tuning.space import Choice, Dimension, Real, Space, flat, recall, walk

STUDY = "stellwerk"
_REPLAYED = ("cmaes", "nsga2")
"""Searches that note things beside their trials, and so must be asked again what they were asked."""


def load() -> Any:
    """Optuna, quiet. Raises `Unavailable` where it is not installed."""
    try:
        import optuna
    except ImportError as cause:
        raise Unavailable(
            "this search needs Optuna, which is not installed",
            code="needs-extra",
            hint="pip install 'stellwerk[hpo]', or search at random or by grid",
        ) from cause
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class OptunaAdvisor:
    """Advises by one of Optuna's samplers, and ends trials by one of its pruners."""

    def __init__(self, setup: Setup, trials: Sequence[Trial]) -> None:
        self._optuna = load()
        self._setup = setup
        self._storage = self._optuna.storages.InMemoryStorage()
        self._study = self._optuna.create_study(
            storage=self._storage,
            study_name=STUDY,
            sampler=self._sampler(0),
            pruner=self._pruner(setup.pruning),
            directions=[one.goal for one in setup.objectives],
        )
        self._id = self._storage.get_study_id_from_name(STUDY)
        if setup.search in _REPLAYED:
            self._replay(trials)
        else:
            for trial in trials:
                self._add(trial)

    def ask(self, number: int) -> dict[str, Any]:
        """What the sampler says to the trials so far."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Optuna says of its own experiments
            self._study.sampler = self._sampler(number)
            trial = self._study.ask()
            _ = trial.relative_params  # sampled on first use, which what is replayed would never make
            return walk(self._setup.space, lambda path, dimension: self._suggest(trial, path, dimension))

    def report(self, number: int, step: int, value: float) -> bool:
        """Note a value, and ask the pruner."""
        if self._setup.pruning is None:
            return False
        trial = self._storage.get_trial_id_from_study_id_trial_number(self._id, number)
        self._storage.set_trial_intermediate_value(trial, step, value)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(self._study.pruner.prune(self._study, self._storage.get_trial(trial)))

    def tell(self, number: int, state: State, values: Sequence[float]) -> None:
        """Note how a trial ended."""
        states = self._optuna.trial.TrialState
        if state == "done":
            self._study.tell(number, list(values))
        else:
            self._study.tell(number, state=states.PRUNED if state == "pruned" else states.FAIL)

    def _add(self, trial: Trial) -> None:
        """Put a trial into the study as it stands."""
        chosen = self._spelled(trial.params)
        # Successive halving notes which heights a trial reached, and so must be told again.
        told = self._setup.pruning is not None and self._setup.pruning.kind != "median"
        self._study.add_trial(
            self._optuna.trial.create_trial(
                state=self._state("running" if told else trial.state),
                params=chosen,
                distributions=self._distributions(self._setup.space, chosen),
                values=list(trial.values) if trial.state == "done" and not told else None,
                intermediate_values={} if told else dict(trial.reports),
            )
        )
        if told:
            self._told(trial)

    def _replay(self, trials: Sequence[Trial]) -> None:
        """Ask and tell again in the order of old, with what was chosen then."""
        events: list[tuple[datetime, int, int, Trial]] = []
        last = None
        for trial in trials:
            last = trial.started_at if last is None else max(last, trial.started_at)
            events.append((last, 1, trial.number, trial))
            if trial.state != "running" and trial.ended_at is not None:
                events.append((max(trial.ended_at, last), 0, trial.number, trial))
        asked: set[int] = set()
        late: list[Trial] = []
        for _, asks, number, trial in sorted(events, key=lambda event: event[:3]):
            if asks:
                self._study.enqueue_trial(self._spelled(trial.params))
                self.ask(number)
                asked.add(number)
            elif number in asked:
                self._told(trial)
            else:  # begun and ended within one tick of the clock
                late.append(trial)
                continue
            for one in [one for one in late if one.number in asked]:
                late.remove(one)
                self._told(one)

    def _told(self, trial: Trial) -> None:
        for step, value in trial.reports:
            self.report(trial.number, step, value)
        if trial.state != "running":
            self.tell(trial.number, trial.state, trial.values)

    def _suggest(self, trial: Any, path: str, dimension: Dimension) -> Any:
        if isinstance(dimension, Choice):
            return trial.suggest_categorical(path, list(range(len(dimension.options))))
        if isinstance(dimension, Real):
            return trial.suggest_float(path, dimension.low, dimension.high, step=dimension.step, log=dimension.log)
        return trial.suggest_int(path, dimension.low, dimension.high, step=dimension.step, log=dimension.log)

    def _spelled(self, params: dict[str, Any]) -> dict[str, Any]:
        """What was chosen, by path as Optuna knows it."""
        chosen: dict[str, Any] = {}
        again = recall(self._setup.space, params)

        def note(path: str, dimension: Dimension) -> Any:
            chosen[path] = again(path, dimension)
            return chosen[path]

        walk(self._setup.space, note)
        return chosen

    def _distributions(self, space: Space, chosen: dict[str, Any]) -> dict[str, Any]:
        return {path: self._distribution(dimension) for path, dimension in flat(space) if path in chosen}

    def _distribution(self, dimension: Dimension) -> Any:
        kinds = self._optuna.distributions
        if isinstance(dimension, Choice):
            return kinds.CategoricalDistribution(list(range(len(dimension.options))))
        if isinstance(dimension, Real):
            return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
        return kinds.IntDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)

    def _state(self, state: State) -> Any:
        states = self._optuna.trial.TrialState
        return {"running": states.RUNNING, "done": states.COMPLETE, "pruned": states.PRUNED, "failed": states.FAIL}[
            state
        ]

    def _sampler(self, number: int) -> Any:
        seed = int.from_bytes(hashlib.sha256(f"{self._setup.seed} {number}".encode()).digest()[:4], "big")
        samplers, search = self._optuna.samplers, self._setup.search
        if search == "tpe":
            return samplers.TPESampler(seed=seed)
        if search == "nsga2":
            return samplers.NSGAIISampler(seed=seed)
        if search == "cmaes":
            try:
                import cmaes  # noqa: F401
            except ImportError as cause:
                raise Unavailable(
                    "the search cmaes needs the package cmaes",
                    code="needs-extra",
                    hint="pip install 'stellwerk[hpo]'",
                ) from cause
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
        # Asked only where a pruner needs Optuna: the points themselves are ours.
        return samplers.RandomSampler(seed=seed)

    def _pruner(self, pruning: Pruning | None) -> Any:
        pruners = self._optuna.pruners
        if pruning is None:
            return pruners.NopPruner()
        if pruning.kind == "median":
            return pruners.MedianPruner(n_startup_trials=pruning.startup, n_warmup_steps=pruning.first)
        if pruning.kind == "hyperband":
            return pruners.HyperbandPruner(
                min_resource=max(pruning.first, 1),
                max_resource=pruning.most or "auto",
                reduction_factor=pruning.eta,
            )
        return pruners.SuccessiveHalvingPruner(min_resource=max(pruning.first, 1), reduction_factor=pruning.eta)


class PrunedPlain:
    """Points of our own, random or of a grid, with Optuna's pruners."""

    def __init__(self, points: Any, setup: Setup, trials: Sequence[Trial]) -> None:
        self._points = points
        self._optuna = OptunaAdvisor(setup, trials)

    def ask(self, number: int) -> dict[str, Any] | None:
        """The point of this number, which the pruner's study hears of."""
        found: dict[str, Any] | None = self._points.ask(number)
        if found is not None:
            self._optuna._study.enqueue_trial(self._optuna._spelled(found))
            self._optuna.ask(number)
        return found

    def report(self, number: int, step: int, value: float) -> bool:
        """Note a value, and ask the pruner."""
        return self._optuna.report(number, step, value)

    def tell(self, number: int, state: State, values: Sequence[float]) -> None:
        """Note how a trial ended."""
        self._optuna.tell(number, state, values)


def importance(setup: Setup, trials: Sequence[Trial]) -> dict[str, float]:
    """What fANOVA says of the parameters that every trial has; nothing where it cannot be computed."""
    from importlib.util import find_spec

    if find_spec("optuna") is None or find_spec("sklearn") is None:
        return {}
    optuna = load()
    advisor = OptunaAdvisor(
        Setup(space=setup.space, objectives=setup.objectives[:1]),
        [replace(trial, values=trial.values[:1]) for trial in trials if trial.state == "done"],
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
            found = optuna.importance.get_param_importances(advisor._study, evaluator=evaluator)
    except (ValueError, RuntimeError):  # too few trials, or all alike
        return {}
    return {path: float(share) for path, share in found.items()}
