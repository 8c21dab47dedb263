"""The project folder that `ship` generates: two files that belong to the user from then on."""

from __future__ import annotations

from dataclasses import dataclass

GOALS = {
    "binary": ("auroc", "floor", 0.60, 0.02),
    "multiclass": ("accuracy", "floor", 0.50, 0.02),
    "regression": ("r2", "floor", 0.05, 0.05),
}
"""Metric, kind of limit, its first value and the margin; for the owner to change."""

MODELS = {
    "binary": ("HistGradientBoostingClassifier", "LogisticRegression(max_iter=2000)"),
    "multiclass": ("HistGradientBoostingClassifier", "LogisticRegression(max_iter=2000)"),
    "regression": ("HistGradientBoostingRegressor", "Ridge()"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody asked to have shipped."""

    name: str
    target: str
    task: str
    owner: str
    rows: int
    time: str = ""
    entity: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    floor: float | None = None
    automl: str = ""
    """How much may be spent on a search for a model: a number of trials or a time; empty for no search."""

    @property
    def budget(self) -> int | str:
        """The same as `sw.automl` takes it."""
        return int(self.automl) if self.automl.isdecimal() else self.automl


def project(order: Order) -> str:
    """`stellwerk.toml`."""
    metric, kind, value, margin = GOALS[order.task]
    limit = value if order.floor is None else order.floor
    slices = (
        f"""
[endpoint.{order.name}.slices]
by = [{", ".join(map(_quoted, order.slices))}]
{metric} = {{ {kind} = {limit:g} }}
unproven = "human"              # cases of a slice without proof go to people
"""
        if order.slices
        else ""
    )
    return f"""\
# One business decision. Written by `stellwerk ship`; the numbers are yours to change.
[project]
name = {_quoted(order.name)}
pipeline = "pipeline.py"

[endpoint.{order.name}]
purpose = {_quoted(f"What is {order.target}?")}
owner = {_quoted(order.owner)}
risk = "limited"                # minimal | limited | high: how long a release may last, and what it needs
policy = ["base@1", "leakage@1"]
fallback = "refuse"             # previous | human | refuse: after the lease
label_delay = "1d"              # when the true answer is known
traffic_per_day = 1000

[endpoint.{order.name}.goal]
{metric} = {{ {kind} = {limit:g}, margin = {margin:g} }}
latency_p99_ms = {{ ceiling = 200 }}
{slices}
[endpoint.{order.name}.lease]
max = "30d"

[endpoint.{order.name}.steering]
audit = "auto"                  # the share of answers that people check, from the labels a renewal needs
"""


def pipeline(order: Order) -> str:
    """`pipeline.py`."""
    skipped = [*([order.time] if order.time else []), *order.entity, *order.exclude]
    name = order.name.replace("-", "_").replace(".", "_")
    summary = "a search for a model" if order.automl else "two kinds of model"
    ending = _SEARCHED.format(budget=order.budget) if order.automl else _COMPARED
    return f'''\
"""{order.name}: from a table to a proven model. Written by `stellwerk ship`; yours to edit."""

import polars as pl

import stellwerk as sw

NAME, TARGET, TASK = {order.name!r}, {order.target!r}, {order.task!r}
NOT_INPUTS = {skipped!r}

{_simple(order)}{"" if order.automl else _boosted(order)}
@sw.pipeline(name=NAME)
def {name if name.isidentifier() else "train_and_prove"}():
    """Contract, split without leaks, {summary}, and a gate set nobody has seen."""
    table = sw.contract(NAME)(sw.dataset(NAME))
    parts = sw.split(table, target=TARGET, time={order.time!r}, entity={list(order.entity)!r}, exclude=NOT_INPUTS)
    sw.gate(parts["gate"], name=NAME, target=TARGET, task=TASK)
{ending}'''


_COMPARED = """\
    return sw.evaluate(boosted(parts["train"]), parts["select"], baseline=simple(parts["train"]))
"""
_SEARCHED = """\
    found = sw.automl(
        parts["train"], select=parts["select"], target=TARGET, task=TASK, exclude=NOT_INPUTS, budget={budget!r}
    )
    chosen = sw.evaluate(found["model"], parts["select"], baseline=simple(parts["train"]))
    return {{"model": chosen, "report": found["report"]}}
"""


def _simple(order: Order) -> str:
    simple, beats = MODELS[order.task][1], "the search" if order.automl else "the boosted one"
    return f'''
@sw.step(kind="train")
def simple(table: pl.DataFrame) -> sw.Model:
    """A linear model: what {beats} has to beat."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import {simple.partition("(")[0]}
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    line = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), {simple})
    return sw.fit(line, table, target=TARGET, task=TASK, exclude=NOT_INPUTS)

'''


def _boosted(order: Order) -> str:
    boosted = MODELS[order.task][0]
    # A leaf needs few rows where there are few: the default of 20 would leave small tables without a tree.
    leaf = 20 if order.rows >= 2000 else 5
    return f'''
@sw.step(kind="train", seeds=3)
def boosted(table: pl.DataFrame, seed: int = 0) -> sw.Model:
    """Gradient boosting; each seed draws its own columns."""
    from sklearn.ensemble import {boosted}

    trees = {boosted}(
        max_iter=100, max_features=0.8, min_samples_leaf={leaf}, early_stopping=False, random_state=seed
    )
    return sw.fit(trees, table, target=TARGET, task=TASK, exclude=NOT_INPUTS)

'''


def _quoted(text: str) -> str:
    """A TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
