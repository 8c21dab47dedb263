"""What every released version wrote can be read, verified and continued by this one."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from stellwerk.core import canonical
from stellwerk.core.digest import of_bytes
from stellwerk.ledger import rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier
from stellwerk.ledger.database import Database
from stellwerk.ledger.verify import verify_book
from stellwerk.store import service
from stellwerk.store.adapters.local import LocalFolder
from stellwerk.store.fsck import Catalogue, check_blobs, check_references
from stellwerk.testing.fakes import StandingClock

HERE = Path(__file__).parent
VERSIONS = sorted(path.name for path in HERE.glob("v*") if path.is_dir())
VERIFIER = Ed25519Verifier()


def _writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("write_fixture", HERE / "write_fixture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look up their annotations
    spec.loader.exec_module(module)
    return module


WRITER = _writer()


class Fixture:
    """A copy of what a version wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected: dict[str, Any] = json.loads((folder / "expected.json").read_text("utf-8"))
        self.key = bytes.fromhex((folder / "public-key.hex").read_text("ascii"))
        self.note = (folder / "checkpoint.txt").read_bytes().decode()
        self.book = folder / "ledger.db"

    def verify(self) -> tuple[int, list[Any]]:
        count, findings = verify_book(
            self.book,
            self.expected["origin"],
            VERIFIER.verify,
            [self.note],
            public_key=self.key,
        )
        return count, list(findings)


@pytest.fixture(params=VERSIONS)
def fixture(request: pytest.FixtureRequest, tmp_path: Path) -> Fixture:
    shutil.copytree(HERE / request.param, tmp_path / "copy")
    return Fixture(tmp_path / "copy")


def test_every_version_is_here() -> None:
    """A fixture that is lost is a promise that nobody checks."""
    assert {"v0.1", "v0.2"} <= set(VERSIONS)


def test_the_store_is_read(fixture: Fixture) -> None:
    """Every blob and file is there under its digest, and the store is clean."""
    blobs = LocalFolder(fixture.folder / "blobs")
    files = service.files(blobs, fixture.expected["tree"])

    assert fixture.expected["files"] == files
    assert list(files.values()) == [of_bytes(blobs.get(digest)) for digest in files.values()]
    assert bytes(range(256)) == blobs.get(service.find(blobs, fixture.expected["tree"], "model/weights.bin"))
    assert [True] == [
        entry.executable for path, entry in service.walk(blobs, fixture.expected["tree"]) if path == "train.sh"
    ]
    assert [] == check_blobs(fixture.folder / "blobs")
    assert [] == check_references(
        Catalogue(fixture.folder / "blobs"), [(digest, path) for path, digest in files.items()]
    )


def test_the_book_is_verified(fixture: Fixture) -> None:
    """By the verifier, against the checkpoint that was kept beside it."""
    assert (len(fixture.expected["entries"]), []) == fixture.verify()
    assert len(fixture.expected["entries"]) == rules.open_checkpoint(fixture.note, fixture.key, VERIFIER).size


def test_the_book_is_read(fixture: Fixture) -> None:
    """Entries, and the rows of a shelf, have the values that were written."""
    database = Database(fixture.book, StandingClock())
    database.migrate()
    assert fixture.expected["origin"] == database.open()
    found = [
        canonical.loads(rules.entry_bytes(entry))
        for workspace in ("workspace-0", "workspace-1")
        for entry in database.entries(workspace)
    ]
    assert fixture.expected["entries"] == sorted(found, key=lambda entry: int(entry["sequence"]))

    with database.read("workspace-1") as reader:
        samples = WRITER.SAMPLES.select(reader, flag=True, order="-count")
    assert [3, 1] == [sample.count for sample in samples]
    assert (WRITER.Part(label="ü", weight=1e16), WRITER.Part(label="b", weight=-0.1)) == samples[0].parts
    assert "2026-01-02T03:04:08.000678+00:00" == samples[0].at.isoformat()
    database.close()


def test_the_envelope_is_opened(fixture: Fixture) -> None:
    """A statement signed then is valid now."""
    envelope = canonical.loads((fixture.folder / "envelope.json").read_bytes())

    assert fixture.expected["statement"] == rules.unseal(envelope, fixture.key, VERIFIER, rules.PAYLOAD_TYPE)


def test_the_book_goes_on(fixture: Fixture) -> None:
    """This version appends to what that one wrote: the old checkpoint is proven to be its beginning."""
    old = rules.open_checkpoint(fixture.note, fixture.key, VERIFIER)
    database = Database(fixture.book, StandingClock())
    database.migrate()
    database.open()
    with database.write("workspace-0", "ben") as tx:
        WRITER.SAMPLES.put(tx, WRITER.Sample(name="new"))
        tx.record("sample.made", "sample:new", {"tree": of_bytes(b"x")})

    proof = database.consistency(old.size, old.size + 1)
    leaves = [
        rules.leaf_hash(rules.entry_bytes(entry))
        for entry in sorted(
            [*database.entries("workspace-0"), *database.entries("workspace-1")], key=lambda entry: entry.sequence
        )
    ]
    nodes: dict[tuple[int, int], bytes] = {}
    for size, leaf in enumerate(leaves):
        for level, index, value in rules.new_nodes(size, leaf, lambda *place: nodes[place]):
            nodes[level, index] = value
    head = rules.root(len(leaves), lambda *place: nodes[place])

    assert rules.verify_consistency(old.size, old.size + 1, old.root, head, proof)
    database.close()
    assert (old.size + 1, []) == fixture.verify()
