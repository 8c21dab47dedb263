"""Law 1 as a property: whatever is wrong with the token, nothing makes a stop into an answer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.errors import Conflict, Corrupt, Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.ledger.adapters.ed25519 import FileSigner, create_key
from stellwerk.serving.model import PredictionBatch
from stellwerk.testing.serving import ROW, Stage


class MemoryLog:
    """Keeps nothing: what is logged is not the matter here."""

    def append(self, record: PredictionBatch) -> None:
        return None

    def check(self) -> None:
        return None


def _foreign(stage: Stage, **_: Any) -> None:
    """A token signed by somebody else."""
    create_key(stage.folder / "stranger")
    stage.signer = FileSigner(stage.folder / "stranger")
    stage.release()


def _damaged(stage: Stage, part: str, **_: Any) -> None:
    stage.release()
    assert stage.tokens.envelope is not None
    payload = str(stage.tokens.envelope["payload"])
    stage.tokens.envelope = {**stage.tokens.envelope, "payload": payload[:-8] + part + payload[-4:]}


def _error(stage: Stage, kind: type[StellwerkError], **_: Any) -> None:
    stage.release()

    def current(endpoint: str) -> Any:
        raise kind("the token file is unreadable")

    stage.tokens.current = current  # type: ignore[method-assign]


def _garbage(stage: Stage, junk: Any, **_: Any) -> None:
    stage.tokens.envelope = junk


def _ended(stage: Stage, **_: Any) -> None:
    stage.release()
    stage.server.state()
    stage.clock.move(timedelta(minutes=15))


def _early(stage: Stage, **_: Any) -> None:
    stage.release()
    stage.server.state()
    stage.clock.move(timedelta(microseconds=-1))


def _elsewhere(stage: Stage, where: dict[str, str], **_: Any) -> None:
    stage.release(**where)


def _withdrawn(stage: Stage, **_: Any) -> None:
    stage.release()
    stage.server.state()
    stage.tokens.envelope = None


def _unknown(stage: Stage, **_: Any) -> None:
    stage.tokens.down = True


JUNK = st.one_of(
    st.none(),
    st.dictionaries(st.text(max_size=12), st.text(max_size=12) | st.integers() | st.none(), max_size=4),
    st.fixed_dictionaries(
        {
            "payloadType": st.just("application/vnd.stellwerk.lease-token+json"),
            "payload": st.text(max_size=40),
            "signatures": st.lists(st.fixed_dictionaries({"sig": st.text(max_size=90)}), max_size=2),
        }
    ),
)
STOPS: list[Callable[..., None]] = [
    _foreign, _damaged, _error, _garbage, _ended, _early, _elsewhere, _withdrawn, _unknown,
]  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(
    stop=st.sampled_from(STOPS),
    junk=JUNK,
    part=st.text("ABCDabcd0123", min_size=4, max_size=4),
    kind=st.sampled_from([Corrupt, Conflict, NotFound, Invalid, Refused, Unavailable]),
    where=st.sampled_from([{"endpoint": "other"}, {"environment": "staging"}]),
    fallback=st.sampled_from(["refuse", "human", "previous"]),
    rows=st.integers(1, 3),
)
def test_nothing_makes_a_stop_into_an_answer(
    tmp_path_factory: pytest.TempPathFactory, stop: Callable[..., None], fallback: str, rows: int, **how: Any
) -> None:
    """Whatever is wrong with the token: no prediction, no score, no model asked; only people, if so declared."""
    stage = Stage(tmp_path_factory.mktemp("stage"), fallback=fallback, log=MemoryLog())
    stop(stage, **how)
    if stage.server.state().signal != "stop":
        # A changed character of base64 may leave the payload as it was.
        assert stop is _damaged
        return

    columns = {name: values * rows for name, values in ROW.items()}
    if fallback == "human":
        answer = stage.server.predict(columns)
        told = (answer.signal, answer.model, answer.predictions, answer.scores)
        assert ("stop", "", (None,) * rows, (None,) * rows) == told
    else:
        with pytest.raises(Refused) as refusal:
            stage.server.predict(columns)
        assert "signal-stop" == refusal.value.code
    assert [] == stage.models.loads
