"""Group commit: changes of many threads, one after another in one transaction, made durable by one sync.

The turn goes from block to block in the order of asking. Whoever ends a block while nobody waits, or when the group is
full, commits for all; the others wait for that. Each block is a unit of its own: one that fails takes back only itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from stellwerk.core import failpoints
from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Bug, Corrupt, StellwerkError, Unavailable
from stellwerk.ledger.dialects.port import Dialect, Session
from stellwerk.ledger.failures import failpoint, unusable
from stellwerk.ledger.growing import Edge, grown
from stellwerk.ledger.rules import leaf_hash
from stellwerk.ledger.turns import Latch, Turn

failpoints.declare("ledger.commit", "ledger.committed")

WAIT_SECONDS = 15.0
MAX_BLOCKS = 256
MAX_SECONDS = 0.02
"""After so many blocks or so long a time a group ends, so that other processes get their turn."""


EntryRow = tuple[int, str, str, str, str, str, bytes]
"""Sequence, workspace, at, actor, kind, subject, bytes."""

_INSERT_ENTRY = (
    "INSERT INTO ledger_entries (sequence, workspace, at, actor, kind, subject, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_INSERT_NODE = 'INSERT INTO ledger_nodes (level, "index", hash) VALUES (?, ?, ?)'


class Group:
    """Blocks that share one commit."""

    def __init__(self) -> None:
        self.blocks = 0
        self.began = monotonic()
        self.settled = Latch()
        self.failure: Exception | None = None

    @property
    def full(self) -> bool:
        return self.blocks >= MAX_BLOCKS or monotonic() - self.began > MAX_SECONDS


class Change:
    """The open transaction as a block sees it: the connection, how long the book is, and the edge of its tree."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.edge = Edge(self._node)
        self._size: int | None = None

    @property
    def size(self) -> int:
        """How many entries the book has. Looked up in each transaction, for others may have written since."""
        if self._size is None:
            (last,) = self.session.one("SELECT MAX(sequence) FROM ledger_entries")
            self._size = 0 if last is None else int(last) + 1
        return self._size

    def append(self, rows: Sequence[EntryRow]) -> None:
        """Write entries, of which the first has the next sequence, and the nodes of the tree that they complete."""
        fresh = list(grown(self.size, [leaf_hash(row[-1]) for row in rows], self.edge))
        self.session.run_many(_INSERT_ENTRY, rows)
        self.session.run_many(_INSERT_NODE, fresh)
        self._size = self.size + len(rows)
        self.edge.learn(fresh)

    def begin(self) -> None:
        """A new transaction: what was known of the size may be outdated."""
        self._size = None

    def taken_back(self) -> None:
        """Something of this transaction was taken back, and must not be built on."""
        self._size = None
        self.edge.forget()

    def _node(self, level: int, index: int) -> bytes:
        row = self.session.one('SELECT hash FROM ledger_nodes WHERE level = ? AND "index" = ?', (level, index))
        if row is None:
            raise Corrupt(f"the book has no tree node {level}/{index}", code="corrupt-ledger")
        return bytes(row[0])


class Committer:
    """Writes for all threads of this process, on one connection that is opened when first needed."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._turn = Turn()
        self._group: Group | None = None
        self._change: Change | None = None
        self.check: Callable[[Session], None] | None = None
        """Asked at the beginning of each transaction whether one may still write."""

    @property
    def inside(self) -> Session | None:
        """The connection of the block that this thread is in: what it reads meanwhile must be what it builds on."""
        return self._change.session if self._turn.mine() and self._change is not None else None

    @contextmanager
    def block(self) -> Iterator[Change]:
        """One all-or-nothing change; durable when the block is left without an exception."""
        if self._turn.mine():
            raise Bug("a transaction was begun inside another one of the same thread")
        group: Group | None = None
        refused: Exception | None = None
        try:
            group = self._enter()
            with self._unit(group) as change:
                yield change
        except Exception as cause:  # noqa: BLE001 - raised below, when it is known what it rests on
            refused = cause
        finally:
            if self._turn.mine():
                self._pass_on()
        if group is not None and (group.blocks or group.failure is not None):
            group.settled.wait()
            # What a block found wrong may rest on what others of its group wrote: their failure is the answer then.
            if group.failure is not None and group.failure is not refused:
                raise self._words(group.failure) from group.failure
        if refused is not None:
            raise refused

    def close(self) -> None:
        """Release the connection, after what is under way is committed."""
        try:
            if self._turn.take(WAIT_SECONDS):
                if self._group is not None:
                    self._settle(self._group)  # whoever came before handed it over to be committed
                self._drop()
        finally:
            if self._turn.mine():
                self._turn.end()

    def _enter(self) -> Group:
        """Wait for the turn, and join the group or begin one."""
        if not self._turn.take(WAIT_SECONDS):
            raise Unavailable(
                "another thread is writing to this workspace", code="database-busy", hint="wait for it and try again"
            )
        if self._group is None:
            try:
                self._begin()
            except Exception as cause:
                # The connection may have died while nobody wrote; nothing has begun that could be done twice.
                if not self._dialect.is_lost(cause):
                    raise
                self._begin()
            self._group = Group()
        return self._group

    def _begin(self) -> None:
        if self._change is None:
            self._change = Change(self._dialect.writer())
        self._change.begin()
        try:
            self._dialect.begin_writing(self._change.session)
            if self.check is not None:
                self.check(self._change.session)
        except BaseException as cause:
            self._abandon()
            if self._dialect.is_lost(cause):
                self._drop()
            raise

    @contextmanager
    def _unit(self, group: Group) -> Iterator[Change]:
        change, alone = self._change, not group.blocks
        if change is None:
            raise Bug("a group has no connection")
        try:
            if not alone:
                change.session.run("SAVEPOINT block")
            yield change
            if not alone:
                change.session.run("RELEASE SAVEPOINT block")
            group.blocks += 1
        except BaseException as cause:
            if alone:
                self._abandon()  # nobody else wrote yet: no savepoint was needed
            else:
                self._take_back(change, group, cause)
            raise

    def _take_back(self, change: Change, group: Group, cause: BaseException) -> None:
        """Take back one block; where that cannot be done, nothing of its group is kept."""
        change.taken_back()
        try:
            # A full or failing disk makes the database take back everything by itself.
            if self._dialect.in_transaction(change.session):
                change.session.run("ROLLBACK TO SAVEPOINT block")
                change.session.run("RELEASE SAVEPOINT block")
                return
            group.failure = cause if isinstance(cause, Exception) else None
        except BaseException as lost:
            group.failure = (
                lost if isinstance(lost, Exception) else unusable("interrupted while taking back a change")
            )
            if not isinstance(lost, Exception):
                raise
        finally:
            if group.failure is not None or not self._dialect.in_transaction(change.session):
                group.failure = group.failure or unusable("a transaction was lost")
                self._abandon()
                group.settled.open()

    def _pass_on(self) -> None:
        """End this thread's turn: the next in line goes on in the same transaction, or it is committed now."""
        group = self._group
        if (group is None or not group.full) and self._turn.hand_over():
            return
        try:
            if group is not None:
                self._settle(group)
        finally:
            self._turn.end()

    def _settle(self, group: Group) -> None:
        """Commit for all. An interrupt of this thread waits until that is done: it must not take back others' work."""
        self._group, change = None, self._change
        interrupt: BaseException | None = None
        try:
            if change is None:
                raise Bug("a group has no connection")
            failpoint("ledger.commit")
            try:
                self._dialect.commit(change.session)
            except (KeyboardInterrupt, SystemExit) as stopped:
                interrupt = stopped
                if not self._dialect.committed(change.session):
                    self._dialect.commit(change.session)
            failpoint("ledger.committed")
        except BaseException as cause:
            group.failure = cause if isinstance(cause, Exception) else unusable("interrupted while committing")
            self._abandon()
            if not isinstance(cause, Exception):
                raise
        finally:
            group.settled.open()
        if interrupt is not None:
            raise interrupt

    def _abandon(self) -> None:
        """Take back the whole transaction; a connection that cannot do even that is given up."""
        self._group, change = None, self._change
        if change is None:
            return
        change.taken_back()
        try:
            if self._dialect.in_transaction(change.session):
                change.session.run("ROLLBACK")
        except BaseException as cause:
            self._drop()
            if not isinstance(cause, Exception):
                raise

    def _drop(self) -> None:
        change, self._change = self._change, None
        if change is not None:
            change.session.close()

    def _words(self, cause: Exception) -> Exception:
        if isinstance(cause, StellwerkError):
            return type(cause)(cause.message, code=cause.code, hint=cause.hint)
        return self._dialect.explain(cause) or unusable("another change of the same group was lost")
