"""AutoML for tables: a search over pre-processing and models, and an honest word about what it came to.

Trials are cross-validated on the training part. The leading ones are fitted on all of it and compared on the selection
part, where the best is chosen. The value it has there is optimistic; the one that is reported as held out comes from
halves of that part, each judging what was chosen on the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import stellwerk.pipelines.tuning.space as spaces
from stellwerk.core.arguments import bound
from stellwerk.core.errors import Invalid
from stellwerk.pipelines.authoring import step
from stellwerk.pipelines.authoring.building import builtin, needed
from stellwerk.pipelines.model import Ref
from stellwerk.pipelines.parameters import texts
from stellwerk.pipelines.tuning.authoring import refuse_gate, tune
from stellwerk.pipelines.tuning.model import Budget, Pruning
from stellwerk.pipelines.tuning.reporting import report
from stellwerk.pipelines.tuning.space import Space

if TYPE_CHECKING:
    import polars as pl

    from stellwerk.models.tabular import TabularModel

REPORT = "stellwerk-automl/1"
"""What the report of a search says that it is."""
VERSION = 1
"""Of what trials do; another one makes new trials of everything."""
FOLDS = 4
LOSS = "cv_loss"
STORABLE = ("linear", "forest", "extra", "boosting")
"""Families whose models have a form here that can be released."""
OTHERS = {"lightgbm": "lightgbm", "xgboost": "xgboost"}
"""Families that are searched when asked for, and compared; their models have no such form (docs/formats/model.md)."""
ALPHA = 0.05
_TREES: Space = {"trees": spaces.whole(50, 300, step=50), "leaf": spaces.whole(1, 30, log=True)}
_BOOSTED: Space = {
    "rounds": spaces.whole(30, 300, log=True),
    "rate": spaces.real(0.02, 0.4, log=True),
    "leaves": spaces.whole(4, 63, log=True),
    "leaf": spaces.whole(3, 60, log=True),
    "penalty": spaces.real(1e-3, 10, log=True),
}
SPACES: dict[str, Space] = {
    "linear": {
        "strength": spaces.real(1e-3, 1e2, log=True),
        "scale": spaces.choice(["standard", "robust", "quantile"]),
    },
    "forest": {**_TREES, "share": spaces.real(0.2, 1.0)},
    "extra": {**_TREES, "share": spaces.real(0.2, 1.0)},
    "boosting": _BOOSTED,
    "lightgbm": _BOOSTED,
    "xgboost": _BOOSTED,
}


def space(families: Sequence[str]) -> Space:
    """What is searched: a family, and the parameters of each."""
    return {"family": spaces.choice({name: SPACES[name] for name in families})}


@step(kind="train")
def candidate(
    table: pl.DataFrame,
    target: str,
    task: str,
    exclude: list[str],
    version: int,
    family: str = "linear",
    strength: float = 1.0,
    scale: str = "standard",
    trees: int = 100,
    leaf: int = 20,
    share: float = 1.0,
    rounds: int = 100,
    rate: float = 0.1,
    leaves: int = 31,
    penalty: float = 1e-3,
) -> dict[str, Any]:
    """The cross-validated loss of one candidate on the training part."""
    import numpy as np

    from stellwerk.workspace.evaluating import evaluate

    params = {
        "family": family, "strength": strength, "scale": scale, "trees": trees, "leaf": leaf, "share": share,
        "rounds": rounds, "rate": rate, "leaves": leaves, "penalty": penalty,
    }  # fmt: skip
    losses: list[float] = []
    weights: list[int] = []
    for number, (fitted, held) in enumerate(folds(table, target, task), 1):
        model = fit(params, table[fitted], target=target, task=task, exclude=exclude)
        measured = evaluate(model=model, table=table[held])
        (loss,) = measured["baseline"]
        losses.append(float(measured["metrics"][loss]))
        weights.append(len(held))
        report(number, float(np.average(losses, weights=weights)))
    return {LOSS: float(np.average(losses, weights=weights)), "folds": losses}


def folds(table: pl.DataFrame, target: str, task: str) -> list[tuple[Any, Any]]:
    """Rows to fit and rows to measure, `FOLDS` times; every class in every fold, where it has rows enough."""
    import numpy as np

    rng = np.random.default_rng(0)
    if task == "regression":
        places = rng.permutation(table.height) % FOLDS
    else:
        places = np.zeros(table.height, dtype=int)
        labels = np.array([str(value) for value in table.get_column(target).to_list()])
        for name in np.unique(labels):
            rows = rng.permutation(np.flatnonzero(labels == name))
            places[rows] = np.arange(len(rows)) % FOLDS
    return [(np.flatnonzero(places != fold), np.flatnonzero(places == fold)) for fold in range(FOLDS)]


def fit(
    params: Mapping[str, Any], table: pl.DataFrame, *, target: str, task: Any, exclude: Sequence[str]
) -> TabularModel:
    """Fit a candidate; what is missing in it has its default."""
    from stellwerk.models.fitting import fit as fit_model
    from stellwerk.workspace.adapters.estimators import estimator

    return fit_model(estimator(task, params), table, target=target, task=task, exclude=exclude)


@bound
def automl(
    train: Any,
    *,
    select: Any,
    target: str,
    budget: int | str | Budget,
    exclude: Sequence[str] = (),
    task: str = "",
    families: Sequence[str] = STORABLE,
    workers: int = 1,
    seed: int = 0,
    workspace: Any = None,
) -> Any:
    """Search for a model for a table: nodes of a pipeline whose outputs are `model` and `report`.

    Outside of a pipeline it takes tables and a workspace, and gives a dict of these two.

    Args:
        train: The training part, on which candidates are cross-validated and fitted.
        select: The selection part, on which the best of the leading ones is chosen.
        budget: A number of trials, a time, or both.
        exclude: Columns that are no inputs.
        task: binary, multiclass or regression; found from the labels by default.
        families: linear, forest, extra, boosting; also lightgbm and xgboost, which are compared, but never chosen,
            because their models cannot be released.
        workspace: Where the trials are kept, outside of a pipeline.

    Raises:
        Refused: `gate-in-tuning`, where a part comes from a gate set.
        Invalid: A family is unknown, or not installed.
    """
    searched = _families(families)
    facts = {"target": target, "exclude": list(texts("exclude", exclude))}
    options: dict[str, Any] = {
        "metric": LOSS, "pruner": Pruning(kind="median", first=1, startup=8), "workers": workers, "seed": seed,
    }  # fmt: skip
    if workspace is not None:
        _check_tables(train=train, select=select)
        kind = task_of_table(table=train, target=target, task=task)
        given = {"table": train, "task": kind, "version": VERSION, **facts}
        tuned = tune(candidate, space(searched), budget, given=given, workspace=workspace, **options)
        return judged(
            train=train, select=select, found=tuned.report, task=kind, families=list(searched), target=target,
            exclude=list(exclude),
        )  # fmt: skip
    builder = needed("sw.automl")
    for name, part in (("train", train), ("select", select)):
        if not isinstance(part, Ref):
            raise Invalid(f"{name} is a {type(part).__name__} (expected the output of a step)", code="wrong-type")
    refuse_gate({"train": train, "select": select}, builder)
    described = builtin("automl-task", "task", "train", {"target": target, "task": task}, {"table": train})
    given = {"table": train, "task": described, "version": VERSION, **facts}
    found = tune(candidate, space(searched), budget, given=given, **options)
    inputs = {"train": train, "select": select, "found": found["report"], "task": described}
    params = {**facts, "families": list(searched)}
    return builtin("automl", "automl", "tune", params, inputs, ("model", "report"))


def _check_tables(**parts: Any) -> None:
    import polars as pl

    for name, part in parts.items():
        if not isinstance(part, pl.DataFrame):
            raise Invalid(f"{name} is a {type(part).__name__} (expected a table of polars)", code="wrong-type")


def _families(families: Sequence[str]) -> tuple[str, ...]:
    listed = tuple(dict.fromkeys(texts("families", families)))
    unknown = [name for name in listed if name not in SPACES]
    if not listed or unknown:
        raise Invalid(f"families are {list(families)} (expected some of {', '.join(SPACES)})", code="unknown-family")
    missing = [name for name in listed if name in OTHERS and find_spec(OTHERS[name]) is None]
    if missing:
        raise Invalid(f"{missing[0]} is not installed", code="unknown-family", hint=f"pip install {missing[0]}")
    if not set(listed) & set(STORABLE):
        raise Invalid(
            f"none of {', '.join(listed)} has models that can be released", code="unknown-family",
            hint=f"search one of {', '.join(STORABLE)} as well",
        )  # fmt: skip
    return listed


def judged(
    *, train: pl.DataFrame, select: pl.DataFrame, found: Mapping[str, Any], task: Any, target: str, exclude: list[str],
    families: list[str],
) -> dict[str, Any]:  # fmt: skip
    """Choose among the leading candidates on the selection part, and say what that is worth."""
    from stellwerk.evidence.metrics import PROPER
    from stellwerk.evidence.statistics.paired import paired_mean_difference

    leading = [one["params"] for one in found["leading"]]
    models = [fit(params, train, target=target, task=task, exclude=exclude) for params in leading]
    models.append(fit({"family": "linear"}, train, target=target, task=task, exclude=exclude))
    each, constant = _losses(models, train, select, target=target, task=task)
    may = [n for n, params in enumerate(leading) if params["family"] in STORABLE] + [len(leading)]
    # A simpler model wins where it is as good: the linear one stands last, and is asked first.
    chosen = min(reversed(may), key=lambda n: float(each[n].mean()))
    apart = _held_out(each, may)
    linear = each[-1]
    better = paired_mean_difference(linear, apart, alpha=ALPHA)
    means = each.mean(axis=1)
    said = {
        "format": REPORT,
        "task": task,
        "loss": PROPER[task],
        "trials": found["trials"],
        "cross_validated": {"folds": FOLDS, "best": found["best"]["values"][0]},
        "chosen": {"params": leading[chosen] if chosen < len(leading) else {"family": "linear"}},
        "selected": {"rows": select.height, "value": float(means[chosen]), "note": "optimistic: it was chosen here"},
        "held_out": {"value": float(apart.mean()), "note": "each half judges what was chosen on the other"},
        "baselines": {"constant": float(constant.mean()), "linear": float(linear.mean())},
        "better_than_linear": {
            "by": better.estimate, "lower": better.lower, "upper": better.upper,
            "note": f"of the held-out value; each bound holds with {1 - ALPHA:.0%}",
        },
        "searched": families,
        "not_searched": _left_out(families),
    }  # fmt: skip
    others = [n for n in range(len(leading)) if n not in may]
    if others:
        best_other = min(others, key=lambda n: float(means[n]))
        said["cannot_be_released"] = {
            "params": leading[best_other],
            "value": float(means[best_other]),
            "note": "compared only: models of this family have no form here that can be released",
        }
    return {"model": models[chosen], "report": said}


def _losses(
    models: Sequence[Any], train: pl.DataFrame, select: pl.DataFrame, *, target: str, task: Any
) -> tuple[Any, Any]:
    """The loss of each model in each row of the selection part, and that of the best constant."""
    import numpy as np

    from stellwerk.evidence.metrics import PROPER, constant_scores, losses
    from stellwerk.models.fitting import class_indices
    from stellwerk.workspace.evaluating import scores_of

    signature = models[-1].signature
    labels = class_indices(signature, select.get_column(target))
    each = np.array([losses(PROPER[task], labels, scores_of(model, select)) for model in models])
    seen = class_indices(signature, train.get_column(target))
    constant = losses(PROPER[task], labels, constant_scores(task, seen, len(labels), len(signature.classes)))
    return each, constant


def _held_out(each: Any, may: Sequence[int]) -> Any:
    """The losses of what is chosen on the other half, by row."""
    import numpy as np

    halves = np.random.default_rng(0).permutation(each.shape[1]) % 2
    apart = np.empty(each.shape[1])
    for half in (0, 1):
        pick = min(reversed(may), key=lambda n: float(each[n][halves != half].mean()))
        apart[halves == half] = each[pick][halves == half]
    return apart


def _left_out(families: Sequence[str]) -> dict[str, str]:
    """The families that were not searched, and why."""
    said = dict.fromkeys((name for name in STORABLE if name not in families), "not asked for")
    for name, package in OTHERS.items():
        if name not in families:
            there = "installed, but" if find_spec(package) else "not installed, and"
            said[name] = f"{there} its models cannot be released"
    return said


def task_of_table(*, table: pl.DataFrame, target: str, task: str) -> str:
    """What kind of answer is sought."""
    from stellwerk.data.target import target_of, task_of

    return task or task_of(target_of(table, target))
