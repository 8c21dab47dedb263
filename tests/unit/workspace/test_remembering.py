"""A machine remembers the ledgers it has seen, and notices when one is rolled back or forked (L2, L3)."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stellwerk as sw
from stellwerk.core.errors import Corrupt, NotFound, Refused, StellwerkError
from stellwerk.ledger import proofs
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.ledger.keys import KeyRing, announce
from stellwerk.ledger.model import Head
from stellwerk.ledger.rules import read_checkpoint
from stellwerk.testing import worlds
from stellwerk.testing.fakes import StandingClock
from stellwerk.workspace import remembering
from stellwerk.workspace.remembering import Memory

PLACE = "https://ml.example.com"


class Server:
    """A book that answers for its head, and can be copied to become another history."""

    def __init__(self, folder: Path, origin: str = "example.com/book") -> None:
        self.folder, self.origin, self.asked = folder, origin, []  # type: tuple[Path, str, list[int]]
        folder.mkdir(exist_ok=True)
        create_key(folder / "key")
        self.signer = FileSigner(folder / "key")
        self.database = Database(folder / "ledger.db", StandingClock())
        self.database.create(origin)
        self.book = WorkspaceBook(self.database, "default", "anna")
        self.ring = KeyRing(self.book, origin, Ed25519Verifier())
        if not self.book.entries(limit=1):
            with self.book.write() as tx:
                tx.record("workspace.created", "workspace:default", {"key": self.signer.public_key.hex()})

    def write(self, count: int, text: str = "x") -> None:
        for _ in range(count):
            with self.book.write() as tx:
                tx.record("thing.made", f"thing:{text}")
        self.database.checkpoint(self.origin, self.signer)

    def rotate(self) -> None:
        create_key(self.folder / "next")
        new = FileSigner(self.folder / "next")
        with self.book.write() as tx:
            tx.record(
                "key.rotated",
                "x",
                announce(self.origin, self.ring.links(), self.signer, new, why="x", compromised=False),
            )
        self.signer = new
        self.write(1)

    def head(self, since: int) -> Head:
        self.asked.append(since)
        with self.book.read() as reader:
            note = proofs.newest(reader)
        if note is None:
            raise NotFound("nothing was signed yet")
        size = read_checkpoint(note).size
        proof = proofs.consistency(self.database, since, size) if 0 < since < size else ()
        return Head(note=note, keys=self.ring.links(), consistency=proof)

    def copy(self, folder: Path) -> Server:
        self.database.close()
        shutil.copytree(self.folder, folder)
        return Server(folder, self.origin)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server")
    made.write(3)
    yield made
    made.database.close()


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "state")


def greet(memory: Memory, server: Server, *, several: bool = False) -> None:
    memory.greet(PLACE, server.head, several=several)


def forks(tmp_path: Path) -> list[dict[str, str]]:
    return [json.loads(file.read_text()) for file in sorted((tmp_path / "state" / "forks").glob("*"))]


def test_the_first_use_is_believed_and_growth_is_proven(memory: Memory, server: Server) -> None:
    """Each contact costs one question; what was seen last is what the next proof starts from."""
    greet(memory, server)
    greet(memory, server)
    server.write(5)
    greet(memory, server)
    server.rotate()
    greet(memory, server)

    (known,) = memory.all()
    assert [0, 4, 4, 9] == server.asked
    assert (11, server.origin, server.signer.public_key.hex()) == (known.size, known.origin, known.key)


def test_what_is_remembered_is_private(memory: Memory, server: Server, tmp_path: Path) -> None:
    """Nobody else reads which servers somebody uses."""
    greet(memory, server)
    (file,) = (tmp_path / "state" / "ledgers").glob("*.json")

    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert 0o700 == stat.S_IMODE(file.parent.stat().st_mode)


def rolled_back(server: Server, tmp_path: Path, memory: Memory) -> Server:
    before = server.copy(tmp_path / "before")
    server = Server(server.folder, server.origin)
    server.write(4)
    greet(memory, server)
    server.database.close()
    return before


def branched(server: Server, tmp_path: Path, memory: Memory) -> Server:
    branch = rolled_back(server, tmp_path, memory)
    branch.write(9, "another")
    return branch


def same_size(server: Server, tmp_path: Path, memory: Memory) -> Server:
    branch = rolled_back(server, tmp_path, memory)
    branch.write(4, "another")
    return branch


def emptied(server: Server, tmp_path: Path, memory: Memory) -> Server:
    greet(memory, server)
    return Server(tmp_path / "empty", server.origin)


def rekeyed(server: Server, tmp_path: Path, memory: Memory) -> Server:
    greet(memory, server)
    other = Server(tmp_path / "other", server.origin)
    other.write(20)
    return other


def other_book(server: Server, tmp_path: Path, memory: Memory) -> Server:
    greet(memory, server)
    other = Server(tmp_path / "other", "example.com/another")
    other.write(20)
    return other


@pytest.mark.parametrize("change", [rolled_back, branched, same_size, rekeyed, other_book])
def test_another_history_is_refused_with_both_notes(
    memory: Memory, server: Server, tmp_path: Path, change: Callable[[Server, Path, Memory], Server]
) -> None:
    """Rolled back, forked, signed by a stranger or replaced: an error each time, evidence, and no forgetting."""
    other = change(server, tmp_path, memory)
    known = memory.all()

    for _ in range(2):
        with pytest.raises(Corrupt) as caught:
            greet(memory, other)
        assert "ledger-forked" == caught.value.code

    (evidence,) = forks(tmp_path)
    assert (known[0].note, other.head(0).note) == (evidence["remembered"], evidence["presented"])
    assert known == memory.all()
    other.database.close()


def test_a_book_that_shows_nothing_any_more_is_refused(memory: Memory, server: Server, tmp_path: Path) -> None:
    """Whoever was seen must go on showing; whoever never was may be silent."""
    empty = emptied(server, tmp_path, memory)
    with pytest.raises(Refused) as caught:
        greet(memory, empty)
    assert "ledger-unproven" == caught.value.code

    memory.greet("https://other.example.com", empty.head, several=False)
    assert [PLACE] == [item.place for item in memory.all()]
    empty.database.close()


def test_a_port_of_this_machine_may_serve_another_book(memory: Memory, server: Server, tmp_path: Path) -> None:
    """Each is remembered for itself; a known one must still go on from where it was."""
    greet(memory, server, several=True)
    other = Server(tmp_path / "other", "example.com/another")
    other.write(7)
    greet(memory, other, several=True)
    server.write(2)
    greet(memory, server, several=True)

    assert [("example.com/another", 8), ("example.com/book", 6)] == [
        (item.origin, item.size) for item in memory.all()
    ]
    old = other.copy(tmp_path / "old")
    other = Server(other.folder, other.origin)
    other.write(1)
    greet(memory, other, several=True)
    with pytest.raises(Corrupt):
        greet(memory, old, several=True)
    other.database.close()
    old.database.close()


def test_forgetting_is_deliberate(memory: Memory, server: Server, tmp_path: Path) -> None:
    """After `forget` the next contact is a first one; the evidence stays. What is not known cannot be forgotten."""
    other = branched(server, tmp_path, memory)
    with pytest.raises(Corrupt):
        greet(memory, other)
    assert [14 - 6] == [item.size for item in memory.forget(PLACE + "/")]
    greet(memory, other)

    assert [13] == [item.size for item in memory.all()]
    assert 1 == len(forks(tmp_path))
    with pytest.raises(NotFound):
        memory.forget("https://nowhere.example.com")
    other.database.close()


def test_damaged_memory_is_said(memory: Memory, server: Server, tmp_path: Path) -> None:
    """A file that cannot be read is neither believed nor replaced."""
    greet(memory, server)
    (file,) = (tmp_path / "state" / "ledgers").glob("*.json")
    for text in (
        "",
        "[]",
        "{}",
        file.read_text().replace("stellwerk-remembered/1", "x"),
        file.read_text().replace("\\n", ""),
    ):
        file.write_text(text)
        with pytest.raises(Corrupt) as caught:
            greet(memory, server)
        assert ("corrupt-memory", text) == (caught.value.code, file.read_text())


def test_a_forged_head_is_refused(memory: Memory, server: Server) -> None:
    """Notes that are not signed, or signed by no key of the chain, are not remembered at first contact either."""
    head = server.head(0)
    for note in ("", head.note.replace("\n4\n", "\n5\n"), head.note + "x"):
        with pytest.raises(StellwerkError):
            memory.greet(PLACE, lambda _, note=note: Head(note=note, keys=head.keys, consistency=()), several=False)
    with pytest.raises(StellwerkError):
        memory.greet(PLACE, lambda _: Head(note=head.note, keys=(), consistency=()), several=False)

    assert [] == memory.all()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_home_that_cannot_be_written_is_no_obstacle(server: Server, tmp_path: Path) -> None:
    """Nothing is remembered there, and work goes on."""
    (tmp_path / "home").mkdir(mode=0o500)
    memory = Memory(tmp_path / "home" / "state")
    greet(memory, server)

    assert [] == memory.all()


def test_a_process_asks_once(memory: Memory, server: Server) -> None:
    """The one question is not repeated for every connection."""
    for _ in range(3):
        memory.greet(PLACE + "/once", server.head, several=False, once=True)

    assert 1 == len(server.asked)


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://localhost:7700", True), ("http://127.0.0.1", True), ("http://[::1]:1", True), ("nonsense", False),
     ("https://ml.example.com", False), ("http://127.0.0.1.example.com", False), ("http://10.0.0.1", False)],
)  # fmt: skip
def test_which_addresses_are_this_machine(url: str, expected: bool) -> None:
    """Only loopback addresses and their name."""
    assert expected == remembering.is_loopback(url)


def test_a_workspace_in_a_folder_is_remembered(tmp_path: Path) -> None:
    """A folder whose database was put back to an older state says so, until somebody forgets it on purpose; a new
    workspace in its place is just that."""
    folder = tmp_path / "project"
    worlds.workspace(folder).close()
    database = folder / ".stellwerk" / "ledger.db"
    old = database.read_bytes()
    with sw.connect(folder, actor=worlds.OWNER) as house:
        house.data.add(worlds.DATASET, worlds.World().parcels(50, 1))
    database.write_bytes(old)

    with pytest.raises(Corrupt) as caught:
        sw.connect(folder, actor=worlds.OWNER)
    assert "ledger-forked" == caught.value.code
    assert str(tmp_path) not in caught.value.message + caught.value.hint

    Memory(Path(os.environ["STELLWERK_STATE"])).forget(str(folder / ".stellwerk"))
    with sw.connect(folder, actor=worlds.OWNER) as house:
        assert 1 <= len(house.verify().findings)  # the copies of checkpoints beside the database know more
    shutil.rmtree(folder / ".stellwerk")
    with worlds.workspace(folder) as house:
        assert () == house.verify().findings
