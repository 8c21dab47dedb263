"""The keys of a book: which signs when, and how one hands over to the next (`docs/formats/checkpoint.md`)."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Corrupt
from stellwerk.ledger import rules
from stellwerk.ledger.model import Checkpoint, Entry, KeyLink
from stellwerk.ledger.ports import Book, Signer, Verifier

CREATED, ROTATED = "workspace.created", "key.rotated"
GRACE = timedelta(hours=1)
"""Work that was under way when a key was replaced may still arrive signed by it: no token lasts longer either."""


def announcement(origin: str, number: int, previous: bytes, key: bytes) -> bytes:
    """What both keys sign when one hands over to the next."""
    return f"stellwerk-key-rotation/1\n{origin}\n{number}\n{previous.hex()}\n{key.hex()}\n".encode()


def announce(
    origin: str, links: Sequence[KeyLink], old: Signer, new: Signer, *, why: str, compromised: bool
) -> dict[str, Any]:
    """The body of the entry by which `old`, the last of `links`, hands over to `new`."""
    number = len(links)
    text = announcement(origin, number, old.public_key, new.public_key)
    signatures = {"previous": old.sign(text), "new": new.sign(text)}
    return {
        "key": new.public_key.hex(),
        "key_id": new.key_id,
        "previous": old.public_key.hex(),
        "number": number,
        "compromised": compromised,
        "why": why,
        "signatures": {name: base64.b64encode(value).decode() for name, value in signatures.items()},
    }


def read(entries: Iterable[Entry]) -> tuple[KeyLink, ...]:
    """The keys that entries tell of, as they tell it; `check` says whether it is so. Raises `Corrupt`."""
    found: list[KeyLink] = []
    for entry in entries:
        body = entry.body
        if entry.kind == CREATED and not found and "key" in body:
            found.append(KeyLink(number=0, key=str(body["key"]), since=0, at=entry.at))
        elif entry.kind == ROTATED:
            try:
                link = KeyLink(
                    number=int(body["number"]),
                    key=str(body["key"]),
                    since=entry.sequence + 1,
                    at=entry.at,
                    previous=str(body["previous"]),
                    signatures={name: str(body["signatures"][name]) for name in ("previous", "new")},
                    compromised=body["compromised"] is True,
                )
            except (KeyError, TypeError, ValueError) as cause:
                raise _broken(f"entry {entry.sequence} announces no key") from cause
            found.append(link)
    return tuple(found)


def check(origin: str, links: Sequence[KeyLink], verifier: Verifier) -> Sequence[KeyLink]:
    """Check that each key was announced by the one before it and itself. Returns them, or raises `Corrupt`."""
    for number, link in enumerate(links):
        before = links[number - 1] if number else None
        if not re.fullmatch("[0-9a-f]{64}", link.key) or link.number != number:
            raise _broken(f"key {number} has no name or another number")
        if before is None:
            continue
        text = announcement(origin, number, bytes.fromhex(before.key), bytes.fromhex(link.key))
        signers = {"previous": before.key, "new": link.key}
        vouched = all(
            verifier.verify(bytes.fromhex(key), _unbase64(link.signatures.get(name, "")), text)
            for name, key in signers.items()
        )
        if not vouched or link.previous != before.key or link.since <= before.since:
            raise _broken(f"key {number} was not announced by the key before it and itself")
    return links


def signs(links: Sequence[KeyLink], size: int) -> bytes:
    """The key that signs checkpoints of a book of this size. Raises `Corrupt` where there is none."""
    found = [link for link in links if link.since <= size]
    if not found:
        raise _broken("no key signs a book of this size")
    return bytes.fromhex(found[-1].key)


def trusted(links: Sequence[KeyLink], at: datetime, since: int | None = None) -> tuple[bytes, ...]:
    """The keys whose signatures on statements and tokens count at a time.

    Args:
        since: The book's size at that time; its end by default.
    """
    known = [link for link in links if since is None or link.since <= since]
    if not known:
        return ()
    last = known[-1]
    keys = [last.key]
    if last.number and not last.compromised and at - last.at <= GRACE:
        keys.append(last.previous)
    return tuple(map(bytes.fromhex, keys))


def open_checkpoint(note: str, links: Sequence[KeyLink], verifier: Verifier) -> Checkpoint:
    """Read a checkpoint, and check that the key of its time has signed it. Raises `Corrupt`."""
    return rules.open_checkpoint(note, signs(links, rules.read_checkpoint(note).size), verifier)


def unseal(
    envelope: Mapping[str, Any], keys: Sequence[bytes], verifier: Verifier, payload_type: str | None = None
) -> dict[str, Any]:
    """Like `rules.unseal`, with any of several keys."""
    problem = Corrupt("a signed envelope was signed at a time without a key", code="corrupt-envelope")
    for key in keys:
        try:
            return rules.unseal(envelope, key, verifier, payload_type)
        except Corrupt as cause:
            problem = cause
    raise problem


class KeyRing:
    """The keys of one workspace's book, as its entries tell at this moment."""

    def __init__(self, book: Book, origin: str, verifier: Verifier) -> None:
        self._book, self.origin, self._verifier = book, origin, verifier
        self._checked: tuple[KeyLink, ...] = ()

    def links(self) -> tuple[KeyLink, ...]:
        """All keys, oldest first; none where the book does not say. Raises `Corrupt`."""
        links = read(self._book.entries(kinds=[CREATED, ROTATED]))
        if links != self._checked:
            check(self.origin, links, self._verifier)
            self._checked = links
        return links

    def current(self) -> str:
        """The key that signs now, in hex; empty where the book does not say."""
        links = self.links()
        return links[-1].key if links else ""

    def of_statement(self, subject: str, statement: Digest) -> tuple[bytes, ...]:
        """The keys that may have signed a statement which an entry about a subject names."""
        links = self.links()
        if len(links) == 1:
            return (bytes.fromhex(links[0].key),)
        for entry in self._book.entries(subject=subject):
            if entry.body.get("statement") == statement:
                return trusted(links, entry.at, entry.sequence)
        return ()


def _broken(problem: str) -> Corrupt:
    return Corrupt(
        f"the keys of this book do not follow from each other: {problem}",
        code="corrupt-keys",
        hint="`stellwerk verify` says what is wrong",
    )


def _unbase64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""
