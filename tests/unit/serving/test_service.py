"""What callers of an endpoint can rely on: the signal decides, the bytes are those released, the log comes first."""

from __future__ import annotations

import math
import random
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stellwerk.core.digest import hex_of
from stellwerk.core.errors import Corrupt, Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.serving import codec
from stellwerk.serving.model import LIMITS, PredictionBatch
from stellwerk.testing.serving import ENDPOINT, NUMERIC, ROW, SIGNATURE, START, CountedDraws, Stage, tiny_model

TWO_ROWS: dict[str, list[Any]] = {"distance": [500, 2500.5], "carrier": ["AA", "OO"], "weekend": [False, None]}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


class MemoryLog:
    def __init__(self, error: StellwerkError | None = None) -> None:
        self.records: list[PredictionBatch] = []
        self._error = error

    def append(self, record: PredictionBatch) -> None:
        if self._error:
            raise self._error
        self.records.append(record)

    def check(self) -> None:
        if self._error:
            raise self._error


def logged(stage: Stage) -> list[PredictionBatch]:
    return [codec.unpack(payload) for payload in stage.spool.unsealed()]


def test_without_a_token_the_endpoint_refuses_and_logs_nothing(stage: Stage) -> None:
    """Dark means stop, and no model is even loaded."""
    with pytest.raises(Refused) as refusal:
        stage.server.predict(ROW)

    assert "signal-stop" == refusal.value.code
    assert "no lease token" in refusal.value.message
    assert [] == logged(stage)
    assert [] == stage.models.loads


def test_a_clear_signal_answers_and_names_model_release_and_prediction(stage: Stage) -> None:
    """Each answer says who gave it."""
    stage.release()

    answer = stage.server.predict(TWO_ROWS, ["a", None])

    assert ("clear", stage.model, "release-1") == (answer.signal, answer.model, answer.release)
    assert [f"{answer.id}-0", f"{answer.id}-1"] == [row.id for row in answer.answers]
    assert ["no", "yes"] == [row.prediction for row in answer.answers]
    assert [2, 2] == [len(row.scores) for row in answer.answers]


def test_what_is_logged_is_what_was_asked_and_answered(stage: Stage) -> None:
    """Inputs after coercion, the score of the second class, the answers, the keys, the audit share."""
    stage.release()

    answer = stage.server.predict(TWO_ROWS, ["a", None])

    (batch,) = logged(stage)
    expected = {"distance": (500.0, 2500.5), "carrier": ("AA", "OO"), "weekend": (False, None)}
    assert expected == batch.columns
    assert tuple(row.scores[1] for row in answer.answers) == batch.scores
    assert (answer.predictions, ("a", None), 0.1) == (batch.answers, batch.keys, batch.audit_share)
    assert (answer.id, START, "ws", ENDPOINT, 2) == (batch.id, batch.at, batch.workspace, batch.endpoint, batch.count)


def test_a_prediction_that_cannot_be_logged_is_not_answered(tmp_path: Path) -> None:
    """Law 7: durable first."""
    stage = Stage(tmp_path, log=MemoryLog(Unavailable("the disk is full", code="disk-full")))
    stage.release()

    with pytest.raises(Unavailable):
        stage.server.predict(ROW)


def test_a_token_serves_until_it_ends_while_the_control_plane_is_down(stage: Stage) -> None:
    """The control plane is not in the path of a prediction; but what it gave ends."""
    stage.release()
    stage.server.predict(ROW)
    stage.tokens.down = True

    stage.clock.move(timedelta(minutes=14, seconds=59))
    assert "clear" == stage.server.predict(ROW).signal
    stage.clock.move(timedelta(seconds=1))

    with pytest.raises(Refused, match="has ended"):
        stage.server.predict(ROW)


def test_no_release_any_more_is_stop_at_once(stage: Stage) -> None:
    """A control plane that says "nothing" is believed, although the old token has not ended."""
    stage.release()
    stage.server.predict(ROW)
    stage.tokens.envelope = None

    with pytest.raises(Refused):
        stage.server.predict(ROW)
    stage.tokens.down = True
    with pytest.raises(Refused):
        stage.server.predict(ROW)


def test_a_clock_before_the_token_is_stop(stage: Stage) -> None:
    """Not yet valid is not valid, also for a token that was accepted before."""
    stage.release()
    stage.server.predict(ROW)
    stage.clock.move(timedelta(seconds=-1))

    with pytest.raises(Refused, match="not yet"):
        stage.server.predict(ROW)


def test_caution_answers_and_says_so_on_every_row(stage: Stage) -> None:
    """Caution is shown to the caller and in the log; the prediction is still returned."""
    stage.release(caution="drift in distance")

    answer = stage.server.predict(TWO_ROWS)

    assert ("caution", "drift in distance") == (answer.signal, answer.why)
    assert ["caution: drift in distance"] * 2 == [row.steered for row in answer.answers]
    assert ["no", "yes"] == [row.prediction for row in answer.answers]
    assert ["", ""] == [row.case for row in answer.answers]
    assert {0: "caution", 1: "caution"} == {row: steer.kind for row, steer in logged(stage)[0].steered.items()}


def test_a_slice_without_proof_goes_to_people_and_its_score_stays_in_the_log(stage: Stage) -> None:
    """The caller gets no automatic prediction for it."""
    stage.release(routed=(("carrier", "OO"),))

    answer = stage.server.predict(TWO_ROWS)

    first, second = answer.answers
    assert ("no", "", "") == (first.prediction, first.steered, first.case)
    assert (None, (), "slice carrier=OO", "review") == (second.prediction, second.scores, second.steered, second.case)
    (batch,) = logged(stage)
    assert ("no", None) == batch.answers
    assert isinstance(batch.scores[1], float)


def test_stop_with_the_fallback_human_steers_every_row(tmp_path: Path) -> None:
    """People decide; no model is asked, and the inputs are in the log for them."""
    stage = Stage(tmp_path, fallback="human")

    answer = stage.server.predict(TWO_ROWS)

    assert ("stop", "", (None, None)) == (answer.signal, answer.model, answer.predictions)
    assert ["stop: no lease token"] * 2 == [row.steered for row in answer.answers]
    assert ["review"] * 2 == [row.case for row in answer.answers]
    assert [] == stage.models.loads
    (batch,) = logged(stage)
    assert ((None, None), ("AA", "OO")) == (batch.answers, batch.columns["carrier"])


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_token_without_an_audit_share_permits_nothing(stage: Stage, share: float) -> None:
    """Law 11: whoever decides automatically sends some cases to people."""
    stage.release(audit_share=share)

    with pytest.raises(Refused, match="audit share"):
        stage.server.predict(ROW)


def test_audit_draws_are_answered_and_logged_with_their_probability(tmp_path: Path) -> None:
    """The second of two rows is drawn."""
    stage = Stage(tmp_path, draw=CountedDraws(0.25, 0.2499))
    stage.release(audit_share=0.25)

    answer = stage.server.predict(TWO_ROWS)

    assert ["", "audit"] == [row.steered for row in answer.answers]
    assert ("yes", "review") == (answer.answers[1].prediction, answer.answers[1].case)
    steer = logged(stage)[0].steered[1]
    assert ("audit", 0.25) == (steer.kind, steer.probability)


def test_the_audit_share_is_kept(tmp_path: Path) -> None:
    """Of 20,000 rows about the declared share is drawn: within five standard errors, from a fixed seed."""
    log = MemoryLog()
    stage = Stage(tmp_path, draw=random.Random(7).random, log=log)
    stage.release(audit_share=0.05)

    count, share = 20_000, 0.05
    stage.server.predict({"distance": [1.0] * count, "carrier": ["AA"] * count, "weekend": [True] * count})

    drawn = sum(steer.kind == "audit" for steer in log.records[0].steered.values())
    assert abs(drawn - count * share) < 5 * math.sqrt(count * share * (1 - share))


@pytest.mark.parametrize("where", [0, 40, -1])
def test_a_model_whose_bytes_were_changed_is_not_served(stage: Stage, where: int) -> None:
    """Law 4: one changed byte is enough."""
    stage.release()
    name = hex_of(stage.model)
    path = stage.folder / "blobs" / "sha256" / name[:2] / name
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)

    with pytest.raises(Corrupt):
        stage.server.predict(ROW)
    with pytest.raises(Corrupt):
        stage.server.ready()
    assert [] == logged(stage)


def test_a_loader_that_brings_another_model_is_caught(stage: Stage) -> None:
    """Law 4 does not depend on one adapter: the loaded digest is compared with the released one."""
    other = stage.blobs.put(tiny_model(bias=5.0))
    wrong = stage.models.load(other)
    stage.models.load = lambda digest: wrong  # type: ignore[method-assign]
    stage.release()

    with pytest.raises(Corrupt, match="loaded was"):
        stage.server.predict(ROW)


def test_a_new_release_is_loaded_once_and_the_old_model_is_kept_for_going_back(stage: Stage) -> None:
    """Changing releases reloads nothing that is still here."""
    first, second = stage.model, stage.blobs.put(tiny_model(bias=5.0))
    for model in (first, second, first, second):
        stage.release(model=model)
        assert model == stage.server.predict(ROW).model

    assert [first, second] == stage.models.loads


def test_a_new_release_that_cannot_be_loaded_gives_no_answer(stage: Stage) -> None:
    """The old model is not served in its place: its release does not hold any more."""
    stage.release()
    stage.server.predict(ROW)
    missing = stage.blobs.put(tiny_model(bias=9.0))
    name = hex_of(missing)
    (stage.folder / "blobs" / "sha256" / name[:2] / name).unlink()
    stage.release(model=missing)

    with pytest.raises(NotFound):
        stage.server.predict(ROW)


def test_time_that_passes_while_a_model_loads_counts(stage: Stage) -> None:
    """A token that ends during a slow load is not used after it."""
    stage.release()
    load = stage.models.load

    def slow(digest: Any) -> Any:
        stage.clock.move(timedelta(hours=1))
        return load(digest)

    stage.models.load = slow  # type: ignore[method-assign]

    with pytest.raises(Refused, match="has ended"):
        stage.server.predict(ROW)


@pytest.mark.parametrize("output", [[[math.nan, 0.5]], [[0.5, 1.5]], [[-0.2, 1.0]], [[math.inf, 0.0]]])
def test_what_is_no_probability_is_no_answer(stage: Stage, output: list[list[float]]) -> None:
    """A broken score withholds its row, and a person decides."""
    stage.release()
    stage.server.predict(ROW)
    model = next(iter(stage.server._loaded.values()))
    model.predict = lambda columns: np.array(output)  # type: ignore[method-assign]

    (answer,) = stage.server.predict(ROW).answers

    assert (None, (), "review") == (answer.prediction, answer.scores, answer.case)


def test_an_output_of_the_wrong_shape_is_an_error(stage: Stage) -> None:
    """The number of answers must be the number of questions."""
    stage.release()
    stage.server.predict(ROW)
    model = next(iter(stage.server._loaded.values()))
    model.predict = lambda columns: np.zeros((2, 2))  # type: ignore[method-assign]

    with pytest.raises(Corrupt, match=r"\(2, 2\)"):
        stage.server.predict(ROW)


def test_regression_answers_with_numbers(tmp_path: Path) -> None:
    """A value is score and answer at once."""
    stage = Stage(tmp_path, signature=NUMERIC)
    stage.release()

    answer = stage.server.predict({"x": [1000, None], "y": [2000.0, 0.0]})

    assert (2.0, -1.0) == answer.predictions
    assert ((2.0,), (-1.0,)) == answer.scores
    assert (2.0, -1.0) == logged(stage)[0].scores


@pytest.mark.parametrize(
    ("columns", "code"),
    [
        ({}, "empty-batch"),
        ({"distance": [], "carrier": [], "weekend": []}, "empty-batch"),
        ({"distance": [1.0]}, "missing-column"),
        (ROW | {"cattier": ["AA"]}, "unknown-column"),
        (ROW | {"distance": ["far"]}, "wrong-type"),
        (ROW | {"distance": [True]}, "wrong-type"),
        (ROW | {"distance": [[1.0]]}, "wrong-type"),
        (ROW | {"carrier": [1.5]}, "wrong-type"),
        (ROW | {"carrier": [True]}, "wrong-type"),
        (ROW | {"weekend": [1]}, "wrong-type"),
        (ROW | {"distance": [math.nan]}, "not-finite"),
        (ROW | {"distance": [-math.inf]}, "not-finite"),
        ({name: values * 3 for name, values in ROW.items()} | {"distance": [1.0, math.nan, 1.0]}, "not-finite"),
        ({name: values * 2 for name, values in ROW.items()} | {"distance": [math.inf, -math.inf]}, "not-finite"),
        (ROW | {"distance": [10**400]}, "not-finite"),
        (ROW | {"distance": [1.0, 2.0]}, "ragged-columns"),
        (ROW | {"carrier": "A"}, "wrong-type"),
        (ROW | {"carrier": ["A" * (LIMITS.text + 1)]}, "too-large"),
        (dict.fromkeys(ROW, [None] * (LIMITS.rows + 1)), "too-large"),
        ({f"c{n}": [1.0] for n in range(LIMITS.columns + 1)}, "too-large"),
        ({"c" * (LIMITS.key + 1): [1.0]}, "too-large"),
    ],
)
def test_wrong_input_is_refused_with_its_reason(stage: Stage, columns: dict[str, list[Any]], code: str) -> None:
    """Never repaired, never logged."""
    stage.release()

    with pytest.raises(Invalid) as refusal:
        stage.server.predict(columns)

    assert code == refusal.value.code
    assert [] == logged(stage)


def test_finite_numbers_whose_sum_is_not_are_taken(stage: Stage) -> None:
    """The quick check of many numbers refuses none that is right."""
    stage.release()

    answer = stage.server.predict({"distance": [1e308, 1e308], "carrier": ["AA"] * 2, "weekend": [True] * 2})

    assert 2 == answer.count


def test_a_misspelled_column_is_named_with_what_was_meant(stage: Stage) -> None:
    """The hint is the next thing to do."""
    stage.release()

    with pytest.raises(Invalid) as refusal:
        stage.server.predict({"distanze": [1.0], "carrier": ["AA"], "weekend": [True]})

    assert "'distance'" in refusal.value.message
    assert "'distance': perhaps 'distanze'" in refusal.value.hint


def test_columns_of_slices_may_be_sent_beside_the_inputs(tmp_path: Path) -> None:
    """Declared context is taken and logged; a routed column is taken even if nobody declared it."""
    stage = Stage(tmp_path, context=["origin"])
    stage.release(routed=(("gate", "B"),))

    answer = stage.server.predict({**ROW, "origin": ["JFK"], "gate": ["A"]})

    assert "no" == answer.predictions[0]
    assert (("JFK",), ("A",)) == (logged(stage)[0].columns["origin"], logged(stage)[0].columns["gate"])


def test_a_slice_that_cannot_be_told_is_without_proof(stage: Stage) -> None:
    """Law 3: a missing slice column does not let its rows through."""
    stage.release(routed=(("gate", "B"),))

    (answer,) = stage.server.predict(ROW).answers

    assert (None, "slice gate unknown") == (answer.prediction, answer.steered)


@pytest.mark.parametrize("keys", [["a", "b"], [1], ["k" * 1000]])
def test_wrong_keys_are_refused(stage: Stage, keys: list[Any]) -> None:
    """One short text per row, or none."""
    stage.release()

    with pytest.raises(Invalid):
        stage.server.predict(ROW, keys)


def test_lone_surrogates_are_refused_before_anything_is_logged(stage: Stage) -> None:
    """Text that no JSON can hold is the caller's error."""
    stage.release()

    with pytest.raises(Invalid):
        stage.server.predict(ROW | {"carrier": ["\ud800"]})
    assert [] == logged(stage)


def test_the_signature_outlives_the_release(stage: Stage) -> None:
    """Clients can still be told what the endpoint asks for."""
    assert stage.server.signature() is None
    stage.release()
    assert SIGNATURE == stage.server.signature()
    stage.tokens.envelope = None
    assert SIGNATURE == stage.server.signature()


def test_many_threads_get_their_own_answers(stage: Stage) -> None:
    """Each answer belongs to its question, and each is in the log once."""
    stage.release()
    results: dict[int, tuple[str, Any]] = {}

    def ask(number: int) -> None:
        answer = stage.server.predict({"distance": [float(number)], "carrier": ["AA"], "weekend": [True]})
        results[number] = (answer.id, answer.scores[0])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    batches = {batch.id: batch for batch in logged(stage)}
    assert 40 == len(batches) == len(results)
    for number, (batch_id, scores) in results.items():
        assert (float(number),) == batches[batch_id].columns["distance"]
        assert scores is not None
        assert scores[1] == batches[batch_id].scores[0]
