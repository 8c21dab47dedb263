"""Foreign digests: what other tools call the bytes we keep, so that nothing is read twice to be recognised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.data.dvc import hashing
from stellwerk.data.model import ForeignDigest
from stellwerk.data.shelves import FOREIGN
from stellwerk.ledger.ports import Book
from stellwerk.store.ports import Blobs

ALGORITHMS = ("md5", "md5-dos2unix")


class ForeignDigests:
    """An index from foreign digests to ours. It keeps nothing alive: a blob that is gone is simply not found."""

    def __init__(self, book: Book, blobs: Blobs) -> None:
        self._book, self._blobs = book, blobs

    def find(self, algorithm: str, values: Iterable[str]) -> list[ForeignDigest]:
        """Those that are known and whose bytes are in the store, in no order."""
        _check(algorithm)
        with self._book.read() as reader:
            found = FOREIGN.among(reader, "value", values, algorithm=algorithm)
        return [one for one in found if self._blobs.has(one.digest)]

    def names(self, algorithm: str, digests: Iterable[Digest]) -> list[ForeignDigest]:
        """What a tool calls some of our digests, where that is known."""
        _check(algorithm)
        with self._book.read() as reader:
            return FOREIGN.among(reader, "digest", digests, algorithm=algorithm)

    def remember(self, found: Sequence[ForeignDigest]) -> int:
        """Enter many at once, with one entry of the ledger; returns how many were new.

        The caller has computed both digests of the same bytes. Of a folder the first tree stays: others differ from
        it only in what DVC does not keep.

        Raises:
            Conflict: `foreign-collision`: a digest is known for other bytes; nothing is entered.
        """
        fresh: dict[tuple[str, str], ForeignDigest] = {}
        with self._book.write() as tx:
            for algorithm in {one.algorithm for one in found}:
                _check(algorithm)
                values = [one.value for one in found if one.algorithm == algorithm]
                for one in FOREIGN.among(tx, "value", values, algorithm=algorithm):
                    fresh[one.algorithm, one.value] = one
            known = set(fresh)
            for one in found:
                there = fresh.setdefault((one.algorithm, one.value), one)
                if there.digest != one.digest and not one.directory:
                    raise _collision(one, there)
            new = [one for key, one in fresh.items() if key not in known]
            if new:
                FOREIGN.insert_new(tx, new)
                listing = sorted([one.algorithm, one.value, one.digest] for one in new)
                tx.record(
                    "foreign.remembered",
                    "foreign:digests",
                    {"algorithms": dict(Counter(one.algorithm for one in new)), "listing": canonical.digest(listing)},
                )
        return len(new)

    def check_and_remember(self, found: Sequence[ForeignDigest]) -> int:
        """`remember` for what others say they computed: each is computed again from the bytes in the store.

        Raises:
            Invalid: `foreign-mismatch`: a digest is not that of the bytes, or names a folder, which has no bytes here.
        """
        for one in found:
            _check(one.algorithm)
            if one.directory:
                raise Invalid(
                    f"{one.value[:60]!r} names a folder; only files can be checked", code="foreign-mismatch"
                )
            if not self._blobs.has(one.digest):
                raise NotFound(f"the store holds no {one.digest}", hint="put the bytes before what refers to them")
            value, size = hashing.of_chunks(self._blobs.stream(one.digest), one.algorithm)
            if (value, size) != (one.value, one.size):
                raise Invalid(
                    f"{one.digest} has the {one.algorithm} {value} and {size} bytes "
                    f"(got {one.value[:60]!r} and {one.size})",
                    code="foreign-mismatch",
                )
        return self.remember(found)


def _check(algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        raise Invalid(
            f"foreign digests of {algorithm[:40]!r} are not kept (expected one of {', '.join(ALGORITHMS)})",
            code="unknown-algorithm",
        )


def _collision(one: ForeignDigest, there: ForeignDigest) -> Conflict:
    return Conflict(
        f"the {one.algorithm} {one.value} names two contents: {there.digest} and {one.digest}",
        code="foreign-collision",
        hint="somebody made one of them on purpose; find out which is meant, and hash it anew",
    )
