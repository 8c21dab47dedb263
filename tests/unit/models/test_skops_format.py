"""Portable models: equal predictions after a round trip, equal bytes for equal models, and nothing that runs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import stellwerk
from stellwerk.core import canonical, digest
from stellwerk.core.errors import Invalid, Refused
from stellwerk.models import archive, rules
from stellwerk.models.adapters import skops_format
from stellwerk.models.tabular import TabularModel

SOURCE = str(Path(stellwerk.__file__).parents[1])
Rows = NDArray[np.float64]
Wrap = Callable[[Any], TabularModel]


def two(rows: Rows) -> Any:
    return (np.nan_to_num(rows[:, 0]) + (rows[:, 4] == 2) > 0).astype(int)


def three(rows: Rows) -> Any:
    return np.array(["low", "mid", "high"])[np.digitize(rows[:, 0], [-0.5, 0.5])]


def columns() -> Any:
    return ColumnTransformer(
        [("one hot", OneHotEncoder(handle_unknown="ignore"), [4]), ("fill", SimpleImputer(), slice(0, 3))],
        remainder="drop",
    )


ESTIMATORS: dict[str, Callable[[Rows], Any]] = {
    "boosting of two classes": lambda x: HistGradientBoostingClassifier(
        categorical_features=[4], max_iter=8, random_state=0
    ).fit(x, two(x)),
    "boosting of three classes": lambda x: HistGradientBoostingClassifier(
        categorical_features=[4], max_iter=8, random_state=0
    ).fit(x, three(x)),
    "boosting of booleans with early stopping": lambda x: HistGradientBoostingClassifier(
        max_iter=8, early_stopping=True, random_state=0
    ).fit(x, two(x).astype(bool)),
    "boosting of values": lambda x: HistGradientBoostingRegressor(max_iter=8, random_state=0).fit(x, x[:, 0]),
    "boosting of quantiles": lambda x: HistGradientBoostingRegressor(
        loss="quantile", quantile=0.3, max_iter=8, random_state=0
    ).fit(x, x[:, 0]),
    "linear pipeline": lambda x: make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(
        x, two(x)
    ),
    "columns": lambda x: make_pipeline(columns(), LogisticRegression(max_iter=500)).fit(x, three(x)),
    "prior": lambda x: DummyClassifier().fit(x, three(x)),
    "mean": lambda x: DummyRegressor().fit(x, x[:, 0]),
    "ridge": lambda x: make_pipeline(SimpleImputer(), Ridge()).fit(x, x[:, 0]),
    "counts": lambda x: make_pipeline(SimpleImputer(), PoissonRegressor()).fit(x, np.abs(x[:, 0])),
    "forest": lambda x: RandomForestClassifier(4, random_state=0).fit(x, three(x)),
    "extra trees": lambda x: ExtraTreesRegressor(3, random_state=0).fit(x, x[:, 0]),
    "pruned tree": lambda x: DecisionTreeClassifier(ccp_alpha=0.01, random_state=0).fit(x, two(x)),
    "calibrated boosting": lambda x: CalibratedClassifierCV(
        HistGradientBoostingClassifier(max_iter=4, random_state=0), method="isotonic", cv=2
    ).fit(x, two(x)),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_a_model_answers_the_same_after_a_round_trip(name: str, rows: Rows, model_of: Wrap) -> None:
    """Loading gives a model with equal answers, signature and bytes."""
    model = model_of(ESTIMATORS[name](rows))

    files = skops_format.save(model)
    again = skops_format.load(files)

    table = {f"c{i}": rows[:, i] for i in range(5)}
    np.testing.assert_array_equal(model.predict(table), again.predict(table))
    if model.signature.task != "regression":
        np.testing.assert_array_equal(model.predict_proba(table), again.predict_proba(table))
    assert model.signature == again.signature
    assert files == skops_format.save(again)


_TRAIN = """
import sys, numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from stellwerk.core import digest
from stellwerk.models.adapters import skops_format
from stellwerk.models.model import Column, Signature
from stellwerk.models.tabular import TabularModel
x = np.random.default_rng(1).normal(size=(200, 2)); x[:, 1] = x[:, 1].round()
signature = Signature(inputs=(Column(name="a", kind="number"), Column(name="b", kind="number")),
                      target="y", task="binary", classes=("no", "yes"))
for kind in (HistGradientBoostingClassifier(max_iter=5, random_state=0, categorical_features=[1]),
             RandomForestClassifier(3, random_state=0)):
    estimator = kind.fit(x, np.where(x[:, 0] > 0, "yes", "no"))
    files = skops_format.save(TabularModel(estimator=estimator, signature=signature))
    print(digest.of_bytes(files["model.skops"]), digest.of_bytes(files["model.json"]))
"""


def test_equal_models_of_two_processes_have_equal_digests() -> None:
    """No memory address, hash seed, clock or uninitialised byte gets into the files."""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", _TRAIN],
            env={"PYTHONPATH": SOURCE, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]

    assert outputs[0] == outputs[1]
    assert 4 == len(outputs[0])


def test_another_model_has_another_digest(rows: Rows, model_of: Wrap) -> None:
    """The digest is about the content."""
    digests = {
        digest.of_bytes(skops_format.save(model_of(ESTIMATORS[name](rows)))["model.skops"]) for name in ESTIMATORS
    }

    assert len(ESTIMATORS) == len(digests)


def test_every_trusted_type_exists() -> None:
    """A name on the list that no library has would be a hole for whoever can provide it."""
    import importlib

    for name in rules.TRUSTED:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize(
    "estimator",
    [
        lambda x: make_pipeline(FunctionTransformer(json.dumps), Ridge()),
        lambda x: GradientBoostingClassifier(n_estimators=2).fit(np.nan_to_num(x), two(x)),
        lambda x: HistGradientBoostingClassifier(max_iter=2, random_state=np.random.RandomState(0)).fit(x, two(x)),
    ],
)
def test_what_could_not_be_loaded_is_not_saved(estimator: Any, rows: Rows) -> None:
    """The author of a model learns at once that it is not portable."""

    class Bare(TabularModel):
        def __init__(self, estimator: Any) -> None:
            self.estimator = estimator

    with pytest.raises(Refused) as caught:
        skops_format.save(Bare(estimator(rows)))

    assert "untrusted-type" == caught.value.code


def craft(files: dict[str, bytes], change: Callable[[dict[str, Any]], None]) -> dict[str, bytes]:
    """The files of a model whose schema was changed by hand."""
    members = archive.read(files["model.skops"])
    root = json.loads(members["schema.json"])
    change(root)
    return {**files, "model.skops": archive.write({**members, "schema.json": json.dumps(root).encode()})}


@pytest.fixture(scope="module")
def pipeline_files(rows: Rows, model_of: Wrap) -> dict[str, bytes]:
    return skops_format.save(model_of(ESTIMATORS["linear pipeline"](rows)))


def evil(loader: str, module: str, name: str, **more: Any) -> dict[str, Any]:
    return {"__loader__": loader, "__module__": module, "__class__": name, **more}


EMPTY_TUPLE = evil("TupleNode", "builtins", "tuple", content=[])


@pytest.mark.parametrize(
    ("node", "named"),
    [
        (evil("FunctionNode", "os", "system"), "os.system"),
        (evil("TypeNode", "subprocess", "Popen"), "subprocess.Popen"),
        (evil("ObjectNode", "subprocess", "Popen"), "subprocess.Popen"),
        (evil("ConstructorFromReduceNode", "builtins", "eval", content=EMPTY_TUPLE), "builtins.eval"),
        (evil("OperatorFuncNode", "operator", "methodcaller", attrs=EMPTY_TUPLE), "operator.methodcaller"),
        (evil("MethodNode", "sklearn.pipeline", "Pipeline", content={}), "sklearn.pipeline.Pipeline (MethodNode)"),
        (evil("TypeNode", "sklearn.pipeline", "Pipeline"), "sklearn.pipeline.Pipeline"),
        (evil("DictNode", "sklearn.pipeline", "Pipeline"), "sklearn.pipeline.Pipeline"),
        (evil("ObjectNode", "sklearn.neighbors._kd_tree", "KDTree"), "sklearn.neighbors._kd_tree.KDTree"),
    ],
)
def test_types_outside_the_list_are_refused_by_name(
    node: dict[str, Any], named: str, pipeline_files: dict[str, bytes]
) -> None:
    """A trusted name in a place where it would be called is refused as well."""

    def plant(root: dict[str, Any]) -> None:
        root["content"]["content"]["memory"] = node

    with pytest.raises(Refused) as caught:
        skops_format.load(craft(pipeline_files, plant))

    assert "untrusted-type" == caught.value.code
    assert named in caught.value.message


def plant_cycle(root: dict[str, Any]) -> None:
    root["content"]["__id__"] = 1
    root["content"]["content"]["memory"] = {**root["content"], "content": {}, "__id__": 1}


def plant_twin(root: dict[str, Any]) -> None:
    root["content"]["content"]["memory"] = evil("ListNode", "builtins", "list", content=[], __id__=9)
    root["content"]["content"]["verbose"] = evil("ListNode", "builtins", "list", content=[EMPTY_TUPLE], __id__=9)


@pytest.mark.parametrize(
    "change",
    [
        plant_cycle,
        plant_twin,
        lambda root: root.update(protocol=1),
        lambda root: root.update(protocol=True),
        lambda root: root.pop("_skops_version"),
        lambda root: root.update(extra=1),
        lambda root: root["content"]["content"].update(memory=7),
        lambda root: root["content"]["content"].pop("memory"),
        lambda root: root["content"]["content"].update(
            memory=evil("NdArrayNode", "numpy", "ndarray", type="numpy", file="no.npy")
        ),
        lambda root: root["content"]["content"].update(
            memory=evil("JsonNode", "builtins", "str", content="[1]", is_json=True)
        ),
    ],
)
def test_a_schema_that_cannot_be_read_completely_is_refused(change: Any, pipeline_files: dict[str, bytes]) -> None:
    """Cycles, twins, old protocols, unknown fields, missing members: never repaired."""
    with pytest.raises(Refused) as caught:
        skops_format.load(craft(pipeline_files, change))

    assert "unreadable-schema" == caught.value.code


def test_a_member_that_belongs_to_nothing_is_refused(pipeline_files: dict[str, bytes]) -> None:
    """Nothing rides along in an archive."""
    members = archive.read(pipeline_files["model.skops"])
    extra = archive.write({**members, "more.npy": next(v for k, v in members.items() if k.endswith(".npy"))})

    with pytest.raises(Refused, match="belongs to nothing"):
        skops_format.load({**pipeline_files, "model.skops": extra})


def nodes_of(estimator: Any) -> Any:
    return estimator._predictors[0][0].nodes


def far_feature(estimator: Any) -> None:
    nodes_of(estimator)["feature_idx"][0] = 10**6


def far_child(estimator: Any) -> None:
    nodes_of(estimator)["left"][0] = 10**6


def endless(estimator: Any) -> None:
    nodes_of(estimator)["left"][0] = 0


def far_set(estimator: Any) -> None:
    nodes_of(estimator)["is_categorical"][0] = 1
    nodes_of(estimator)["bitset_idx"][0] = 10**6


def no_nodes(estimator: Any) -> None:
    estimator._predictors[0][0].nodes = nodes_of(estimator)[:0]


def narrow_bins(estimator: Any) -> None:
    estimator._bin_mapper.is_categorical_ = estimator._bin_mapper.is_categorical_[:1]


@pytest.mark.parametrize("damage", [far_feature, far_child, endless, far_set, no_nodes, narrow_bins])
def test_trees_that_point_outside_are_refused(damage: Callable[[Any], None], rows: Rows, model_of: Wrap) -> None:
    """scikit-learn would follow such an index into any memory; only trusted types are in this file."""
    estimator = ESTIMATORS["boosting of two classes"](rows)
    damage(estimator)

    with pytest.raises(Refused) as caught:
        skops_format.load(skops_format.save(model_of(estimator)))

    assert "unsafe-index" == caught.value.code


@pytest.mark.parametrize("field", ["feature", "children_left", "children_right"])
@pytest.mark.parametrize("name", ["pruned tree", "forest"])
def test_decision_trees_that_point_outside_are_refused(name: str, field: str, rows: Rows, model_of: Wrap) -> None:
    """The same for single trees and forests."""
    estimator = ESTIMATORS[name](rows)
    tree = (estimator.estimators_[-1] if name == "forest" else estimator).tree_
    getattr(tree, field)[0] = 10**6

    with pytest.raises(Refused) as caught:
        skops_format.load(skops_format.save(model_of(estimator)))

    assert "unsafe-index" == caught.value.code


def test_a_tree_with_more_outputs_than_its_array_is_refused_before_it_is_built(rows: Rows, model_of: Wrap) -> None:
    """Its constructor would copy beyond the array."""
    files = skops_format.save(model_of(ESTIMATORS["pruned tree"](rows)))

    def grow(root: dict[str, Any]) -> None:
        root["content"]["content"]["tree_"]["__reduce__"]["args"]["content"][2]["content"] = "1000000"

    with pytest.raises(Refused, match="read beyond its array"):
        skops_format.load(craft(files, grow))


def test_a_raw_skops_file_with_an_evil_type_is_refused(pipeline_files: dict[str, bytes]) -> None:
    """Also when skops itself wrote the file."""
    raw = skops.io.dumps(make_pipeline(FunctionTransformer(eval), Ridge()))

    with pytest.raises(Refused) as caught:
        skops_format.load({**pipeline_files, "model.skops": raw})

    assert "untrusted-type" == caught.value.code
    assert "builtins.eval" in caught.value.message


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"format": "stellwerk-tabular/2"}, "invalid-model"),
        ({"extra": 1}, "invalid-model"),
        ({"task": "regression"}, "invalid-model"),
        ({"estimator": "sklearn.linear_model._ridge.Ridge"}, "invalid-model"),
        ({"signature": {}}, "invalid-model"),
        ({"libraries": {"scikit-learn": "0.1.0"}}, "library-mismatch"),
    ],
)
def test_the_document_must_be_exactly_what_is_expected(
    change: dict[str, Any], code: str, pipeline_files: dict[str, bytes]
) -> None:
    """A document that says more, less or other than the estimator is refused."""
    document = {**canonical.loads(pipeline_files["model.json"]), **change}

    with pytest.raises((Invalid, Refused)) as caught:
        skops_format.load({**pipeline_files, "model.json": canonical.dumps(document)})

    assert code == caught.value.code


def test_both_files_and_no_others_are_needed(pipeline_files: dict[str, bytes]) -> None:
    """A file that nobody reads is a place to hide something."""
    for files in ({"model.skops": pipeline_files["model.skops"]}, {**pipeline_files, "extra.txt": b""}):
        with pytest.raises(Invalid) as caught:
            skops_format.load(files)
        assert "invalid-model" == caught.value.code
