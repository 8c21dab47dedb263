"""Bytes between a folder, a server and a bucket, by real processes: `sync`, `remote`, `data push` and `data pull`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import stellwerk as sw
from stellwerk.core.digest import Digest
from stellwerk.store import service as trees
from stellwerk.testing import buckets, worlds
from stellwerk.workspace.layout import find
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.rooms.making import create
from stellwerk.workspace.settings import Settings

pytestmark = pytest.mark.slow

ANNA = Settings(actor="anna")
FILES = 800


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with buckets.bucket_server() as url:
        yield url


@pytest.fixture(scope="module")
def environment(endpoint: str) -> dict[str, str]:
    """What a person sets once."""
    return {
        "STELLWERK_ACTOR": "anna",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": buckets.KEY,
        "AWS_SECRET_ACCESS_KEY": buckets.SECRET,
        "AWS_REGION": "us-east-1",
    }


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a dataset of many small files and one long one, and another dataset."""
    folder = tmp_path_factory.mktemp("original")
    rooms = Rooms(create(folder, ANNA), ANNA)
    files: dict[str, bytes | Digest] = {f"{n % 30}/{n}.txt": b"file %d" % n for n in range(FILES)}
    tree = trees.put_files(rooms.blobs, {**files, "long.bin": os.urandom(20 << 20)})
    rooms.datasets.record("many", tree=tree)
    rooms.datasets.record("few", tree=trees.put_files(rooms.blobs, {"one.txt": b"only this"}))
    rooms.close()
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    shutil.copytree(original, tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def bare(original: Path, tmp_path: Path) -> Path:
    """The same ledger without any bytes, as after cloning a project."""
    shutil.copytree(original, tmp_path / "bare")
    shutil.rmtree(tmp_path / "bare" / ".stellwerk" / "blobs")
    return tmp_path / "bare"


def start(folder: Path, environment: Mapping[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        worlds.command(folder, *words),
        env={**os.environ, **environment},
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def say(folder: Path, environment: Mapping[str, str], *words: str, code: int = 0) -> Any:
    """What a command answers as JSON."""
    process = start(folder, environment, *words, "--json")
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert buckets.SECRET not in out + err
    return json.loads(out if code in (0, 7) and out else err)


def whole(folder: Path) -> bool:
    """Whether everything that the ledger names is there and undamaged."""
    with sw.connect(folder, actor="anna") as workspace:
        return () == workspace.fsck()


class TestABucket:
    """s3://…"""

    def test_there_and_back(self, folder: Path, bare: Path, environment: dict[str, str]) -> None:
        """Everything arrives, a second run copies nothing, and a bare ledger is filled again from there."""
        place = f"s3://{buckets.BUCKET}/there-and-back"
        promised = say(folder, environment, "sync", place, "--dry-run")
        first = say(folder, environment, "sync", place)
        again = say(folder, environment, "sync", place)
        back = say(bare, environment, "sync", ".", "--from", place)

        assert promised == first
        assert first["copied"] == first["wanted"] > FILES
        assert [] == first["lost"]
        assert (0, 0) == (again["copied"], again["bytes"])
        assert first["copied"] == back["copied"]
        assert whole(bare)

    def test_a_killed_run_goes_on(self, folder: Path, environment: dict[str, str]) -> None:
        """Killed in the middle, the next run sends only the rest."""
        place = f"s3://{buckets.BUCKET}/killed"
        total = say(folder, environment, "sync", place, "--dry-run")["copied"]
        store = buckets.blobs(environment["AWS_ENDPOINT_URL"], "killed")
        process = start(folder, {**environment, "STELLWERK_FAIL": "s3.put:kill:200"}, "sync", place)
        process.communicate()
        arrived = len(list(store))
        rest = say(folder, environment, "sync", place)

        assert -signal.SIGKILL == process.returncode
        assert 100 < arrived < total
        assert rest["copied"] <= total - arrived
        assert total == len(list(store))
        store.close()

    def test_push_and_pull_one_dataset(self, folder: Path, bare: Path, environment: dict[str, str]) -> None:
        """By the name of a remote, which is kept; the other dataset is not touched."""
        place = f"s3://{buckets.BUCKET}/one"
        for here in (folder, bare):
            assert {"origin": place} == say(here, environment, "remote", "add", "origin", place)
        pushed = say(folder, environment, "data", "push", "origin", "few")
        pulled = say(bare, environment, "data", "pull", "origin", "few")
        missing = say(bare, environment, "data", "pull", "origin", "many", code=7)

        assert (2, 2) == (pushed["copied"], pulled["copied"])
        assert ["neither place has it"] == [loss["problem"] for loss in missing["lost"]]
        assert {"origin": place} == say(folder, environment, "remote", "ls")
        assert {} == say(folder, environment, "remote", "rm", "origin")

    def test_no_credentials_are_said_at_once(self, folder: Path, environment: dict[str, str]) -> None:
        """And nothing is asked of the network."""
        bare = {**environment, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(folder)}
        error = say(folder, bare, "sync", f"s3://{buckets.BUCKET}/x", code=8)

        assert "no-credentials" == error["code"]

    def test_a_profile_is_enough(self, folder: Path, environment: dict[str, str], tmp_path: Path) -> None:
        """As other tools keep it."""
        (tmp_path / "profiles").write_text(
            f"[work]\naws_access_key_id = {buckets.KEY}\naws_secret_access_key = {buckets.SECRET}\n"
        )
        profile = {**environment, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
        profile |= {"AWS_PROFILE": "work", "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "profiles")}

        assert 2 == say(folder, profile, "sync", f"s3://{buckets.BUCKET}/profile", "--dataset", "few")["copied"]


class TestAServer:
    """http://…"""

    def test_there_and_back(self, folder: Path, bare: Path, environment: dict[str, str]) -> None:
        """From a server that has everything, and to one that has nothing."""
        with worlds.server(folder) as url:
            pulled = say(bare, environment, "sync", ".", "--from", url)
            again = say(bare, environment, "sync", ".", "--from", url)
            bucket = say(bare, environment, "sync", f"s3://{buckets.BUCKET}/from-server", "--from", url)

        assert pulled["copied"] > FILES
        assert 0 == again["copied"]
        assert pulled["copied"] == bucket["copied"]
        assert whole(bare)

    def test_pushed_to_a_server(self, folder: Path, bare: Path, environment: dict[str, str]) -> None:
        """The server's store is filled from here."""
        with worlds.server(bare) as url:
            pushed = say(folder, environment, "data", "push", url, "many")
            assert 0 == say(folder, environment, "data", "push", url, "many")["copied"]

        assert pushed["copied"] > FILES
        assert [] == pushed["lost"]

    def test_a_server_that_is_gone_is_said(self, folder: Path, environment: dict[str, str]) -> None:
        """With what to do."""
        error = say(folder, environment, "sync", "http://127.0.0.1:9", code=8)

        assert "server-unreachable" == error["code"]


class TestAFolder:
    """Another folder with a workspace."""

    def test_a_damaged_blob_is_said_and_not_copied(
        self, folder: Path, bare: Path, environment: dict[str, str]
    ) -> None:
        """Exit code 7; the rest is copied."""
        rooms = Rooms(find(folder), ANNA)
        digest = rooms.blobs.put(b"nobody wants this " * 3_000_000)
        rooms.datasets.record("extra", tree=trees.put_files(rooms.blobs, {"x": digest}))
        rooms.close()
        victim = max((folder / ".stellwerk" / "blobs" / "packs").rglob("*"), key=lambda file: file.stat().st_size)
        victim.chmod(0o644)
        with victim.open("r+b") as file:
            file.seek(victim.stat().st_size // 2)
            file.write(b"damaged")
        done = say(bare, environment, "sync", ".", "--from", str(folder), code=7)

        assert done["lost"]
        assert done["copied"] == done["wanted"] - len(done["lost"])

    @pytest.mark.parametrize(
        ("words", "code", "problem"),
        [
            (("sync", "nowhere"), 4, "no-such-place"),
            (("sync", "ftp://x/y"), 2, "invalid-url"),
            (("sync", "s3://key:secret@bucket/x"), 2, "invalid-url"),
            (("sync", "http://anna:secret@127.0.0.1"), 2, "invalid-url"),
            (("remote", "add", "x", "s3://key:secret@bucket/x"), 2, "invalid-url"),
            (("remote", "add", "../x", "/tmp"), 2, "invalid-name"),
            (("remote", "rm", "x"), 4, "no-such-place"),
            (("data", "push"), 4, "no-such-place"),
            (("sync", ".", "--dataset", "nobody"), 4, "not-found"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(
        self, folder: Path, environment: dict[str, str], words: tuple[str, ...], code: int, problem: str
    ) -> None:
        """With a code, a reason, and no secret in it."""
        error = say(folder, environment, *words, code=code)

        assert problem == error["code"]
        assert "secret" not in json.dumps(error)


class TestRepair:
    """What one place lost, another gives back."""

    def test_damage_is_healed_from_a_bucket(self, folder: Path, bare: Path, environment: dict[str, str]) -> None:
        """Everything that was damaged or missing is whole again, and the book says so."""
        place = f"s3://{buckets.BUCKET}/repair"
        say(folder, environment, "remote", "add", "spare", place)
        say(folder, environment, "sync", "spare")
        kept = folder / ".stellwerk" / "blobs"
        for file in sorted((kept / "sha256").rglob("*"))[:40]:
            if file.is_file():
                file.unlink()
        victim = max((kept / "packs").iterdir(), key=lambda file: file.stat().st_size)
        victim.chmod(0o644)
        with victim.open("r+b") as content:
            content.seek(victim.stat().st_size // 2)
            content.write(b"damaged")
        done = say(folder, environment, "repair", "--from", "spare")
        again = say(folder, environment, "repair", "--from", "spare")

        assert len(done["healed"]) > 1
        assert ([], [], []) == (done["lost"], again["healed"], again["lost"])
        assert done["aside"] > 0
        with sw.connect(folder, actor="anna") as workspace:
            assert [] == [damage for damage in workspace.fsck() if damage.severity == "error"]

    def test_what_nobody_has_whole_is_said(self, bare: Path, environment: dict[str, str]) -> None:
        """With exit code 7, and every dataset that is not there by its digest."""
        done = say(bare, environment, "repair", "--from", f"s3://{buckets.BUCKET}/nothing-here", code=7)

        assert 2 == len(done["lost"])
        assert [] == done["healed"]


class TestAWorkspaceInABucket:
    """`init --blobs s3://…`"""

    def test_one_prefix_belongs_to_one_workspace(self, environment: dict[str, str], tmp_path: Path) -> None:
        """A second one is refused, and can be made elsewhere; both work from there."""
        place = f"s3://{buckets.BUCKET}/owned"
        first = say(tmp_path, environment, "init", "first", "--blobs", place)
        second = say(tmp_path, environment, "init", "second", "--blobs", place, code=5)
        other = say(tmp_path, environment, "init", "second", "--blobs", place + "-too")
        (tmp_path / "rows.csv").write_text("day,delay\n1,12\n2,7\n")
        say(tmp_path, environment, "-w", "first", "data", "add", "delays", "rows.csv")
        say(tmp_path, environment, "-w", "first", "sync", place + "-too")

        assert (place, place + "-too") == (first["blobs"], other["blobs"])
        assert "store-owned" == second["code"]
        assert [] == say(tmp_path, environment, "-w", "first", "fsck")
        assert 2 == say(tmp_path, environment, "-w", "first", "data", "ls")[0]["rows"]

    def test_damage_in_the_bucket_is_found_and_healed(self, environment: dict[str, str], tmp_path: Path) -> None:
        """By `fsck`, and from a copy."""
        prefix = "damaged-workspace"
        say(tmp_path, environment, "init", "here", "--blobs", f"s3://{buckets.BUCKET}/{prefix}")
        (tmp_path / "rows.csv").write_text("day,delay\n1,12\n2,7\n")
        say(tmp_path, environment, "-w", "here", "data", "add", "delays", "rows.csv")
        say(tmp_path, environment, "-w", "here", "sync", f"s3://{buckets.BUCKET}/{prefix}-copy")
        store = buckets.blobs(environment["AWS_ENDPOINT_URL"], prefix)
        for digest in store:
            name = digest.removeprefix("sha256:")
            buckets.objects(store).put(f"sha256/{name[:2]}/{name}", b"damaged", create=False)
        hurt = say(tmp_path, environment, "-w", "here", "fsck", code=7)
        copy = f"s3://{buckets.BUCKET}/{prefix}-copy"
        healed = say(tmp_path, environment, "-w", "here", "repair", "--from", copy)
        store.close()

        assert len(hurt) == len(healed["healed"]) == healed["aside"] > 0
        assert [] == say(tmp_path, environment, "-w", "here", "fsck")
