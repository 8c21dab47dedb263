"""What rooms ask of the book: transactions that carry entries, and signatures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from stellwerk.ledger.model import Entry


class Misfit(Exception):
    """A row does not fit its table. Only `shelf` sees this."""


class Reader(Protocol):
    """A consistent view of one workspace's tables. Only `shelf` and adapters ask it for rows."""

    @property
    def workspace(self) -> str: ...

    def rows(self, question: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of one `SELECT`, written with `?`, the fastest way there is."""
        ...

    def execute(self, statement: Any, parameters: Any = None) -> Any:
        """Run one statement that was made with SQLAlchemy, which is loaded for it."""
        ...


class Transaction(Reader, Protocol):
    """A change: rows and entries become durable together, or not at all."""

    @property
    def actor(self) -> str: ...

    def run(self, statement: str, values: Sequence[Any] = ()) -> int:
        """Run one statement, written with `?`; returns how many rows it changed. Raises `Misfit`."""
        ...

    def write_many(self, statement: str, rows: Sequence[Sequence[Any]], *, pours: bool = False) -> None:
        """Run one statement, written with `?`, for each row, the fastest way there is.

        Args:
            pours: The rows are of a high-volume fact, such as points of metrics, and need no entry each, because the
                entry that ends what they belong to seals them (docs/decisions/0022).
        """
        ...

    def record(self, kind: str, subject: str, body: Mapping[str, Any] | None = None) -> Entry:
        """Append one entry to the book. A transaction that changed rows without recording is a `Bug`."""
        ...

    def record_many(self, items: Iterable[tuple[str, str, Mapping[str, Any] | None]]) -> range:
        """Append many entries (kind, subject, body), as `record` would one by one, at one time; returns their places."""
        ...


class Book(Protocol):
    """The database as one workspace and one actor see it. Safe for many threads and processes."""

    @property
    def workspace(self) -> str: ...

    @property
    def actor(self) -> str: ...

    def write(self) -> AbstractContextManager[Transaction]:
        """Begin a change. Commits durably on leaving, rolls back on an exception."""
        ...

    def read(self) -> AbstractContextManager[Reader]:
        """A snapshot for reading."""
        ...

    def entries(
        self,
        *,
        kinds: Iterable[str] | None = None,
        subject: str | None = None,
        start: int = 0,
        limit: int | None = None,
    ) -> list[Entry]:
        """Entries of this workspace in order, filtered by kind prefixes (`release.`) and subject."""
        ...


class Proving(Protocol):
    """A book that proves what it holds."""

    def size(self) -> int:
        """How many entries there are."""
        ...

    def inclusion(self, sequence: int, size: int) -> list[bytes]:
        """Proof that entry `sequence` is in the first `size` entries (RFC 9162, section 2.1.3)."""
        ...

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Proof that the first `old` entries are a prefix of the first `new` (RFC 9162, section 2.1.4)."""
        ...


class Signer(Protocol):
    """Holds one Ed25519 private key. The key never leaves it."""

    @property
    def key_id(self) -> str:
        """SHA-256 of the raw public key, in hex."""
        ...

    @property
    def public_key(self) -> bytes:
        """The raw 32-byte public key."""
        ...

    def sign(self, message: bytes) -> bytes:
        """A 64-byte Ed25519 signature (RFC 8032)."""
        ...


class KeyCipher(Protocol):
    """Makes and keeps keys of people under a secret that is not in the database, and encrypts under them."""

    def pseudonym(self, subject: str) -> str:
        """The same name for the same person, which nobody without the secret can compute or try out."""
        ...

    def wrapped(self, name: str) -> str:
        """A new random key, encrypted, to be kept under this name."""
        ...

    def unwrapped(self, name: str, wrapped: str) -> bytes:
        """The key again. Raises `Corrupt` where it was changed or belongs to another name or secret."""
        ...

    def seal(self, key: bytes, data: bytes, about: str) -> str:
        """Encrypt bytes under a key; they open only for what they are `about`."""
        ...

    def open(self, key: bytes, sealed: str, about: str) -> bytes:
        """The bytes again. Raises `Corrupt`."""
        ...


class Verifier(Protocol):
    """Checks Ed25519 signatures; needs no private key."""

    def verify(self, public_key: bytes, signature: bytes, message: bytes) -> bool:
        """Whether the signature is valid. Malformed keys and signatures are simply not valid."""
        ...
