"""Law 7: what was acknowledged survives kill -9 at every durable step and at any moment, power cuts, a failing disk."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import stellwerk
from stellwerk.core import failpoints
from stellwerk.core.clock import SystemClock
from stellwerk.core.digest import parse
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key
from stellwerk.ledger.database import Database
from stellwerk.ledger.verify import verify_book
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.fsck import Catalogue, check_blobs, check_references

pytestmark = pytest.mark.faults

WRITER = Path(__file__).with_name("ground_writer.py")
ORIGIN = "example.com/faults"
GROUND = sorted(
    name for name in failpoints.NAMES if name.startswith(("blob.", "pack.", "chunks.", "remove.", "ledger."))
)


@dataclass
class Acknowledged:
    """What the writer said, over all its lives."""

    blobs: set[str] = field(default_factory=set)
    entries: dict[int, tuple[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    finished: int = 0

    def hear(self, output: str) -> None:
        """Take in whole lines; a line that was cut off was not said."""
        for line in output.splitlines(keepends=True):
            word, _, rest = line.rstrip("\n").partition(" ")
            if not line.endswith("\n"):
                continue
            if word == "blob":
                self.blobs.add(rest)
            elif word == "entry":
                sequence, subject, digest = rest.split(" ")
                self.entries[int(sequence)] = (subject, digest)
            elif word == "note":
                self.notes.append(json.loads(rest))
            elif word == "refused":
                self.refusals.append(rest)
            elif word == "done":
                self.finished += 1


class Ground:
    """A store and a book that many writers died over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.said = Acknowledged()
        self.lives = 0
        create_key(folder / "key")

    def start(self, *, rounds: int, fail: str = "") -> subprocess.Popen[str]:
        self.lives += 1
        return subprocess.Popen(
            [sys.executable, str(WRITER), str(self.folder), f"life{self.lives}", str(rounds)],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(Path(stellwerk.__file__).parents[1]), "STELLWERK_FAIL": fail},
        )

    def live(self, *, rounds: int, fail: str = "") -> int:
        """One life of a writer; returns how it ended."""
        child = self.start(rounds=rounds, fail=fail)
        self.said.hear(child.communicate(timeout=60)[0])
        return child.returncode

    def check(self) -> None:
        """Everything acknowledged is there, and what is there is whole."""
        blobs = LocalFolder(self.folder / "blobs")
        for digest in self.said.blobs:
            assert digest == parse(digest)
            assert blobs.get(parse(digest))
        blobs.close()
        assert [] == [damage for damage in check_blobs(self.folder / "blobs") if damage.severity == "error"]

        key = FileSigner(self.folder / "key").public_key
        verifier = Ed25519Verifier()
        count, findings = verify_book(
            self.folder / "ledger.db",
            ORIGIN,
            verifier.verify,
            self.said.notes,
            public_key=key,
        )
        assert [] == findings

        database = Database(self.folder / "ledger.db", SystemClock())
        kept = {entry.sequence: (entry.subject, entry.body["blob"]) for entry in database.entries("default")}
        database.close()
        assert count == len(kept)
        assert self.said.entries == {sequence: kept.get(sequence) for sequence in self.said.entries}
        # The blob is durable before the entry: also an entry nobody was told of has its blob and its row.
        with closing(Catalogue(self.folder / "blobs")) as catalogue:
            assert [] == check_references(catalogue, [(digest, subject) for subject, digest in kept.values()])
        with closing(sqlite3.connect(self.folder / "ledger.db")) as connection:
            rows = {f"fact:{name}" for (name,) in connection.execute("SELECT name FROM fault_facts")}
        assert rows == {subject for subject, _ in kept.values()}


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def test_killed_at_every_failpoint(ground: Ground) -> None:
    """A writer killed before and after each durable step, early and late, loses nothing it acknowledged."""
    assert {
        "blob.open",
        "blob.write",
        "blob.fsync",
        "blob.link",
        "blob.dirsync",
        "chunks.link",
        "ledger.record",
        "ledger.commit",
        "ledger.committed",
        "pack.open",
        "pack.write",
        "pack.fsync",
        "pack.link",
        "remove.unlink",
        "remove.rewritten",
        "remove.indexed",
    } == set(GROUND)

    for nth in (1, 3):
        for name in GROUND:
            ended = ground.live(rounds=9, fail=f"{name}:kill:{nth}")
            assert (name, -signal.SIGKILL) == (name, ended), "this failpoint was not hit"
            ground.check()

    assert 0 == ground.said.finished
    assert len(ground.said.entries) >= len(GROUND)
    assert 0 == ground.live(rounds=3)
    ground.check()


LIVES = 40
"""After so many a new ground is begun, because all of it is read after each."""


def test_killed_at_random(ground: Ground) -> None:
    """A writer killed at any moment loses nothing it acknowledged; the next one goes on where it was."""
    seed = int(os.environ.get("STELLWERK_SEED", random.SystemRandom().getrandbits(32)))
    print(f"STELLWERK_SEED={seed}")
    chance = random.Random(seed)

    for number in range(int(os.environ.get("STELLWERK_KILLS", "8"))):
        if number and number % LIVES == 0:
            assert ground.said.entries
            ground = Ground(ground.folder.with_name(f"ground-{number}"))
        child = ground.start(rounds=10_000)
        assert child.stdout is not None
        heard = [child.stdout.readline() for _ in range(chance.randrange(1, 40))]
        for _ in range(chance.randrange(20_000)):
            pass  # somewhere between two acknowledgements
        child.kill()
        ground.said.hear("".join(heard) + child.communicate(timeout=60)[0])
        assert -signal.SIGKILL == child.returncode
        ground.check()

    assert ground.said.entries
    LocalFolder(ground.folder / "blobs").sweep()
    assert [] == check_blobs(ground.folder / "blobs")


@pytest.mark.parametrize(
    ("action", "codes"),
    [("full", {"disk-full"}), ("eio", {"store-unavailable", "database-unavailable"})],
)
def test_a_failing_disk_is_refused_and_nothing_is_lost(ground: Ground, action: str, codes: set[str]) -> None:
    """A full or failing disk at each durable step is `Unavailable`; the same process goes on afterwards."""
    plan = ",".join(f"{name}:{action}:{nth}" for nth, name in enumerate(GROUND, start=2))

    assert 0 == ground.live(rounds=60, fail=plan)

    assert len(GROUND) == len(ground.said.refusals), "every failpoint refused once"
    assert codes == set(ground.said.refusals)
    assert 1 == ground.said.finished
    assert len(ground.said.entries) >= 60 - len(GROUND)
    ground.check()
    assert [] == check_blobs(ground.folder / "blobs")


class Disk:
    """A file system of its own in a file, whose power can be cut: what was not synced is gone.

    Linux and root only. The writers are killed first: a machine without power executes nothing. It is mounted where
    only this process and its children see it (mount_namespaces(7)): however the tests end, no mount is left behind.
    """

    SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH

    def __init__(self, folder: Path) -> None:
        self.image, self.place = folder / "image", folder / "disk"
        self.place.mkdir()
        with self.image.open("wb") as image:
            image.truncate(300 << 20)
        self._run("mkfs.ext4", "-q", str(self.image))
        _leave_the_common_mounts()
        self.mount()

    def mount(self) -> None:
        # A long commit interval: the journal does not save by chance what nobody synced.
        self._run("mount", "-o", "loop,commit=300", str(self.image), str(self.place))

    def unmount(self) -> None:
        self._run("umount", str(self.place))

    def cut(self) -> None:
        """Take the power away and give it back."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, self.SHUTDOWN, struct.pack("I", self.NO_LOG_FLUSH))
        finally:
            os.close(descriptor)
        self.unmount()
        self.mount()

    def _run(self, *command: str) -> None:
        subprocess.run(command, check=True, capture_output=True)


def _leave_the_common_mounts() -> None:
    """What this process mounts from here on is its own, and gone with it. `os.unshare` came with Python 3.12."""
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, private, recursive = 0x20000, 1 << 18, 1 << 14  # CLONE_NEWNS, MS_PRIVATE, MS_REC
    if libc.unshare(new_namespace) or libc.mount(b"none", b"/", None, recursive | private, None):
        raise OSError(ctypes.get_errno(), "no mounts of its own for this process")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("only root can mount a disk and cut its power")
    try:
        disk = Disk(tmp_path)
    except OSError as cause:
        pytest.skip(f"no disk can be mounted here: {cause}")
    except subprocess.CalledProcessError as cause:
        pytest.skip(f"no disk can be mounted here: {cause.stderr.decode().strip()}")
    yield disk
    disk.unmount()


def test_power_cuts(disk: Disk) -> None:
    """At whatever moment the power goes, what was acknowledged is there when it comes back, and nothing is damaged."""
    seed = int(os.environ.get("STELLWERK_SEED", random.SystemRandom().getrandbits(32)))
    print(f"STELLWERK_SEED={seed}")
    chance = random.Random(seed)
    folder = disk.place / "ground"
    folder.mkdir()
    ground = Ground(folder)
    os.sync()

    for _ in range(int(os.environ.get("STELLWERK_CUTS", "5"))):
        child = ground.start(rounds=10_000)
        assert child.stdout is not None
        heard = [child.stdout.readline() for _ in range(chance.randrange(1, 120))]
        for _ in range(chance.randrange(50_000)):
            pass  # somewhere between two acknowledgements
        child.kill()
        ground.said.hear("".join(heard) + child.communicate(timeout=60)[0])
        assert -signal.SIGKILL == child.returncode
        disk.cut()
        ground.check()

    assert ground.said.blobs
    assert ground.said.entries
    with closing(LocalFolder(folder / "blobs")) as blobs:  # what stays open keeps the disk from being unmounted
        blobs.sweep()
    assert [] == check_blobs(folder / "blobs")
