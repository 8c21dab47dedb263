"""What the real DVC wrote becomes dataset versions, with its history, and no object is read twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.data.dvc.hashing import CHUNK
from stellwerk.store import service as trees
from stellwerk.testing import worlds
from stellwerk.workspace.facade import Workspace, connect

BIG = bytes(range(256)) * 8192  # two chunks


def content(house: Workspace, name: str, version: int | None = None) -> dict[str, bytes]:
    """All files of a dataset version."""
    blobs = house._caller.blobs
    return {
        path: blobs.get(digest) for path, digest in trees.files(blobs, house.data.get(name, version).digest).items()
    }


def executables(house: Workspace, name: str) -> list[str]:
    """Paths of the files that can be executed."""
    return [path for path, entry in trees.walk(house._caller.blobs, house.data.get(name).digest) if entry.executable]


def test_everything_that_is_tracked_is_imported(repo: Any, house: Workspace) -> None:
    """A folder, a nested file, an executable, an empty and a large one, and names in other scripts."""
    repo.write("data/raw/x.csv", "a,b\n")
    repo.write("data/raw/deep/grüße.txt", "hallo\n")
    repo.write("data/raw/leer", b"")
    repo.write("run.sh", "#!/bin/sh\n", executable=True)
    repo.write("models/big.bin", BIG)
    repo.write("データ.txt", "x")
    repo.dvc("add", "-q", "data/raw", "run.sh", "models/big.bin", "データ.txt")
    commit = repo.commit("all")
    done = house.data.import_dvc(repo.root)
    names = {version.name: version.source for version in done.versions}
    japanese = next(name for name in names if names[name].endswith("データ.txt"))

    assert () == done.problems
    assert {"data--raw", "run.sh", "models--big.bin", japanese} == set(names)
    assert f"git {commit} data/raw/" == names["data--raw"]
    assert f"git {commit} run.sh" == names["run.sh"]
    assert {"x.csv": b"a,b\n", "deep/grüße.txt": b"hallo\n", "leer": b""} == content(house, "data--raw")
    assert {"big.bin": BIG} == content(house, "models--big.bin")
    assert ["run.sh"] == executables(house, "run.sh")
    assert [] == executables(house, "data--raw")
    assert (6, 4 + 6 + 0 + 10 + len(BIG) + 1) == (done.read, done.bytes)


def test_the_history_becomes_versions_in_its_order(repo: Any, house: Workspace) -> None:
    """Branches and tags count; what did not change makes no version; each object is read once."""
    repo.write("d/a", "1")
    repo.write("d/b", "same")
    repo.dvc("add", "-q", "d")
    first = repo.commit("one")
    repo.git("checkout", "-q", "-b", "side")
    repo.write("d/a", "2")
    repo.dvc("add", "-q", "d")
    second = repo.commit("two")
    repo.git("tag", "v2")
    repo.write("README", "unrelated")
    repo.commit("three")
    repo.git("checkout", "-q", "main")
    repo.git("branch", "-q", "-D", "side")
    repo.dvc("checkout", "-q")
    repo.write("d/a", "3")
    repo.dvc("add", "-q", "d")
    third = repo.commit("four")

    done = house.data.import_dvc(repo.root, all_history=True)

    assert [f"git {commit} d/" for commit in (first, second, third)] == [version.source for version in done.versions]
    assert [b"1", b"2", b"3"] == [content(house, "d", version)["a"] for version in (1, 2, 3)]
    assert ((), 4, ("d",)) == (done.problems, done.read, done.same)


def test_a_second_import_does_nothing(repo: Any, house: Workspace) -> None:
    """Nothing is read, put or published; a new state adds itself alone."""
    repo.write("d/a", "1")
    repo.write("f", "f")
    repo.dvc("add", "-q", "d", "f")
    repo.commit("one")
    house.data.import_dvc(repo.root, all_history=True)
    entries = len(house._caller.rooms.book.entries())  # type: ignore[attr-defined]
    again = house.data.import_dvc(repo.root, all_history=True)
    unchanged = len(house._caller.rooms.book.entries())  # type: ignore[attr-defined]
    repo.write("d/b", "2")
    repo.dvc("add", "-q", "d")
    repo.commit("two")
    more = house.data.import_dvc(repo.root, all_history=True)

    assert ((), 0, {"d", "f"}) == (again.versions, again.read, set(again.same))
    assert entries == unchanged
    assert (["d@2"], 1) == ([f"{version.name}@{version.version}" for version in more.versions], more.read)


def test_what_is_missing_is_named_and_the_rest_is_imported(repo: Any, house: Workspace) -> None:
    """Each lost or damaged object is a problem with its path; once it is back, the import goes on."""
    for name in ("whole", "lost", "bad"):
        repo.write(f"{name}/a", name)
        repo.write(f"{name}/b", "same")
    repo.write("single", "s")
    repo.dvc("add", "-q", "whole", "lost", "bad", "single")
    repo.commit("all")
    cache = repo.root / ".dvc" / "cache" / "files" / "md5"

    def file(data: bytes) -> Path:
        name = hashlib.md5(data).hexdigest()
        return cache / name[:2] / name[2:]

    kept = repo.root.parent / "kept"
    shutil.move(file(b"lost"), kept)
    file(b"bad").chmod(0o644)
    file(b"bad").write_bytes(b"other")
    done = house.data.import_dvc(repo.root)
    shutil.move(kept, file(b"lost"))
    later = house.data.import_dvc(repo.root)

    assert {"whole", "single"} == {version.name for version in done.versions}
    assert {("missing", "lost/a"), ("damaged", "bad/a")} == {(one.kind, one.path) for one in done.problems}
    assert ["lost"] == [version.name for version in later.versions]
    assert [("damaged", "bad/a")] == [(one.kind, one.path) for one in later.problems]


def test_objects_come_from_a_remote_that_is_a_folder(repo: Any, house: Workspace) -> None:
    """After `dvc push` the cache may be gone; a remote elsewhere is named with what to do."""
    repo.write("d/a", "1")
    repo.dvc("add", "-q", "d")
    repo.dvc("remote", "add", "-q", "-d", "near", "../far away")
    repo.dvc("remote", "add", "-q", "web", "https://example.org/dvc")
    repo.dvc("push", "-q")
    repo.commit("all")
    shutil.rmtree(repo.root / ".dvc" / "cache")
    with pytest.raises(Invalid) as refused:
        house.data.import_dvc(repo.root, objects="web")
    with pytest.raises(NotFound):
        house.data.import_dvc(repo.root, objects="nothing")
    named = house.data.import_dvc(repo.root, objects="near", prefix="named")
    found = house.data.import_dvc(repo.root)

    assert "remote-not-local" == refused.value.code
    assert (["named--d"], ["d"]) == ([one.name for one in named.versions], [one.name for one in found.versions])


def test_a_cache_elsewhere_is_found(repo: Any, house: Workspace) -> None:
    """`cache.dir` counts from `.dvc`, in the local configuration too."""
    repo.dvc("cache", "dir", "--local", "../shared cache")
    repo.write("a", "1")
    repo.dvc("add", "-q", "a")
    done = house.data.import_dvc(repo.root / ".dvc" / "..")

    assert (["a"], ()) == ([version.name for version in done.versions], done.problems)
    assert (repo.root.parent / "shared cache").is_dir()


def test_outputs_of_a_pipeline_are_imported(repo: Any, house: Workspace) -> None:
    """Of `dvc.lock`, with working folders and loops; metrics in git are left there, and stages are not executed."""
    repo.write(
        "src/dvc.yaml",
        """
stages:
  make:
    cmd: mkdir -p out && echo 1 > out/a && echo '{}' > m.json
    wdir: ..
    outs: [out]
    metrics: [{m.json: {cache: false}}]
  each:
    foreach: [p, q]
    do:
      cmd: echo ${item} > ${item}.txt
      outs: ['${item}.txt']
""",
    )
    repo.dvc("repro", "-q", "src/dvc.yaml")
    repo.commit("pipeline")
    done = house.data.import_dvc(repo.root)

    assert () == done.problems
    assert {"out", "src--p.txt", "src--q.txt"} == {version.name for version in done.versions}
    assert ("src/dvc.yaml",) == done.pipelines


def test_what_dvc_imported_from_elsewhere_is_imported(repo: Any, house: Workspace, tmp_path: Path) -> None:
    """`dvc import-url` writes a pointer with dependencies; its output is data like any other."""
    (tmp_path / "there.csv").write_text("x\n")
    repo.dvc("import-url", "-q", str(tmp_path / "there.csv"), "here.csv")
    repo.commit("import")
    done = house.data.import_dvc(repo.root)

    assert ["here.csv"] == [version.name for version in done.versions]


def test_uncommitted_states_say_so(repo: Any, house: Workspace) -> None:
    """A pointer that differs from the commit is marked; without git the source names the path alone."""
    repo.write("a", "1")
    repo.dvc("add", "-q", "a")
    commit = repo.commit("one")
    repo.write("a", "2")
    repo.dvc("add", "-q", "a")
    changed = house.data.import_dvc(repo.root)
    shutil.rmtree(repo.root / ".git")
    repo.dvc("config", "core.no_scm", "true")
    repo.write("b", "3")
    repo.dvc("add", "-q", "b")
    plain = house.data.import_dvc(repo.root, all_history=True)

    assert [f"git {commit}+ a"] == [version.source for version in changed.versions]
    assert ["dvc b"] == [version.source for version in plain.versions]


def test_a_repository_in_a_folder_of_another(repo: Any, house: Workspace) -> None:
    """`dvc init --subdir`: paths count from DVC's root, history from git's."""
    (repo.root / "part").mkdir()
    inner = type(repo)(repo.root / "part", repo.program)
    inner.dvc("init", "-q", "--subdir")
    inner.write("d/a", "1")
    inner.dvc("add", "-q", "d")
    commit = repo.commit("part")
    done = house.data.import_dvc(inner.root, all_history=True)

    assert [("d", f"git {commit} d/")] == [(version.name, version.source) for version in done.versions]


def test_another_content_of_a_known_md5_is_refused(repo: Any, house: Workspace) -> None:
    """With `verify` objects are read again, and a collision is said loudly."""
    first, second = COLLISION
    assert hashlib.md5(first).digest() == hashlib.md5(second).digest()
    repo.write("a", first)
    repo.dvc("add", "-q", "a")
    house.data.import_dvc(repo.root)
    name = hashlib.md5(first).hexdigest()
    cached = repo.root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    cached.chmod(0o644)
    cached.write_bytes(second)
    with pytest.raises(Conflict) as refused:
        house.data.import_dvc(repo.root, verify=True)

    assert "foreign-collision" == refused.value.code


COLLISION = (
    bytes.fromhex(
        "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
        "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
        "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
        "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
    ),
    bytes.fromhex(
        "d131dd02c5e6eec4693d9a0698aff95c2fcab50712467eab4004583eb8fb7f89"
        "55ad340609f4b30283e4888325f1415a085125e8f7cdc99fd91dbd7280373c5b"
        "d8823e3156348f5bae6dacd436c919c6dd53e23487da03fd02396306d248cda0"
        "e99f33420f577ee8ce54b67080280d1ec69821bcb6a8839396f965ab6ff72a70"
    ),
)
"""Two contents of one MD5, found by Wang and Yu in 2004."""


def test_large_objects_can_be_adopted(repo: Any, house: Workspace) -> None:
    """DVC's own file is linked into the store: no second copy on disk."""
    repo.write("big", os.urandom(40 << 20))
    repo.dvc("add", "-q", "big")
    done = house.data.import_dvc(repo.root, adopt=True)
    name = hashlib.md5((repo.root / "big").read_bytes()).hexdigest()
    cached = repo.root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]

    assert (1, 40 << 20) == (done.read, done.bytes)
    assert 2 == cached.stat().st_nlink
    assert {"big"} == set(content(house, "big"))


def test_the_index_keeps_nothing_alive(tmp_path: Path, house: Workspace) -> None:
    """What was forgotten is collected although its MD5 is known, and is read again when it is imported again."""
    root = plain_repo(tmp_path, {"f": ("f", b"some bytes of nobody else")})
    (version,) = house.data.import_dvc(root).versions
    house.data.forget("f", why="not needed")
    house.collect(days=0, consent=True)
    gone = not house._caller.blobs.has(version.digest)
    again = house.data.import_dvc(root)

    assert gone
    assert (1, ["f"], ()) == (again.read, [one.name for one in again.versions], again.problems)


def test_a_server_imports_too(tmp_path: Path) -> None:
    """Over HTTP the same versions come about; the server computes every MD5 itself, and folders by their files."""
    root = plain_repo(tmp_path, {"f": ("f", b"one"), "g": ("g", BIG)})
    listing = json.dumps([{"md5": hashlib.md5(b"one").hexdigest(), "relpath": "a"}]).encode()
    (root / "d.dvc").write_text(f"outs:\n- md5: {keep(root, listing, '.dir')}\n  hash: md5\n  path: d\n")
    with (
        worlds.workspace(tmp_path / "served") as house,
        worlds.served(house._caller.rooms) as url,  # type: ignore[attr-defined]
        connect(url) as remote,
    ):
        done = remote.data.import_dvc(root)
        again = remote.data.import_dvc(root)
        out = tmp_path / "out"
        out.mkdir()
        exported = remote.data.export_dvc("d", repository=out, init=True)

    assert ({"d", "f", "g"}, 2, ()) == ({one.name for one in done.versions}, done.read, done.problems)
    assert ((), 0, {"d", "f", "g"}) == (again.versions, again.read, set(again.same))
    assert hashlib.md5(listing).hexdigest() + ".dir" == exported.md5
    assert b"one" == (out / "d" / "a").read_bytes()


def test_an_import_that_was_cut_off_goes_on(repo: Any, house: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept before the interruption is not read again, and no version is made twice."""
    from stellwerk.workspace.dvc import importing

    for number in range(6):
        repo.write(f"d/{number}", str(number))
    repo.write("big", BIG * 2)
    repo.dvc("add", "-q", "d", "big")
    repo.commit("all")
    monkeypatch.setattr(importing, "BATCH_FILES", 4)
    blobs = house._caller.blobs
    monkeypatch.setattr(blobs, "put_stream", _cut_off, raising=False)
    with pytest.raises(KeyboardInterrupt):
        house.data.import_dvc(repo.root)
    monkeypatch.undo()
    done = house.data.import_dvc(repo.root)

    assert {"d", "big"} == {version.name for version in done.versions}
    assert () == done.problems


def _cut_off(chunks: Any) -> Any:
    raise KeyboardInterrupt


def test_a_dvc_2_repository_is_read(tmp_path: Path, house: Workspace) -> None:
    """Layout 2, written by hand from its documentation: no `hash`, `ab/cdef…` in the cache, text without CR hashed."""
    root = tmp_path / "old"
    cache = root / ".dvc" / "cache"
    text, binary = b"a\r\nb\r\n", b"\0\r\n" + bytes(range(256)) * (CHUNK // 128)

    def keep(data: bytes, hashed: bytes, suffix: str = "") -> str:
        name = hashlib.md5(hashed).hexdigest() + suffix
        file = cache / name[:2] / name[2:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return name

    entries = [
        {"md5": keep(text, text.replace(b"\r\n", b"\n")), "relpath": "t.txt"},
        {"md5": keep(binary, binary), "relpath": "x/b.bin"},
    ]
    listing = json.dumps(entries, sort_keys=True).encode()
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = True\n")
    (root / "d.dvc").write_text(
        f"outs:\n- md5: {keep(listing, listing, '.dir')}\n  size: 3\n  nfiles: 2\n  path: d\n"
    )
    (root / "run.dvc").write_text(f"outs:\n- md5: {entries[0]['md5']}\n  isexec: true\n  path: run\n")
    done = house.data.import_dvc(root)

    assert () == done.problems
    assert {"t.txt": text, "x/b.bin": binary} == content(house, "d")
    assert {"run": text} == content(house, "run")
    assert ["run"] == executables(house, "run")


@pytest.mark.parametrize(
    ("path", "kind"),
    [("../../outside", "foreign-path"), ("/etc/passwd", "foreign-path"), ("s3://bucket/x", "foreign-path")],
)
def test_outputs_outside_are_problems(tmp_path: Path, house: Workspace, path: str, kind: str) -> None:
    """A pointer cannot name what lies elsewhere; nothing else is hindered."""
    root = plain_repo(tmp_path, {"bad": (path, b"x"), "good": ("good", b"y")})
    done = house.data.import_dvc(root)

    assert ([kind], ["good"]) == ([one.kind for one in done.problems], [one.name for one in done.versions])


@pytest.mark.parametrize("inner", ["../up", "/abs", "a/../../b", "a\\b", "trailing ", "e\u0301"])
def test_lists_that_no_tree_holds_are_problems(tmp_path: Path, house: Workspace, inner: str) -> None:
    """A folder's list cannot write outside of its folder, nor hold names that look like others."""
    root = plain_repo(tmp_path, {"f": ("f", b"y")})
    listing = json.dumps([{"md5": hashlib.md5(b"y").hexdigest(), "relpath": inner}]).encode()
    name = keep(root, listing, ".dir")
    (root / "d.dvc").write_text(f"outs:\n- md5: {name}\n  hash: md5\n  path: d\n")
    done = house.data.import_dvc(root)

    assert (["name"], ["f"]) == ([one.kind for one in done.problems], [one.name for one in done.versions])


def test_a_pointer_that_cannot_be_read_is_a_problem(tmp_path: Path, house: Workspace) -> None:
    """With file and reason; the others are imported."""
    root = plain_repo(tmp_path, {"f": ("f", b"y")})
    (root / "bad.dvc").write_text("outs: {")
    (root / "cloud.dvc").write_text(
        "outs:\n- path: c\n  hash: md5\n  files: [{relpath: a, cloud: {s3: {etag: e}}}]\n"
    )
    done = house.data.import_dvc(root)

    assert [("unreadable", "bad.dvc"), ("not-hashed", "c")] == [(one.kind, one.path) for one in done.problems]
    assert ["f"] == [one.name for one in done.versions]


def test_a_table_of_the_same_name_is_a_problem(tmp_path: Path, house: Workspace) -> None:
    """A dataset stays what it began as; a prefix is the way out."""
    root = plain_repo(tmp_path, {"f": (worlds.DATASET, b"y")})
    house.data.add(worlds.DATASET, worlds.World().parcels(20, 1))
    done = house.data.import_dvc(root)
    other = house.data.import_dvc(root, prefix="old")

    assert ["conflict"] == [one.kind for one in done.problems]
    assert ["old--parcels"] == [one.name for one in other.versions]


def test_only_some_paths_are_imported(tmp_path: Path, house: Workspace) -> None:
    """An output, or all below a folder."""
    root = plain_repo(tmp_path, {"a": ("x/a", b"a"), "b": ("x/b", b"b"), "c": ("xc", b"c")})
    done = house.data.import_dvc(root, paths=["x"])

    assert ["x--a", "x--b"] == [one.name for one in done.versions]


def plain_repo(tmp_path: Path, outputs: dict[str, tuple[str, bytes]]) -> Path:
    """A repository without git, written by hand: pointer → (path, content)."""
    root = tmp_path / "plain"
    (root / ".dvc").mkdir(parents=True)
    (root / ".dvc" / "config").write_text("[core]\n    no_scm = True\n")
    for name, (path, data) in outputs.items():
        md5 = keep(root, data)
        (root / f"{name}.dvc").write_text(f"outs:\n- md5: {md5}\n  hash: md5\n  path: {json.dumps(path)}\n")
    return root


def keep(root: Path, data: bytes, suffix: str = "") -> str:
    """Put an object into the cache, and answer its name."""
    name = hashlib.md5(data).hexdigest() + suffix
    file = root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    return name
