"""What this machine remembers of ledgers it has seen: trust on first use, and proof of growth from then on.

One small file per place (a server's address or a folder) and book, under the user's state folder
(`docs/formats/remembered.md`). A book that was rolled back, or that shows others another history, contradicts it.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stellwerk.core.errors import Corrupt, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.core.files import replace_text
from stellwerk.ledger import keys, proofs, rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier
from stellwerk.ledger.model import Head

FORMAT = "stellwerk-remembered/1"
FORK_FORMAT = "stellwerk-fork/1"
_greeted: set[tuple[str, str]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """The last state of a book that was seen at a place."""

    place: str
    """A URL, or the path of a workspace's folder."""
    origin: str
    key: str
    """The public key that signed it, in hex."""
    note: str
    """Its checkpoint."""

    @property
    def size(self) -> int:
        return rules.read_checkpoint(self.note).size


class Memory:
    """The state folder of one person on one machine. Where it cannot be written, nothing is remembered."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._verifier = folder, Ed25519Verifier()

    def all(self) -> list[Remembered]:
        """Everything that is remembered, by place. Raises `Corrupt` for a file that somebody damaged."""
        return self._read_all("*.json")

    def _read_all(self, pattern: str) -> list[Remembered]:
        files = (self._folder / "ledgers").glob(pattern)
        return sorted((_read(file) for file in files), key=lambda item: (item.place, item.origin))

    def forget(self, place: str) -> list[Remembered]:
        """Forget the books of a place, deliberately: the next contact is a first one. Raises `NotFound`."""
        gone = [item for item in self.all() if item.place == place.rstrip("/")]
        if not gone:
            raise NotFound(f"no ledger of {place[:200]!r} is remembered", hint="`stellwerk ledger remembered`")
        for item in gone:
            self._file(item.place, item.origin).unlink(missing_ok=True)
            _greeted.discard((str(self._folder), item.place))
        return gone

    def greet(
        self, place: str, ask: Callable[[int], Head], *, origin: str = "", several: bool = False, once: bool = False
    ) -> None:
        """Compare the book at a place with what is remembered of it, and remember what it says now.

        Args:
            ask: Answers the head of the book with proof that so many entries begin it.
            origin: Which book it must be, where that is known beforehand.
            several: Whether the place may have another book tomorrow, as a port of this machine may.
            once: Only if this process has not done so.

        Raises:
            Corrupt: `ledger-forked`: the book does not go on from what is remembered. Both notes are kept.
            Refused: `ledger-unproven`: the book is remembered, and now nothing is shown of it.
        """
        greeted = (str(self._folder), place)
        if once and greeted in _greeted:
            return
        known = self._read_all(f"{_hash(place)}-{_hash(origin) if origin else '*'}.json")
        latest = max(known, key=lambda item: self._file(place, item.origin).stat().st_mtime_ns, default=None)
        head = self._ask(ask, latest, silent=several)
        if head is not None:
            found = rules.read_checkpoint(head.note).origin
            same = next((item for item in known if item.origin == found), None)
            if same is None and known and not several:
                self._contradicts(known[0], head, "the place has another book than the one that is remembered")
            if same is not None and same != latest:
                head = ask(same.size)
            self._compare(place, same, head)
        _greeted.add(greeted)

    @staticmethod
    def _ask(ask: Callable[[int], Head], known: Remembered | None, *, silent: bool) -> Head | None:
        try:
            return ask(known.size if known else 0)
        except (NotFound, Refused) as cause:
            if known is None or silent:
                return None
            raise Refused(
                f"the ledger {_where(known.place)} had {known.size} entries, and now nothing is shown of it: {cause}",
                code="ledger-unproven",
                hint="if you know why: `stellwerk ledger remembered` and `stellwerk ledger forget`",
            ) from cause

    def _compare(self, place: str, known: Remembered | None, head: Head) -> None:
        if known is not None and known.note == head.note:
            return
        try:
            now = rules.read_checkpoint(head.note)
            links = keys.check(now.origin, head.keys, self._verifier)
            keys.open_checkpoint(head.note, links, self._verifier)
        except StellwerkError as cause:
            if known is not None:
                self._contradicts(known, head, str(cause))
            raise
        if known is not None:
            before = rules.read_checkpoint(known.note)
            if known.key not in {link.key for link in links}:
                self._contradicts(known, head, "the key that is remembered is none of its keys")
            if now.size < before.size:
                self._contradicts(known, head, f"it was seen with {before.size} entries and has {now.size}")
            grown = (
                before.root == now.root
                if now.size == before.size
                else proofs.begins(known.note, head.note, head.consistency)
            )
            if not grown:
                self._contradicts(known, head, f"its first {before.size} entries are not those that were seen")
        self._remember(
            Remembered(place=place, origin=now.origin, key=keys.signs(links, now.size).hex(), note=head.note)
        )

    def _remember(self, item: Remembered) -> None:
        # A read-only home is no reason not to work.
        with suppress(OSError, Unavailable), self._alone():
            file = self._file(item.place, item.origin)
            if file.is_file() and _read(file).size > item.size:
                return  # another process has seen more meanwhile
            replace_text(
                file, json.dumps({"format": FORMAT, **asdict(item)}, indent=1, ensure_ascii=False) + "\n", 0o600
            )

    def _contradicts(self, known: Remembered, head: Head, why: str) -> None:
        document = {
            "format": FORK_FORMAT,
            "place": known.place,
            "why": why,
            "remembered": known.note,
            "presented": head.note,
            "keys": [{"key": link.key, "since": link.since} for link in head.keys],
        }
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        file = self._folder / "forks" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"
        with suppress(OSError, Unavailable):
            _private(file.parent)
            replace_text(file, text, 0o600)
        raise Corrupt(
            f"the ledger {_where(known.place)} is not the one that was seen here before: {why}",
            code="ledger-forked",
            hint=f"both notes are kept in forks/{file.name} of the state folder; if you know why (a restored backup): "
            "`stellwerk ledger remembered` and `stellwerk ledger forget`",
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        _private(self._folder / "ledgers")
        descriptor = os.open(self._folder / "ledgers" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _file(self, place: str, origin: str) -> Path:
        return self._folder / "ledgers" / f"{_hash(place)}-{_hash(origin)}.json"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _where(place: str) -> str:
    """Named in an error, which has no paths of this machine in it."""
    return f"at {place}" if "://" in place else "of this workspace"


def _private(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _read(file: Path) -> Remembered:
    try:
        document = json.loads(file.read_text("utf-8"))
        if document.pop("format") != FORMAT or not all(isinstance(value, str) for value in document.values()):
            raise ValueError("another format")
        found = Remembered(**document)
        rules.read_checkpoint(found.note)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, Corrupt) as cause:
        raise Corrupt(
            f"what is remembered of a ledger cannot be read: ledgers/{file.name} of the state folder",
            code="corrupt-memory",
            hint="look at the file, and remove it: the next contact is then a first one",
        ) from cause
    return found


def is_loopback(url: str) -> bool:
    """Whether a URL means this machine, where today's port may be another workspace's tomorrow."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
