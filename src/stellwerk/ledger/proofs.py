"""What a book can show to whoever asks: its newest checkpoint, the bytes of an entry, and proofs in hex."""

from __future__ import annotations

import sqlalchemy as sa

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger import rules
from stellwerk.ledger.parameters import position
from stellwerk.ledger.ports import Proving, Reader
from stellwerk.ledger.tables import checkpoints, entries


def newest(reader: Reader) -> str | None:
    """The checkpoint of the largest size that was signed."""
    query = sa.select(checkpoints.c.note).order_by(checkpoints.c.size.desc()).limit(1)
    found = reader.execute(query).scalar()
    return None if found is None else str(found)


def entry_text(reader: Reader, sequence: int) -> str:
    """The exact text of an entry of this workspace: its UTF-8 bytes are the leaf of the tree. Raises `NotFound`."""
    query = sa.select(entries.c.bytes).where(
        entries.c.workspace == reader.workspace, entries.c.sequence == position(sequence)
    )
    found = reader.execute(query).scalar()
    if found is None:
        raise NotFound(f"no entry {sequence}")
    return bytes(found).decode()


def notes(reader: Reader, above: int, limit: int) -> tuple[str, ...]:
    """The signed checkpoints of books larger than `above`, the smallest first."""
    query = sa.select(checkpoints.c.note).where(checkpoints.c.size > above)
    rows = reader.execute(query.order_by(checkpoints.c.size).limit(position(limit)))
    return tuple(str(row.note) for row in rows)


def entry_texts(reader: Reader, start: int, limit: int) -> tuple[str, ...]:
    """The exact texts of entries in order, of all who write into this book."""
    query = sa.select(entries.c.bytes).where(entries.c.sequence >= position(start))
    rows = reader.execute(query.order_by(entries.c.sequence).limit(position(limit)))
    return tuple(bytes(row.bytes).decode() for row in rows)


def foreign(reader: Reader) -> bool:
    """Whether others than this workspace write into this book."""
    query = sa.select(entries.c.sequence).where(entries.c.workspace != reader.workspace).limit(1)
    return reader.execute(query).first() is not None


def inclusion(book: Proving, sequence: int, size: int) -> tuple[str, ...]:
    """Proof that an entry is among the first `size`."""
    _within(book, size)
    return tuple(node.hex() for node in book.inclusion(sequence, size))


def consistency(book: Proving, old: int, new: int) -> tuple[str, ...]:
    """Proof that the first `old` entries begin the first `new`."""
    _within(book, new)
    return tuple(node.hex() for node in book.consistency(old, new))


def _within(book: Proving, size: int) -> None:
    present = book.size()
    if size > present:
        raise Invalid(f"the book has {present} entries, not {size}", code="invalid-proof")


def begins(old: str, new: str, proof: tuple[str, ...]) -> bool:
    """Whether a proof shows that the book of one checkpoint begins the book of another."""
    before, after = rules.read_checkpoint(old), rules.read_checkpoint(new)
    if before.size == 0:
        return before.root == rules.EMPTY_ROOT
    try:
        path = [bytes.fromhex(node) for node in proof]
    except ValueError:
        return False
    return rules.verify_consistency(before.size, after.size, before.root, after.root, path)
