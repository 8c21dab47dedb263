"""Files by path: names of rows, so that no spelling leads anywhere; what changes is in the book, and nothing else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.ledger.database import Database, WorkspaceBook
from stellwerk.testing.fakes import MemoryBlobs, StandingClock
from stellwerk.tracking import paths
from stellwerk.tracking.artifacts import Artifacts
from stellwerk.tracking.manifest import Artifact

ELSEWHERE = [
    *("..", "../", "../../../../etc/passwd", "..\\..\\x", "a/../b", "a/b/..", "a/./b", ".", "./a", "a/."),
    *(
        "%2e%2e/",
        "%2e%2e%2f",
        "..%2f..%2fetc%2fpasswd",
        "%252e%252e%252f",
        "..%5c",
        "..%255c",
        "a/%2e%2e/b",
        ".%2e/x",
    ),
    *(
        "%25252e%25252e/x",
        "%2fetc/passwd",
        "%2f",
        "....//....//",
        "/etc/passwd",
        "//etc/passwd",
        "//host/share",
        "a//b",
    ),
    *("\\\\host\\share\\x", "C:\\Windows\\x", "C:", "C:/x", "0/run/C:/x", "~/x", "~", "$HOME/x", "a\x00.txt", "\x00"),
    *(
        "\uff0e\uff0e",
        "\uff0e\uff0e\uff0fx",
        "\u2025",
        "a/\u2025/b",
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        "file:x",
    ),
    *(
        "mlflow-artifacts:/../../x",
        "s3://b/../../x",
        "http://h/a",
        "x#/../../y",
        "a#b",
        "a\r\nX: y",
        "\x1b[2J",
        "a\tb",
    ),
    *("a\u202etxt.exe", "a\u200bb", "e\u0301", " ", "a ", " a", "a.", "a/b.", "x\ufffdy", "x\ud800y"),
    *("a" * 256, "é" * 128, "a/" * 1000 + "a", "a" * 100_000, "/".join(["a" * 250] * 9)),
]
PLAIN = [
    *(
        "0/3f/artifacts/model/MLmodel",
        "a b/ü ä.txt",
        "日本/模型.pkl",
        "dog%step%100%timestamp%100.png",
        "100%",
        "a%20b",
    ),
    *("dog%2f3a.png", "..;/x", ".git", ".htaccess", "__proto__", "None", "null", "NUL", "search", "latest"),
    *(
        "x'; DROP TABLE runs;--",
        "<svg onload=alert(1)>",
        "{{7*7}}",
        "`id`",
        "a?b=c",
        "ab:c",
        "note: x.txt",
        "x~",
        "a$b",
    ),
    *("%00", "a" * 255, "/".join(["a"] * 900)),
]


@pytest.fixture
def book(database: Database) -> WorkspaceBook:
    return WorkspaceBook(database, "default", "anna")


@pytest.fixture
def blobs() -> MemoryBlobs:
    return MemoryBlobs()


@pytest.fixture
def artifacts(book: WorkspaceBook, blobs: MemoryBlobs, clock: StandingClock) -> Artifacts:
    return Artifacts(book, blobs, clock)


def names(found: list[Artifact]) -> list[str]:
    return [one.name + ("/" if one.digest is None else "") for one in found]


class TestPaths:
    """P1, P2, P7, P9, P10."""

    @pytest.mark.parametrize("text", ELSEWHERE, ids=lambda text: ascii(text[:40]))
    def test_what_means_a_place_elsewhere_is_refused(self, text: str) -> None:
        """In every spelling, and never repaired."""
        with pytest.raises(Invalid) as caught:
            paths.read(text)

        assert "invalid-path" == caught.value.code
        assert len(str(caught.value)) < 400

    @pytest.mark.parametrize("text", PLAIN, ids=lambda text: ascii(text[:40]))
    def test_odd_names_are_names(self, text: str) -> None:
        """They are kept as they are: nothing decodes them again."""
        assert text == paths.read(text)

    @given(st.text(st.sampled_from("./%25cefF2\\~#ab:"), max_size=12))
    @settings(max_examples=500, deadline=None)
    def test_no_path_leaves_its_folder(self, text: str) -> None:
        """However often somebody decodes it."""
        try:
            found = paths.read(text)
        except Invalid:
            return
        from urllib.parse import unquote

        for _ in range(4):
            assert not {".", ".."} & set(found.replace("\\", "/").split("/"))
            assert not found.startswith("/")
            found = unquote(found)

    def test_a_folder_may_end_with_a_separator(self) -> None:
        """And the root is empty."""
        assert ["a/b", "", "a"] == [paths.read_folder(text) for text in ("a/b/", "", "a")]
        with pytest.raises(Invalid):
            paths.read_folder("a//")


class TestTree:
    """Files and folders."""

    def test_a_file_makes_its_folders(self, artifacts: Artifacts, book: WorkspaceBook, blobs: MemoryBlobs) -> None:
        """In one entry, which says path, digest and size."""
        digest = blobs.put(b"model")
        logged = artifacts.log("0/run/artifacts/model/MLmodel", digest)

        assert ["0/"] == names(artifacts.list())
        assert ["artifacts/"] == names(artifacts.list("0/run"))
        assert ["MLmodel"] == names(artifacts.list("0/run/artifacts/model/"))
        assert logged == artifacts.get("0/run/artifacts/model/MLmodel")
        assert (digest, 5) == (logged.digest, logged.size)
        (entry,) = book.entries(kinds=["artifact."])
        assert ("artifact.logged", "artifact:0/run/artifacts/model/MLmodel") == (entry.kind, entry.subject)
        assert {"path": "0/run/artifacts/model/MLmodel", "digest": digest, "size": 5} == entry.body

    def test_the_same_bytes_again_change_nothing(
        self, artifacts: Artifacts, book: WorkspaceBook, blobs: MemoryBlobs, clock: StandingClock
    ) -> None:
        """Clients send again what they are not sure of."""
        first = artifacts.log("a/b", blobs.put(b"1"))
        clock.advance(timedelta(seconds=5))

        assert first == artifacts.log("a/b", blobs.put(b"1"))
        assert 1 == len(book.entries(kinds=["artifact."]))

    def test_other_bytes_replace_the_row(self, artifacts: Artifacts, book: WorkspaceBook, blobs: MemoryBlobs) -> None:
        """The ledger keeps what was there."""
        artifacts.log("a/b", blobs.put(b"1"))
        artifacts.log("a/b", blobs.put(b"22"))

        assert (of_bytes(b"22"), 2) == (artifacts.get("a/b").digest, artifacts.get("a/b").size)
        assert [of_bytes(b"1"), of_bytes(b"22")] == [one.body["digest"] for one in book.entries(kinds=["artifact."])]
        assert of_bytes(b"1") == book.entries(kinds=["artifact."])[-1].body["was"]

    def test_files_and_folders_do_not_share_a_name(
        self, artifacts: Artifacts, book: WorkspaceBook, blobs: MemoryBlobs
    ) -> None:
        """And a refused file leaves no folder behind."""
        digest = blobs.put(b"1")
        artifacts.log("a/b", digest)
        for path in ("a", "a/b/c", "a/b/c/d/e"):
            with pytest.raises(Conflict):
                artifacts.log(path, digest)

        assert ["b"] == names(artifacts.list("a"))
        assert 1 == len(book.entries(kinds=["artifact."]))

    def test_bytes_come_first(self, artifacts: Artifacts, book: WorkspaceBook) -> None:
        """A row never names what the store does not hold."""
        with pytest.raises(NotFound):
            artifacts.log("a/b", of_bytes(b"never kept"))

        assert [] == artifacts.list()
        assert [] == book.entries(kinds=["artifact."])

    def test_lists_are_by_name_and_in_pages(self, artifacts: Artifacts, blobs: MemoryBlobs) -> None:
        """One level; case counts, and so does nothing else than the bytes of a name."""
        for name in ("b", "a", "B", "é", "Z", "a/b/c".replace("/", "-"), "10", "9"):
            artifacts.log(f"run/{name}", blobs.put(name.encode()))
        artifacts.log("run/sub/deep", blobs.put(b""))

        everything = names(artifacts.list("run"))
        assert sorted(everything) == everything == ["10", "9", "B", "Z", "a", "a-b-c", "b", "sub/", "é"]
        assert everything[2:5] == names(artifacts.list("run", limit=3, offset=2))
        assert [] == artifacts.list("nowhere") == artifacts.list("run/a")

    def test_a_file_goes_and_its_folder_stays(
        self, artifacts: Artifacts, book: WorkspaceBook, blobs: MemoryBlobs
    ) -> None:
        """With one entry."""
        artifacts.log("a/b", blobs.put(b"1"))

        assert 1 == artifacts.delete("a/b")
        assert [] == artifacts.list("a")
        assert artifacts.find("a") is not None
        with pytest.raises(NotFound):
            artifacts.delete("a/b")
        assert {"path": "a/b", "files": 1, "bytes": 1, "was": of_bytes(b"1")} == book.entries()[-1].body

    def test_a_folder_goes_with_everything_below(
        self, artifacts: Artifacts, book: WorkspaceBook, blobs: MemoryBlobs
    ) -> None:
        """In one entry, and nothing beside it."""
        for path in ("0/r/a/x", "0/r/a/y/z", "0/r/ab", "0/r2/a"):
            artifacts.log(path, blobs.put(path.encode()))

        assert 2 == artifacts.delete("0/r/a/")
        assert ["ab"] == names(artifacts.list("0/r"))
        assert [] == artifacts.list("0/r/a") == artifacts.list("0/r/a/y")
        assert ["a"] == names(artifacts.list("0/r2"))
        assert "artifact.deleted" == book.entries()[-1].kind

    @pytest.mark.parametrize("path", ["", "/", ".", "..", "0", "0/"])
    def test_an_experiment_does_not_go_by_a_slip(self, artifacts: Artifacts, blobs: MemoryBlobs, path: str) -> None:
        """P6: nothing is deleted."""
        artifacts.log("0/r/a", blobs.put(b"1"))
        with pytest.raises(Invalid):
            artifacts.delete(path)

        assert artifacts.find("0/r/a") is not None

    def test_workspaces_do_not_see_each_other(
        self, artifacts: Artifacts, database: Database, blobs: MemoryBlobs, clock: StandingClock
    ) -> None:
        """Law 10."""
        artifacts.log("0/r/a", blobs.put(b"1"))
        other = Artifacts(WorkspaceBook(database, "other", "ben"), blobs, clock)

        assert [] == other.list()
        with pytest.raises(NotFound):
            other.get("0/r/a")


class TestUploads:
    """Long files in parts."""

    def test_parts_become_one_file(self, artifacts: Artifacts, book: WorkspaceBook, blobs: MemoryBlobs) -> None:
        """In the order of their numbers; nothing is to be seen before."""
        upload = artifacts.begin("a/big", parts=2)
        parts = [blobs.put(b"one"), blobs.put(b"two")]
        assert artifacts.find("a/big") is None

        done = artifacts.complete(upload.id, "a/big", parts)

        assert b"onetwo" == blobs.get(done.digest or of_bytes(b""))
        assert done == artifacts.get("a/big") == artifacts.complete(upload.id, "a/big", parts)
        assert ["artifact.upload-begun", "artifact.logged"] == [one.kind for one in book.entries(kinds=["artifact."])]

    def test_an_upload_belongs_to_its_path(self, artifacts: Artifacts, blobs: MemoryBlobs) -> None:
        """Neither completed nor aborted under another one."""
        upload = artifacts.begin("a/big", parts=1)
        for act in (
            lambda: artifacts.complete(upload.id, "a/other", [blobs.put(b"1")]),
            lambda: artifacts.abort(upload.id, "a/other"),
        ):
            with pytest.raises(Invalid):
                act()
        assert artifacts.find("a/other") is None

    def test_parts_must_be_there_and_be_all(self, artifacts: Artifacts, blobs: MemoryBlobs) -> None:
        """Neither fewer nor more, and each of them sent."""
        upload = artifacts.begin("a/big", parts=2)
        one = blobs.put(b"1")
        for parts in ([], [one], [one] * 3, [one, of_bytes(b"never sent")]):
            with pytest.raises(Invalid):
                artifacts.complete(upload.id, "a/big", parts)
        assert artifacts.find("a/big") is None
        for count in (0, -1, 10_001):
            with pytest.raises(Invalid):
                artifacts.begin("a/big", parts=count)

    def test_uploads_end(self, artifacts: Artifacts, blobs: MemoryBlobs, clock: StandingClock) -> None:
        """By being aborted, or after a day."""
        aborted, expired = artifacts.begin("a", parts=1), artifacts.begin("b", parts=1)
        artifacts.abort(aborted.id, "a")
        clock.advance(timedelta(days=1))

        for upload in (aborted, expired):
            with pytest.raises(NotFound):
                artifacts.complete(upload.id, upload.path, [blobs.put(b"1")])
        artifacts.begin("c", parts=1)
        assert [] == artifacts.list()
