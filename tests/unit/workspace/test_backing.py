"""A workspace comes back from its backup as it was, from either database to either; a damaged backup is refused."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import stellwerk
from stellwerk.core.errors import Conflict, Corrupt, NotFound, StellwerkError, Unavailable
from stellwerk.ledger.copying import BOOK
from stellwerk.ledger.tables import whole
from stellwerk.testing import worlds
from stellwerk.testing.postgres import Server
from stellwerk.workspace import backing
from stellwerk.workspace.facade import Workspace, connect
from stellwerk.workspace.local import LocalCaller
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.settings import Settings

SETTINGS = Settings(actor=worlds.OWNER)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace with data, a contract and a plan."""
    (tmp_path / "first").mkdir()
    with worlds.workspace(tmp_path / "first") as made:
        made.data.add(worlds.DATASET, worlds.World().parcels(300, 1))
        made.data.confirm(worlds.DATASET)
        made.declare(worlds.declared(tmp_path / "first"))
        yield made


def rooms_of(live: Workspace) -> Rooms:
    caller = live._caller
    assert isinstance(caller, LocalCaller)
    return caller.rooms


@pytest.fixture
def file(live: Workspace, tmp_path: Path) -> Path:
    backing.backup(rooms_of(live), tmp_path / "backup.tar", with_keys=True)
    return tmp_path / "backup.tar"


def contents(live: Workspace) -> tuple[Any, ...]:
    rooms = rooms_of(live)
    with rooms.database.snapshot() as session:
        rows = sorted(
            (name, sorted(map(repr, session.run(f'SELECT * FROM "{name}"').fetchall())))
            for name in rooms.database.dialect.present(session) & set(whole().tables) - set(BOOK)
        )
    assert rows
    return rooms.book.entries(), rows, sorted(rooms.blobs)


def test_everything_comes_back(live: Workspace, file: Path, tmp_path: Path) -> None:
    """Entries, rows and blobs are the same; the restored workspace goes on, signed by the same key."""
    before = contents(live)

    done = backing.restore(file, tmp_path / "second", SETTINGS)

    assert (len(before[0]), len(before[2]), True) == (done.entries, done.blobs, done.keys)
    with connect(tmp_path / "second", actor=worlds.OWNER) as again:
        assert before == contents(again)
        assert 300 == again.data.frame(worlds.DATASET).height
        again.data.add(worlds.DATASET, worlds.World().parcels(50, 2), partition="more")
        assert () == again.verify().findings
        assert () == again.fsck()


def test_keys_stay_at_home_unless_asked_for(live: Workspace, tmp_path: Path) -> None:
    """Without `with_keys` no private key is in the file; what comes back can be verified and not sign."""
    rooms = rooms_of(live)
    secrets = [key.read_bytes() for key in (rooms.layout.folder / "keys").iterdir()]
    told = backing.backup(rooms, tmp_path / "backup.tar")

    data = (tmp_path / "backup.tar").read_bytes()
    assert secrets
    assert [] == [secret for secret in secrets if secret in data]
    assert not told.keys
    assert not backing.restore(tmp_path / "backup.tar", tmp_path / "second", SETTINGS).keys
    assert [] == list((tmp_path / "second" / ".stellwerk" / "keys").iterdir())
    assert 0o600 == (tmp_path / "backup.tar").stat().st_mode & 0o777


def test_between_databases(live: Workspace, file: Path, tmp_path: Path, postgres: Server) -> None:
    """From a file to a server and back, nothing is different."""
    before = contents(live)
    on_server = replace(SETTINGS, database_url=postgres.new_database())

    backing.restore(file, tmp_path / "second", on_server, server="postgresql")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STELLWERK_DATABASE_URL", on_server.database_url)
        with connect(tmp_path / "second", actor=worlds.OWNER) as there:
            assert before == contents(there)
            assert () == there.verify().findings
            backing.backup(rooms_of(there), tmp_path / "back.tar", with_keys=True)
    backing.restore(tmp_path / "back.tar", tmp_path / "third", SETTINGS)
    with connect(tmp_path / "third", actor=worlds.OWNER) as again:
        assert before == contents(again)
    with pytest.raises(Conflict):
        backing.restore(file, tmp_path / "fourth", on_server, server="postgresql")


def test_while_others_write(live: Workspace, tmp_path: Path) -> None:
    """A backup taken in the middle of writing is of one moment: whole, and a beginning of what comes later."""
    rooms = rooms_of(live)
    stop, wrote = threading.Event(), threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            with rooms.book.write() as tx:
                tx.record("thing.made", f"thing:{number}")
            wrote.set()

    thread = threading.Thread(target=write)
    thread.start()
    wrote.wait()
    try:
        done = backing.backup(rooms, tmp_path / "backup.tar", with_keys=True)
    finally:
        stop.set()
        thread.join()

    backing.restore(tmp_path / "backup.tar", tmp_path / "second", SETTINGS)
    with connect(tmp_path / "second", actor=worlds.OWNER) as again:
        assert rooms.book.entries()[: done.entries] == rooms_of(again).book.entries()


def test_nothing_is_overwritten(live: Workspace, file: Path, tmp_path: Path) -> None:
    """Neither a file by a backup, nor a workspace by a restore."""
    before = file.read_bytes()
    with pytest.raises(Conflict):
        backing.backup(rooms_of(live), file)
    with pytest.raises(Conflict):
        backing.restore(file, tmp_path / "first", SETTINGS)
    with pytest.raises(NotFound):
        backing.restore(tmp_path / "missing.tar", tmp_path / "second", SETTINGS)

    assert before == file.read_bytes()
    assert not (tmp_path / "second" / ".stellwerk").exists()


def refused(file: Path, folder: Path) -> StellwerkError:
    with pytest.raises(StellwerkError) as caught:
        backing.restore(file, folder, SETTINGS)
    assert not list(folder.glob(".stellwerk*")), "there is no workspace, and nothing left of the attempt"
    return caught.value


def test_a_key_known_beforehand_must_be_the_books(file: Path, tmp_path: Path) -> None:
    """A backup of another book, however whole, is not taken for the one that was expected."""
    with pytest.raises(Corrupt):
        backing.restore(file, tmp_path / "second", SETTINGS, public_key=b"x" * 32)


def test_a_cut_backup_is_refused(file: Path, tmp_path: Path) -> None:
    """Wherever it was cut off."""
    data = file.read_bytes()
    for part in (0, 100, 512, len(data) // 3, len(data) // 2, len(data) - 11_000):
        file.write_bytes(data[:part])
        assert isinstance(refused(file, tmp_path / "second"), Corrupt)


def test_a_changed_byte_is_refused(file: Path, tmp_path: Path) -> None:
    """In an entry, a row, a checkpoint, a blob, the description or the list at the end."""
    with tarfile.open(file) as archive:
        places = [(member.name, member.offset_data, member.size) for member in archive if member.size]
    data = file.read_bytes()
    for name, offset, size in places:
        place = offset + size // 2
        file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert refused(file, tmp_path / "second"), name

    file.write_bytes(data)
    backing.restore(file, tmp_path / "second", SETTINGS)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "evil",
    [
        member("../outside"),
        member("/tmp/outside"),
        member("keys/../../outside"),
        member("keys/..\\outside"),
        member("keys/.hidden"),
        member("blobs/" + "0" * 63 + "/"),
        member("rows/meta; DROP TABLE meta/000000.jsonl"),
        member("rows/meta/000000.jsonl"),
        member("keys/link", tarfile.SYMTYPE, "/etc/passwd"),
        member("keys/link", tarfile.LNKTYPE, "backup.json"),
        member("keys/device", tarfile.CHRTYPE),
        member("keys/pipe", tarfile.FIFOTYPE),
        member("keys/folder", tarfile.DIRTYPE),
        member("keys/sparse", tarfile.GNUTYPE_SPARSE),
        member("checkpoints.jsonl"),
        member("ledger.db"),
    ],
    ids=lambda info: f"{info.name}-{info.type.decode(errors='replace')!r}"[:40],
)
def test_a_strange_member_is_refused(file: Path, tmp_path: Path, evil: tarfile.TarInfo) -> None:
    """Links, devices, ways out of the folder, names twice and names of no format: nothing of them is written."""
    copy = tmp_path / "evil.tar"
    before = set(tmp_path.rglob("outside"))
    with tarfile.open(file) as source, tarfile.open(copy, "w") as target:
        for number, info in enumerate(source):
            target.addfile(info, source.extractfile(info))
            if number == 1:
                target.addfile(evil, io.BytesIO())

    assert isinstance(refused(copy, tmp_path / "second"), Corrupt)
    assert before == set(tmp_path.rglob("outside"))


def test_another_schema_is_refused(file: Path, tmp_path: Path) -> None:
    """A later one is for a later version, an earlier one for an earlier version."""
    copy = tmp_path / "other.tar"
    for schema in ("1", "99"):
        with tarfile.open(file) as source, tarfile.open(copy, "w") as target:
            for info in source:
                data = source.extractfile(info)
                assert data is not None
                content = data.read()
                if info.name == "backup.json":
                    content = json.dumps({**json.loads(content), "schema": schema}).encode()
                    info.size = len(content)
                target.addfile(info, io.BytesIO(content))
        assert isinstance(refused(copy, tmp_path / "second"), Unavailable)


RESTORE = """
import sys
from pathlib import Path
from stellwerk.workspace import backing
from stellwerk.workspace.settings import Settings
backing.restore(Path(sys.argv[1]), Path(sys.argv[2]), Settings(actor="anna"))
"""


@pytest.mark.parametrize("failpoint", ["blob.fsync", "ledger.commit", "ledger.committed"])
def test_killed_while_restoring(file: Path, tmp_path: Path, failpoint: str) -> None:
    """There is no workspace then, and it can be run again."""
    ended = subprocess.run(
        [sys.executable, "-c", RESTORE, str(file), str(tmp_path / "second")],
        env={
            "PYTHONPATH": str(Path(stellwerk.__file__).parents[1]),
            "STELLWERK_FAIL": f"{failpoint}:kill:1",
            "PATH": os.environ["PATH"],
        },
        check=False,
    )

    if -signal.SIGKILL == ended.returncode:
        assert not (tmp_path / "second" / ".stellwerk").exists()
        backing.restore(file, tmp_path / "second", SETTINGS)
    else:
        assert failpoint == "blob.fsync", "all blobs of this backup went into packs"
    with connect(tmp_path / "second", actor=worlds.OWNER) as again:
        assert () == again.fsck()
