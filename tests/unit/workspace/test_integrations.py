"""Training frameworks log parameters, and metrics by the right steps. Each test runs where its framework is installed."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import textwrap
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import stellwerk as sw
from stellwerk.core.errors import Invalid
from stellwerk.tracking import rules
from stellwerk.tracking.model import Point, Run
from stellwerk.workspace import spelling
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.scribing import RunScribe
from stellwerk.workspace.settings import Settings

X = np.random.default_rng(0).normal(size=(64, 3))
Y = (X[:, 0] + X[:, 1] > 0).astype(int)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rooms:
    """A workspace in the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("STELLWERK_ROOT", raising=False)
    return Rooms(create(tmp_path, Settings(actor="anna")), Settings(actor="anna"))


def curve(rooms: Rooms, run: str, key: str) -> list[tuple[int, float]]:
    """Steps and values of a metric."""
    return [(point.step, point.value) for point in rooms.logbook.history(run, key)]


def runs(rooms: Rooms) -> list[Run]:
    """All there are, the newest first."""
    return [found.run for found in rooms.logbook.search([one.id for one in rooms.experiments.search(limit=10)])]


def only(rooms: Rooms) -> Run:
    """The only run there is."""
    (run,) = runs(rooms)
    return run


def needs(*packages: str) -> None:
    """Skip where one is not installed. None is loaded into this process."""
    for package in packages:
        if find_spec(package.partition(".")[0]) is None:
            pytest.skip(f"{package} is not installed")


# scikit-learn


def test_an_estimator_says_what_it_is(rooms: Rooms) -> None:
    """Class, parameters also of nested estimators, scores, and the curve of its iterations."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    network = MLPClassifier(hidden_layer_sizes=(4,), max_iter=5, random_state=0)
    model = make_pipeline(StandardScaler(), network).fit(X, Y)
    with sw.run(params={"memory": "mine"}) as run:
        sw.integrations.sklearn(model, training=(X, Y), test=(X[:10], Y[:10]))
        sw.integrations.sklearn(network)

    found = rooms.logbook.get(run.id).run
    assert "sklearn.neural_network._multilayer_perceptron.MLPClassifier" == found.tags["estimator_class"]
    assert ("StandardScaler", "5", "(4,)") == (
        found.params["standardscaler"],
        found.params["mlpclassifier__max_iter"],
        found.params["hidden_layer_sizes"],
    )
    assert "mine" == found.params["memory"]
    assert [(0, model.score(X, Y))] == curve(rooms, run.id, "training_score")
    assert [(0, model.score(X[:10], Y[:10]))] == curve(rooms, run.id, "test_score")
    assert list(enumerate(network.loss_curve_)) == curve(rooms, run.id, "loss_curve")
    assert "finished" == found.status


def test_a_search_says_what_it_tried(rooms: Rooms) -> None:
    """The best, and each candidate as a step; folds of a cross-validation with their mean."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, cross_validate

    search = GridSearchCV(LogisticRegression(), {"C": np.array([0.1, 1.0, 10.0])}, cv=3).fit(X, Y)
    folds = cross_validate(LogisticRegression(), X, Y, cv=3)
    sw.integrations.sklearn(search, cv=folds, experiment="delay", name="grid")

    run = only(rooms)
    assert ("grid", "delay", "finished") == (run.name, rooms.experiments.get(run.experiment).name, run.status)
    assert str(search.best_params_["C"]) == run.params["best_C"]
    assert [{"C": 0.1}, {"C": 1.0}, {"C": 10.0}] == json.loads(run.params["candidates"])
    assert list(enumerate(search.cv_results_["mean_test_score"])) == curve(rooms, run.id, "search/mean_test_score")
    assert list(enumerate(folds["test_score"])) == curve(rooms, run.id, "cv/test_score")
    assert pytest.approx(folds["test_score"].mean()) == curve(rooms, run.id, "cv/test_score_mean")[0][1]
    assert pytest.approx(folds["test_score"].std()) == curve(rooms, run.id, "cv/test_score_std")[0][1]


def test_an_estimator_that_cannot_be_scored_fails_the_run(rooms: Rooms) -> None:
    """The error is the estimator's own, and the run says that it failed."""
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(ValueError, match="not fitted"):
        sw.integrations.sklearn(LogisticRegression(), training=(X, Y))
    assert "failed" == only(rooms).status


# XGBoost


def test_xgboost(rooms: Rooms) -> None:
    """Rounds are steps, parameters are those of the booster, the best round is told."""
    xgboost = pytest.importorskip("xgboost")
    train, valid = xgboost.DMatrix(X[:48], Y[:48]), xgboost.DMatrix(X[48:], Y[48:])
    said: dict[str, Any] = {}
    with sw.run() as run:
        booster = xgboost.train(
            {
                "eta": 0.1,
                "max_depth": 2,
                "objective": "binary:logistic",
                "eval_metric": ["auc", "logloss"],
                "nthread": 1,
            },
            train,
            30,
            evals=[(train, "train"), (valid, "valid")],
            evals_result=said,
            early_stopping_rounds=2,
            callbacks=[sw.integrations.xgboost()],
            verbose_eval=False,
        )

    found = rooms.logbook.get(run.id).run
    assert ("0.1", "2", "binary:logistic", "gbtree") == (
        found.params["eta"],
        found.params["max_depth"],
        found.params["objective"],
        found.params["booster"],
    )
    assert ["auc", "logloss"] == json.loads(found.params["eval_metric"])
    for data, metric in (("train", "auc"), ("valid", "logloss")):
        assert list(enumerate(said[data][metric])) == curve(rooms, run.id, f"{data}/{metric}")
    assert [(booster.best_iteration, booster.best_score)] == curve(rooms, run.id, "best_score")


def test_xgboost_alone(rooms: Rooms) -> None:
    """Without a run it begins one for each training, and ends it; a cross-validation has means and deviations."""
    xgboost = pytest.importorskip("xgboost")
    callback = sw.integrations.xgboost(experiment="delay")
    model = xgboost.XGBClassifier(n_estimators=2, n_jobs=1, callbacks=[callback])
    model.fit(X, Y, eval_set=[(X, Y)], verbose=False)
    params = {"objective": "binary:logistic", "nthread": 1}
    table = xgboost.cv(params, xgboost.DMatrix(X, Y), 3, nfold=2, callbacks=[callback], as_pandas=False)

    cross, single = runs(rooms)
    assert ("finished", "finished") == (cross.status, single.status)
    assert [0, 1] == [step for step, _ in curve(rooms, single.id, "validation_0/logloss")]
    assert list(enumerate(table["test-logloss-mean"])) == curve(rooms, cross.id, "test/logloss")
    assert list(enumerate(table["test-logloss-std"])) == curve(rooms, cross.id, "test/logloss_std")


# LightGBM


def test_lightgbm(rooms: Rooms) -> None:
    """Rounds are steps, also where training stops early; a cross-validation has means and deviations."""
    lightgbm = pytest.importorskip("lightgbm")
    params = {"objective": "binary", "verbosity": -1, "num_threads": 1, "learning_rate": 0.3, "min_data_in_leaf": 2}
    train = lightgbm.Dataset(X[:48], Y[:48])
    valid, said = lightgbm.Dataset(X[48:], Y[48:], reference=train), dict[str, Any]()
    with sw.run() as run:
        lightgbm.train(
            params,
            train,
            60,
            valid_sets=[valid],
            callbacks=[
                lightgbm.early_stopping(2, verbose=False),
                lightgbm.record_evaluation(said),
                sw.integrations.lightgbm(),
            ],
        )
    with sw.run() as cross:
        data = lightgbm.Dataset(X, Y)
        table = lightgbm.cv(params, data, 3, nfold=2, callbacks=[sw.integrations.lightgbm()])

    assert ("0.3", "binary") == tuple(
        rooms.logbook.get(run.id).run.params[name] for name in ("learning_rate", "objective")
    )
    assert list(enumerate(said["valid_0"]["binary_logloss"])) == curve(rooms, run.id, "valid_0/binary_logloss")
    assert 60 > len(said["valid_0"]["binary_logloss"])
    assert list(enumerate(table["valid binary_logloss-mean"])) == curve(rooms, cross.id, "valid/binary_logloss")
    assert list(enumerate(table["valid binary_logloss-stdv"])) == curve(rooms, cross.id, "valid/binary_logloss_std")


def test_lightgbm_needs_a_run(rooms: Rooms) -> None:
    """It would not know when to end one of its own."""
    callback = sw.integrations.lightgbm()
    with pytest.raises(Invalid, match="there is no run to log to"):
        callback(_round({}))


@pytest.mark.parametrize(
    ("machines", "port", "logs"),
    [
        ("127.0.0.1:12400,127.0.0.1:12401", 12400, True),
        ("127.0.0.1:12400,127.0.0.1:12401", 12401, False),
        ("192.0.2.1:12400,127.0.0.1:12400", 12400, False),
    ],
)
def test_only_the_first_machine_of_lightgbm_logs(rooms: Rooms, machines: str, port: int, logs: bool) -> None:
    """It is the one whose address and port stand first in the list."""
    with sw.run() as run:
        sw.integrations.lightgbm()(_round({"machines": machines, "local_listen_port": port}))
    assert ([(0, 0.5)] if logs else []) == curve(rooms, run.id, "valid_0/auc")


def _round(params: dict[str, Any]) -> Any:
    """What LightGBM says after its first round."""
    return SimpleNamespace(
        params=params, iteration=0, begin_iteration=0, evaluation_result_list=[("valid_0", "auc", 0.5, True)]
    )


# Keras


def test_keras(rooms: Rooms) -> None:
    """Epochs are steps, batches where asked for; optimizer and loss are parameters."""
    needs("keras", "torch")
    printed = _script(
        textwrap.dedent("""
        import keras, numpy, stellwerk as sw
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
        model.compile(optimizer=keras.optimizers.Adam(0.01), loss="binary_crossentropy", metrics=["accuracy"])
        x = numpy.random.default_rng(0).normal(size=(64, 3)); y = (x[:, 0] > 0).astype("float32")
        with sw.run() as run:
            told = model.fit(x, y, validation_split=0.5, epochs=3, batch_size=8, verbose=0,
                             callbacks=[sw.integrations.keras(every=2)])
        print(json.dumps({"run": run.id, "history": told.history}))
        """),
        KERAS_BACKEND="torch",
    )
    shown = json.loads(printed)
    found = rooms.logbook.get(shown["run"]).run
    assert ("Adam", "0.01", "0.999", "binary_crossentropy", "4", "3") == tuple(
        found.params[name]
        for name in ("optimizer", "optimizer/learning_rate", "optimizer/beta_2", "loss", "parameters", "epochs")
    )
    for key in ("loss", "val_loss", "accuracy", "val_accuracy"):
        assert list(enumerate(shown["history"][key])) == curve(rooms, shown["run"], key)
    assert [1, 3, 5, 7, 9, 11] == [step for step, _ in curve(rooms, shown["run"], "batch/loss")]


# Lightning


MODULE = """
import torch, {package} as L, stellwerk as sw
from torch.utils.data import DataLoader, TensorDataset

class Net(L.LightningModule):
    def __init__(self, rate=0.1, layers=None):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Linear(3, 2)
    def training_step(self, batch, index):
        loss = torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss)
        return loss
    def validation_step(self, batch, index):
        self.log("val/loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))
    def test_step(self, batch, index):
        self.log("test/loss", torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1]))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.rate)

torch.manual_seed(0)
x = torch.randn(32, 3)
data = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=8)

def trainer(logger, **more):
    return L.Trainer(max_epochs=2, accelerator="cpu", logger=logger, log_every_n_steps=2, enable_progress_bar=False,
                     enable_model_summary=False, enable_checkpointing=False, **more)
"""


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_lightning(rooms: Rooms, package: str) -> None:
    """Hyperparameters, and what the module logs by its own steps; `test` goes to the same run as `fit`."""
    needs(package)
    _script(
        MODULE.format(package=package)
        + textwrap.dedent("""
        training = trainer(sw.integrations.lightning(experiment="delay", name="net"))
        model = Net(layers={"width": 4})
        training.fit(model, data, data)
        training.test(model, data, verbose=False)
        """)
    )
    run = only(rooms)
    assert ("net", "finished") == (run.name, run.status)
    assert ("0.1", "4") == (run.params["rate"], run.params["layers/width"])
    assert [1, 3, 5, 7] == [step for step, _ in curve(rooms, run.id, "loss")]
    assert [3, 7] == [step for step, _ in curve(rooms, run.id, "val/loss")]
    assert [8] == [step for step, _ in curve(rooms, run.id, "test/loss")]


def test_lightning_with_several_processes(rooms: Rooms) -> None:
    """Only the process of rank zero logs, and the run is ended before it goes."""
    needs("lightning")
    script = MODULE.format(package="lightning.pytorch") + (
        "\nif __name__ == '__main__':\n"
        "    trainer(sw.integrations.lightning(), strategy='ddp_spawn', devices=2).fit(Net(), data, data)\n"
    )
    Path("train.py").write_text(script, "utf-8")
    subprocess.run([sys.executable, "train.py"], check=True, capture_output=True)
    run = only(rooms)
    assert "finished" == run.status
    assert [1, 3] == [step for step, _ in curve(rooms, run.id, "loss")]


def test_lightning_that_fails(rooms: Rooms) -> None:
    """The run says so."""
    needs("lightning")
    _script(
        MODULE.format(package="lightning.pytorch")
        + textwrap.dedent("""
        class Broken(Net):
            def training_step(self, batch, index):
                raise ValueError("no")
        try:
            trainer(sw.integrations.lightning()).fit(Broken(), data)
        except ValueError:
            pass
        """)
    )
    assert "failed" == only(rooms).status


# Transformers


def test_transformers(rooms: Rooms) -> None:
    """The trainer's logs by global step, its arguments, and what `evaluate` says after training."""
    needs("transformers", "accelerate", "torch")
    _script(
        textwrap.dedent("""
        import torch, stellwerk as sw
        from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments
        class Data(torch.utils.data.Dataset):
            def __len__(self): return 16
            def __getitem__(self, i):
                return {"input_ids": torch.tensor([1, i % 5, 3]), "labels": torch.tensor(i % 2)}
        config = BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
        args = TrainingArguments(output_dir="out", num_train_epochs=2, per_device_train_batch_size=4, logging_steps=2,
                                 eval_strategy="epoch", report_to="none", use_cpu=True, disable_tqdm=True,
                                 save_strategy="no")
        trainer = Trainer(model=BertForSequenceClassification(config), args=args, train_dataset=Data(),
                          eval_dataset=Data(), callbacks=[sw.integrations.transformers(name="bert")],
                          compute_metrics=lambda both: {"f1 (macro)": 0.5})
        trainer.train()
        trainer.evaluate()
        """)
    )
    run = only(rooms)
    assert ("bert", "finished") == (run.name, run.status)
    assert ("2", "4", "8") == tuple(
        run.params[name] for name in ("num_train_epochs", "per_device_train_batch_size", "hidden_size")
    )
    assert [2, 4, 6, 8] == [step for step, _ in curve(rooms, run.id, "loss")]
    assert [4, 8, 8] == [step for step, _ in curve(rooms, run.id, "eval_loss")]
    assert [4, 8, 8] == [step for step, _ in curve(rooms, run.id, "eval_f1 _macro_")]


# What all of them share


def test_what_a_framework_says_is_made_fit_for_a_run(rooms: Rooms) -> None:
    """Names, 32-bit numbers, and values of any kind; what the script said itself stays."""
    with sw.run(params={"epochs": 3}) as run:
        scribe = RunScribe()
        scribe.params(
            {
                "epochs": 4,
                "rate": float(np.float32(0.1)),
                "f(x)": {1: "a"},
                "f[x]": "b",
                "self": 0,
                "../up": 1,
                "": 1,
                "long": "x" * 70_000,
            }
        )
        scribe.params(
            {
                "set": {1},
                "mixed": {1: "a", "b": 2},
                "nan": float("nan"),
                "huge": 1e300,
                "none": None,
                "code": [print, object()],
            }
        )
        scribe.log({"a": np.float32(0.5), "b": np.array([1, 2]), "c": "no", "d": None, "e": True, "": 1}, 3)

    assert {
        "epochs": "3",
        "rate": "0.1",
        "f_x_": '{"1": "a"}',
        "_up": "1",
        "self": "0",
        "set": "{1}",
        "mixed": "{1: 'a', 'b': 2}",
        "nan": "nan",
        "huge": "1e+300",
        "none": "None",
        "code": "[<built-in function print>, <object object>]",
    } == rooms.logbook.get(run.id).run.params
    assert {("a", 0.5), ("e", 1.0)} == {(one.key, one.value) for one in rooms.logbook.get(run.id).metrics}


@given(name=st.text())
def test_any_name_is_made_one_that_a_run_takes(name: str) -> None:
    """Or none; a name that was one stays."""
    made = spelling.key(name)
    if made:
        rules.check_points([Point(made, 0.0, 0)])
    assert made == spelling.key(made)


@given(value=st.floats(width=32) | st.floats())
def test_a_number_is_spelled_as_it_was_typed(value: float) -> None:
    """What is read back is the same number; of 32 bits where it had no more."""
    back = float(spelling.spelled(value))
    with np.errstate(over="ignore"):
        short, again = np.float32(value), np.float32(back)
    assert np.array_equal(short, again, equal_nan=True)
    assert float(short) == value or back == value or np.isnan(value)


def test_a_run_that_is_given_comes_first(rooms: Rooms) -> None:
    """Then the innermost of this process; that of another one is none. It can be copied, and sent."""
    with sw.run() as outer, sw.run() as inner:
        assert outer is RunScribe(outer).run
        assert inner is RunScribe().run
        assert outer is copy.deepcopy(RunScribe(outer)).run
        scribe = pickle.loads(pickle.dumps(RunScribe(outer)))
        assert inner is scribe.run
        child = os.fork()
        if child == 0:
            with suppress(Exception):
                os._exit(int(RunScribe().run in (outer, inner)))
            os._exit(2)
        assert (child, 0) == os.waitpid(child, 0)
        scribe.log({"loss": 1.0}, 5)
    assert [(5, 1.0)] == curve(rooms, inner.id, "loss")


def test_an_own_run_that_somebody_ended_is_followed_by_another(rooms: Rooms) -> None:
    """As a notebook does between two trainings."""
    scribe = RunScribe(name="first")
    scribe.log({"loss": 1.0}, 0)
    first = scribe.run
    first.finish()
    scribe.log({"loss": 2.0}, 0)
    scribe.end()
    assert [[(0, 2.0)], [(0, 1.0)]] == [curve(rooms, run.id, "loss") for run in runs(rooms)]
    assert first.id == runs(rooms)[1].id


def test_training_that_broke_off_has_failed(rooms: Rooms) -> None:
    """A framework does not say that it raised; the next training does, but not of one that only rests."""
    scribe = RunScribe()
    scribe.begin()
    scribe.begin()
    scribe.rest()
    scribe.begin()
    scribe.end()

    assert ["finished", "finished", "failed"] == [run.status for run in runs(rooms)]


@pytest.mark.parametrize("name", ["xgboost", "keras", "lightning", "transformers"])
def test_a_framework_that_is_not_there_is_named(name: str) -> None:
    """With what to install."""
    printed = _script(
        f"import sys, stellwerk as sw\n"
        f"sys.modules[{name!r}] = sys.modules['lightning_utilities'] = None\n"
        f"try: sw.integrations.{name}()\n"
        f"except sw.Unavailable as missing: print(missing.code, missing.hint)"
    )
    assert f"missing-package pip install {name}\n" == printed


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    """Neither by the package nor by the module of integrations."""
    code = (
        "import sys, stellwerk, stellwerk.integrations\n"
        "heavy = {'xgboost', 'lightgbm', 'keras', 'torch', 'lightning', 'transformers', 'sklearn', 'numpy', 'psutil'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert "[]\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def _script(code: str, **environment: str) -> str:
    """Run a script in a process of its own, in the current folder. Returns what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", "import json\n" + code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout
