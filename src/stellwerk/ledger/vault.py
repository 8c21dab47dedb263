"""Personal data under a key of each person, so that it is erased by destroying the key (law 12, `docs/formats/vault.md`).

What is encrypted lies elsewhere, in blobs and logs; here are the keys. Entries name keys by random ids, and nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from stellwerk.core import failpoints
from stellwerk.core.clock import Clock
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.names import new_id
from stellwerk.ledger.ports import Book, KeyCipher
from stellwerk.ledger.shelf import Shelf

failpoints.declare("vault.made", "vault.erased")

MOST_CHARACTERS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectKey:
    """The key of one person, encrypted under the vault's own key, which is not in the database."""

    id: str
    """Random; what entries and encrypted data call it."""
    pseudonym: str
    """The person, hashed under a secret of the vault."""
    wrapped: str
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A key in the clear, for use at once."""

    id: str
    key: bytes


SUBJECT_KEYS = Shelf("subject_keys", SubjectKey, key=("id",), index=("pseudonym",))


class Vault:
    """The keys of one workspace's subjects. Safe for many threads and processes.

    Args:
        cipher: Gives the cipher when it is needed, for most workspaces never need one. It is told whether a new secret
            may be made: not where there are keys already, which only the old one opens.
    """

    def __init__(self, book: Book, clock: Clock, cipher: Callable[[bool], KeyCipher]) -> None:
        self._book, self._clock, self._make = book, clock, cipher
        self._made: KeyCipher | None = None

    @property
    def cipher(self) -> KeyCipher:
        """What encrypts."""
        if self._made is None:
            with self._book.read() as reader:
                fresh = SUBJECT_KEYS.count(reader) == 0
            self._made = self._make(fresh)
        return self._made

    def keys_for(self, subjects: Iterable[str]) -> dict[str, Opened]:
        """A key for each person, made where there is none; durable when this returns."""
        wanted = {subject: self.cipher.pseudonym(checked(subject)) for subject in subjects}
        with self._book.read() as reader:
            found = {
                subject: known[0]
                for subject, pseudonym in wanted.items()
                if (known := SUBJECT_KEYS.select(reader, pseudonym=pseudonym, limit=1))
            }
        missing = [subject for subject in wanted if subject not in found]
        if missing:
            found |= self._add({subject: wanted[subject] for subject in missing})
            failpoints.hit("vault.made")
        return {subject: self._open(key) for subject, key in found.items()}

    def _add(self, wanted: Mapping[str, str]) -> dict[str, SubjectKey]:
        now, found = self._clock.now(), {}
        with self._book.write() as tx:
            fresh = []
            for subject, pseudonym in wanted.items():
                known = SUBJECT_KEYS.select(tx, pseudonym=pseudonym, limit=1)  # somebody may have been faster
                if not known:
                    name = new_id(now)
                    key = SubjectKey(id=name, pseudonym=pseudonym, wrapped=self.cipher.wrapped(name), made_at=now)
                    SUBJECT_KEYS.insert(tx, key)
                    fresh.append(name)
                    known = [key]
                found[subject] = known[0]
            if fresh:
                tx.record("subjects.added", "vault:subjects", {"keys": fresh})
        return found

    def opened(self, ids: Iterable[str]) -> dict[str, Opened]:
        """The keys of these ids that still exist; those of erased people are not among them."""
        wanted = set(ids)
        with self._book.read() as reader:
            known = [SUBJECT_KEYS.find(reader, name) for name in wanted]
        return {key.id: self._open(key) for key in known if key is not None}

    def ids(self, subject: str) -> tuple[str, ...]:
        """The ids of a person's keys; none where nothing is known of them, or nothing any more."""
        pseudonym = self.cipher.pseudonym(checked(subject))
        with self._book.read() as reader:
            return tuple(key.id for key in SUBJECT_KEYS.select(reader, pseudonym=pseudonym))

    def erase(self, subject: str, why: str) -> tuple[str, ...]:
        """Destroy a person's keys, and with them everything that was encrypted under them. Cannot be undone.

        Args:
            why: For the book, where it stays for ever: a ticket, never a name.
        """
        if not why.strip():
            raise Invalid("an erasure needs a reason", code="missing-reason", hint="--why TEXT")
        if checked(subject).casefold() in why.casefold():
            raise Invalid(
                "the reason names the person; it stays in the ledger for ever",
                code="personal-reason",
                hint="name a ticket or a date instead",
            )
        pseudonym = self.cipher.pseudonym(subject)
        with self._book.write() as tx:
            found = SUBJECT_KEYS.select(tx, pseudonym=pseudonym)
            if not found:
                raise NotFound(
                    "nothing is kept under a key of this person", code="unknown-subject", hint="check the spelling"
                )
            for key in found:
                SUBJECT_KEYS.remove(tx, key.id)
            ids = tuple(key.id for key in found)
            tx.record("subject.erased", f"subject:{ids[0]}", {"keys": list(ids), "why": why})
        failpoints.hit("vault.erased")
        return ids

    def erase_again(self, ids: Sequence[str], why: str) -> tuple[str, ...]:
        """Destroy keys that were destroyed once already, and came back with a backup. Returns those that had."""
        with self._book.read() as reader:
            back = tuple(name for name in ids if SUBJECT_KEYS.find(reader, name) is not None)
        if back:
            with self._book.write() as tx:
                for name in back:
                    SUBJECT_KEYS.remove(tx, name)
                tx.record("subject.erased", f"subject:{back[0]}", {"keys": list(back), "why": why})
        return back

    def _open(self, key: SubjectKey) -> Opened:
        return Opened(id=key.id, key=self.cipher.unwrapped(key.id, key.wrapped))


def checked(subject: str) -> str:
    """A person as callers name them: text, not empty. Raises `Invalid`."""
    if not subject.strip() or len(subject) > MOST_CHARACTERS:
        raise Invalid(f"a person is named by 1 to {MOST_CHARACTERS} characters", code="invalid-subject")
    return subject
