"""What is logged about people can be read back whole, until they are erased; and is in no file in the clear."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.clock import parse_instant
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt, Invalid
from stellwerk.ledger.adapters.vault_key import FileKeyCipher
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.vault import Vault
from stellwerk.serving import codec, protecting
from stellwerk.serving.model import PredictionBatch, SealedBatch, Steer
from stellwerk.testing.fakes import StandingClock

AT = parse_instant("2026-01-02T03:04:05.000000Z")
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    folder = tmp_path_factory.mktemp("vault")
    database = Database(folder / "ledger.db", StandingClock())
    database.create("example.com/book")
    yield Vault(
        WorkspaceBook(database, "default", "anna"),
        StandingClock(),
        lambda fresh: FileKeyCipher(folder / "vault.key", fresh=fresh),
    )
    database.close()


def a_batch(people: list[object], **columns: list[object]) -> PredictionBatch:
    count = len(people)
    return PredictionBatch(
        id="01kc4v3n0w5x8y2z6q7r9s1t3v", at=AT, workspace="default", endpoint="tardy", release="r", model=Digest("m"),
        signal="clear", audit_share=0.1, count=count,
        columns={"person": tuple(people), **{name: tuple(values) for name, values in columns.items()}},  # type: ignore[arg-type, misc]
        scores=(0.5,) * count, answers=("yes",) * count,
        steered={0: Steer(kind="audit", reason="drawn", probability=0.1)},
        keys=tuple(f"reference {row}" for row in range(count)),
    )  # fmt: skip


def logged(batch: PredictionBatch, vault: Vault) -> bytes:
    return codec.pack(protecting.seal(batch, "person", vault))


def plain(batch: PredictionBatch) -> dict[str, object]:
    return {field.name: getattr(batch, field.name) for field in fields(PredictionBatch) if field.name != "format"}


@settings(max_examples=40, deadline=None)
@given(people=st.lists(st.sampled_from(["anna", "ben", "Käthe\u2028", 4711]), min_size=1, max_size=6), data=st.data())
def test_what_is_logged_is_read_back(vault: Vault, people: list[object], data: st.DataObject) -> None:
    """Every value of every column and every reference, as it was asked; what the model said is in the clear."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    values = data.draw(st.lists(SCALARS | text, min_size=len(people), max_size=len(people)))
    batch = a_batch(people, value=list(values))

    stored = codec.unpack(logged(batch, vault))
    (opened,) = protecting.opened([stored], vault)

    assert plain(batch) == plain(opened)
    assert isinstance(opened, SealedBatch)
    assert {} == opened.sealed
    assert (batch.scores, batch.answers, batch.steered) == (stored.scores, stored.answers, stored.steered)
    assert {(None,) * batch.count} == set(stored.columns.values())


def test_nothing_personal_is_in_the_log(vault: Vault) -> None:
    """Neither who it is, nor what was asked, nor what the caller calls it."""
    data = logged(a_batch(["Wilhelmine"], diagnosis=["measles"]), vault)

    assert [] == [canary for canary in (b"Wilhelmine", b"measles", b"reference 0") if canary in data]


def test_the_erased_stay_empty_and_the_others_do_not(vault: Vault) -> None:
    """Places keep their numbers, because ids of predictions name them; an erased row says that it is one."""
    stored = codec.unpack(logged(a_batch(["stays", "goes", "stays"], value=[1, 2, 3]), vault))
    ids = vault.ids("goes")
    assert 1 == protecting.subject_rows([stored], ids)
    vault.erase("goes", "ticket 1")
    (opened,) = protecting.opened([stored], vault)

    assert {"person": ("stays", None, "stays"), "value": (1, None, 3)} == opened.columns
    assert ("reference 0", None, "reference 2") == opened.keys
    assert isinstance(opened, SealedBatch)
    assert [1] == list(opened.sealed)


@pytest.mark.parametrize("person", [None, "", " ", 1.5, True])
def test_a_row_about_nobody_is_refused(vault: Vault, person: object) -> None:
    """What could not be erased on request is not kept at all."""
    with pytest.raises(Invalid) as caught:
        protecting.seal(a_batch(["anna", person]), "person", vault)
    assert "missing-subject" == caught.value.code
    with pytest.raises(Invalid) as caught:
        protecting.seal(a_batch(["anna"]), "other", vault)
    assert "missing-subject" == caught.value.code


def test_rows_that_were_moved_or_changed_are_noticed(vault: Vault) -> None:
    """What was sealed opens only in its own place."""
    stored = codec.unpack(logged(a_batch(["anna", "anna"], value=[1, 2]), vault))
    assert isinstance(stored, SealedBatch)
    swapped = replace(stored, sealed={0: stored.sealed[1], 1: stored.sealed[0]})
    elsewhere = replace(stored, id="01kc4v3n0w5x8y2z6q7r9s1t3w")
    changed = replace(stored, sealed={0: stored.sealed[0][:-8] + "AAAAAAA=", 1: stored.sealed[1]})

    for batch in (swapped, elsewhere, changed):
        with pytest.raises(Corrupt):
            list(protecting.opened([batch], vault))


def test_a_batch_says_its_format_once(vault: Vault) -> None:
    """A sealed batch is never taken for an open one with empty rows, nor the other way round."""
    sealed, open_ = logged(a_batch(["anna"]), vault), codec.pack(a_batch(['"format":"stellwerk-prediction/2"']))

    assert isinstance(codec.unpack(sealed), SealedBatch)
    assert not isinstance(codec.unpack(open_), SealedBatch)
    for data in (sealed.replace(b"prediction/2", b"prediction/3"), open_.replace(b"prediction/1", b"prediction/3")):
        with pytest.raises(Corrupt):
            codec.unpack(data)
