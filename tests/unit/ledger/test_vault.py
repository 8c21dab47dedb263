"""Keys of people: one for each, none left after an erasure, and a book that never knew who they were (law 12)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stellwerk.core.errors import Corrupt, Invalid, NotFound, Unavailable
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key
from stellwerk.ledger.adapters.vault_key import FileKeyCipher
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.vault import SUBJECT_KEYS, Vault
from stellwerk.ledger.verify import verify_book
from stellwerk.testing.fakes import StandingClock

ORIGIN = "example.com/book"
PERSON = "Wilhelmine Kanarienvogel"


class House:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = Database(folder / "ledger.db", StandingClock())
        self.database.create(ORIGIN)
        self.book = WorkspaceBook(self.database, "default", "anna")
        self.vault = Vault(self.book, StandingClock(), lambda fresh: FileKeyCipher(folder / "vault.key", fresh=fresh))

    def findings(self) -> list[str]:
        create_key(self.folder / "key")
        signer = FileSigner(self.folder / "key")
        self.database.checkpoint(ORIGIN, signer)
        found = verify_book(self.folder / "ledger.db", ORIGIN, Ed25519Verifier().verify, public_key=signer.public_key)
        return [finding.problem for finding in found[1]]

    def files_with(self, data: bytes) -> list[str]:
        return [file.name for file in sorted(self.folder.iterdir()) if data in file.read_bytes()]

    def row_of(self, person: str) -> tuple[str, str]:
        with self.book.read() as reader:
            (row,) = SUBJECT_KEYS.select(reader, pseudonym=self.vault.cipher.pseudonym(person))
        return row.pseudonym, row.wrapped


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.database.close()


def test_everybody_has_one_key(house: House) -> None:
    """Asked again, by another process or many threads at once, it is the same one; different people have others."""
    first = house.vault.keys_for([PERSON, "other"])
    again = Vault(
        house.book, StandingClock(), lambda fresh: FileKeyCipher(house.folder / "vault.key", fresh=fresh)
    ).keys_for([PERSON])
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(house.vault.keys_for(["new"])["new"].id)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert first[PERSON] == again[PERSON]
    assert first[PERSON].key != first["other"].key
    assert 32 == len(first[PERSON].key)
    assert (8, 1) == (len(found), len(set(found)))
    assert {first[PERSON].id: first[PERSON]} == house.vault.opened([first[PERSON].id, "unknown"])


def test_erased_is_erased(house: House) -> None:
    """Key and pseudonym are in no file any more, the book is whole, and it never held the name."""
    keys = house.vault.keys_for([PERSON, "other"])
    pseudonym, wrapped = house.row_of(PERSON)
    assert [] != house.files_with(wrapped.encode())

    ids = house.vault.erase(PERSON, "ticket 77")
    assert house.database.scrub()

    assert (keys[PERSON].id,) == ids
    for canary in (wrapped.encode(), pseudonym.encode(), keys[PERSON].key, PERSON.encode()):
        assert [] == house.files_with(canary)
    assert {keys["other"].id} == set(house.vault.opened([keys[PERSON].id, keys["other"].id]))
    assert () == house.vault.ids(PERSON)
    assert [] == house.findings()
    (told,) = house.book.entries(kinds=["subject.erased"])
    assert ({"keys": list(ids), "why": "ticket 77"}, f"subject:{ids[0]}") == (told.body, told.subject)
    with pytest.raises(NotFound) as caught:
        house.vault.erase(PERSON, "ticket 77")
    assert "unknown-subject" == caught.value.code
    assert keys[PERSON].id != house.vault.keys_for([PERSON])[PERSON].id


def test_replaced_rows_leave_nothing_behind(house: House) -> None:
    """Many keys around it, pages that were split and reused: an erased key is still nowhere."""
    people = [f"person {number}" for number in range(400)]
    house.vault.keys_for(people)
    rows = {person: house.row_of(person) for person in people[::20]}
    for person in rows:
        house.vault.erase(person, "ticket")
    house.database.scrub()

    for pseudonym, wrapped in rows.values():
        assert [] == house.files_with(wrapped.encode()) + house.files_with(pseudonym.encode())
    assert 380 == len({*people} - {person for person in people if not house.vault.ids(person)})


def test_the_reason_names_nobody(house: House) -> None:
    """What stays in the book for ever does not hold the name, and a name must be one."""
    house.vault.keys_for([PERSON])
    for why, code in (("", "missing-reason"), (f"{PERSON.upper()} asked", "personal-reason")):
        with pytest.raises(Invalid) as caught:
            house.vault.erase(PERSON, why)
        assert code == caught.value.code
    for nobody in ("", " ", "x" * 513):
        with pytest.raises(Invalid):
            house.vault.keys_for([nobody])

    assert 1 == len(house.vault.ids(PERSON))


def test_keys_that_come_back_are_destroyed_again(house: House) -> None:
    """After a restore, ids from a newer ledger are enough; those that did not come back are no error."""
    ids = [key.id for key in house.vault.keys_for([PERSON, "other"]).values()]

    assert (ids[0],) == house.vault.erase_again([ids[0], "unknown"], "again")
    assert () == house.vault.erase_again([ids[0]], "again")
    assert {ids[1]} == set(house.vault.opened(ids))
    assert 1 == len(house.book.entries(kinds=["subject.erased"]))


def test_another_vault_opens_nothing(house: House, tmp_path: Path) -> None:
    """Without the vault's own key, which is not in the database, keys are noise; exchanged rows are noticed."""
    house.vault.keys_for([PERSON, "other"])
    (tmp_path / "stolen").mkdir()
    stranger = Vault(
        house.book, StandingClock(), lambda _: FileKeyCipher(tmp_path / "stolen" / "vault.key", fresh=True)
    )
    cipher = house.vault.cipher
    wrapped = cipher.wrapped("a")

    with pytest.raises(Corrupt):
        stranger.opened([key.id for key in house.vault.keys_for([PERSON]).values()])
    assert () == stranger.ids(PERSON)
    assert 32 == len(cipher.unwrapped("a", wrapped))
    for name, text in (("b", wrapped), ("a", wrapped[:-4] + "AAA="), ("a", ""), ("a", "no base64!")):
        with pytest.raises(Corrupt):
            cipher.unwrapped(name, text)


def test_the_vaults_key_is_private(house: House) -> None:
    """Mode 0600, made once, and refused when damaged."""
    house.vault.keys_for([PERSON])
    file = house.folder / "vault.key"

    assert (0o600, 32) == (file.stat().st_mode & 0o777, len(file.read_bytes()))
    file.write_bytes(b"short")
    with pytest.raises(Corrupt):
        FileKeyCipher(file, fresh=True)


def test_a_lost_secret_is_not_replaced(house: House) -> None:
    """Where there are keys, a new secret would only hide that the old one is missing."""
    (key,) = house.vault.keys_for([PERSON]).values()
    (house.folder / "vault.key").unlink()
    again = Vault(house.book, StandingClock(), lambda fresh: FileKeyCipher(house.folder / "vault.key", fresh=fresh))

    for use in (lambda: again.keys_for(["other"]), lambda: again.opened([key.id]), lambda: again.ids(PERSON)):
        with pytest.raises(Unavailable) as caught:
            use()
        assert "key-unreadable" == caught.value.code
    assert not (house.folder / "vault.key").exists()
    assert (key.id,) == again.erase_again([key.id], "again")
