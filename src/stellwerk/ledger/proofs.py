"""What a book can show to whoever asks: its newest checkpoint, the bytes of an entry, and proofs in hex."""

from __future__ import annotations

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger import rules
from stellwerk.ledger.parameters import plain, position
from stellwerk.ledger.ports import Proving, Reader


def newest(reader: Reader) -> str | None:
    """The checkpoint of the largest size that was signed."""
    found = reader.rows("SELECT note FROM ledger_checkpoints ORDER BY size DESC LIMIT 1")
    return str(found[0][0]) if found else None


def entry_text(reader: Reader, sequence: int) -> str:
    """The exact text of an entry of this workspace: its UTF-8 bytes are the leaf of the tree. Raises `NotFound`."""
    question = "SELECT bytes FROM ledger_entries WHERE workspace = ? AND sequence = ?"
    found = reader.rows(question, (reader.workspace, position(sequence)))
    if not found:
        raise NotFound(f"no entry {sequence}")
    return bytes(found[0][0]).decode()


def notes(reader: Reader, above: int, limit: int) -> tuple[str, ...]:
    """The signed checkpoints of books larger than `above`, the smallest first."""
    question = "SELECT note FROM ledger_checkpoints WHERE size > ? ORDER BY size LIMIT ?"
    return tuple(str(note) for (note,) in reader.rows(question, (plain(above), position(limit))))


def entry_texts(reader: Reader, start: int, limit: int) -> tuple[str, ...]:
    """The exact texts of entries in order, of all who write into this book."""
    question = "SELECT bytes FROM ledger_entries WHERE sequence >= ? ORDER BY sequence LIMIT ?"
    return tuple(bytes(data).decode() for (data,) in reader.rows(question, (position(start), position(limit))))


def foreign(reader: Reader) -> bool:
    """Whether others than this workspace write into this book."""
    return bool(reader.rows("SELECT 1 FROM ledger_entries WHERE workspace <> ? LIMIT 1", (reader.workspace,)))


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
