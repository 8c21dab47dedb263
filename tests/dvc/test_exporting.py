"""What we write is a DVC repository to the real DVC: clean, complete, and nobody's work is lost."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused, StellwerkError
from stellwerk.data.dvc import yamltext
from stellwerk.data.model import DatasetVersion
from stellwerk.store import service as trees
from stellwerk.testing import worlds
from stellwerk.workspace import operations as ops
from stellwerk.workspace.dvc.building import File, build
from stellwerk.workspace.facade import Workspace

LARGE = os.urandom(3 << 20)


def record(house: Workspace, name: str, files: dict[str, bytes], *executable: str) -> DatasetVersion:
    """Make a version of our own."""
    blobs = house._caller.blobs
    listed = {path: File(blobs.put(data), len(data), path in executable) for path, data in files.items()}
    tree, made = build(listed)
    blobs.put_many(made)
    version: DatasetVersion = house._caller.call(ops.record_data, {"name": name, "tree": tree, "source": "ours"})
    return version


def content(house: Workspace, name: str) -> dict[str, bytes]:
    """All files of the newest version."""
    blobs = house._caller.blobs
    return {path: blobs.get(digest) for path, digest in trees.files(blobs, house.data.get(name).digest).items()}


FOLDER = {
    "x.csv": b"a,b\n",
    "deep/er/grüße.txt": b"hallo\n",
    "leer": b"",
    "データ/1e5": b"x",
    "big.bin": LARGE,
    "twin": b"hallo\n",
}


def test_a_folder_is_clean_to_dvc(repo: Any, house: Workspace) -> None:
    """`dvc status` is clean, the cache is complete, `dvc checkout` makes the same files, and DVC keeps them as ours."""
    record(house, "data", FOLDER)
    done = house.data.export_dvc("data", repository=repo.root, path="data/raw")
    pointer = (repo.root / "data" / "raw.dvc").read_bytes()

    assert ("data/raw", "data/raw.dvc", 6, 5) == (done.path, done.pointer, done.files, done.objects - 1)
    assert repo.clean()
    assert "/raw\n" == (repo.root / "data" / ".gitignore").read_text()
    shutil.rmtree(repo.root / "data" / "raw")
    repo.dvc("checkout", "-q")
    assert FOLDER == {
        file.relative_to(repo.root / "data" / "raw").as_posix(): file.read_bytes()
        for file in (repo.root / "data" / "raw").rglob("*")
        if file.is_file()
    }
    repo.dvc("add", "-q", "data/raw")
    assert pointer == (repo.root / "data" / "raw.dvc").read_bytes()


@pytest.mark.parametrize(
    "name", ["plain.csv", "run me.sh", "#odd [x]!.txt", "null", "1e5", "2020-01-01", "naïve.txt"]
)
def test_a_file_is_written_as_dvc_writes_it(repo: Any, house: Workspace, name: str) -> None:
    """Executable or not, whatever it is called: DVC reads the pointer, and ignores the same."""
    record(house, "one", {name: b"#!/bin/sh\n"}, name)
    house.data.export_dvc("one", repository=repo.root, path=f"sub/{name}")
    ignored = (repo.root / "sub" / ".gitignore").read_bytes()

    assert repo.clean()
    assert os.access(repo.root / "sub" / name, os.X_OK)
    repo.dvc("add", "-q", f"sub/{name}")
    assert ignored == (repo.root / "sub" / ".gitignore").read_bytes()
    assert repo.clean()
    assert () == house.data.import_dvc(repo.root).problems
    assert "" == repo.git("status", "--porcelain", "--untracked-files=all", "--", f":(literal)sub/{name}")


def test_push_and_pull_work_through_a_remote(repo: Any, house: Workspace) -> None:
    """Objects that we wrote are DVC's own: pushed, and pulled into a clone."""
    record(house, "data", FOLDER)
    house.data.export_dvc("data", repository=repo.root, checkout=False)
    repo.dvc("remote", "add", "-q", "-d", "near", str(repo.root.parent / "remote"))
    repo.dvc("push", "-q")
    repo.commit("exported")
    clone = type(repo)(repo.root.parent / "clone", repo.program)
    repo.git("clone", "-q", str(repo.root), str(clone.root))
    clone.dvc("pull", "-q")

    assert not (repo.root / "data").exists()
    assert clone.clean()
    assert LARGE == (clone.root / "data" / "big.bin").read_bytes()


@pytest.mark.parametrize("link", ["copy", "reflink", "hardlink", "auto"])
def test_every_way_of_linking_gives_the_same(repo: Any, house: Workspace, link: Any) -> None:
    """Links are to the store's own read-only files; working files are copies that can be written."""
    record(house, "data", {"a": LARGE, "b": b"small"})
    done = house.data.export_dvc("data", repository=repo.root, link=link)
    name = hashlib.md5(LARGE).hexdigest()
    cached = repo.root / ".dvc" / "cache" / "files" / "md5" / name[:2] / name[2:]

    assert repo.clean()
    assert 0o444 == cached.stat().st_mode & 0o777
    assert (cached.stat().st_nlink - 1 if link == "hardlink" else 0) == done.linked
    assert 1 == (repo.root / "data" / "a").stat().st_nlink
    assert os.access(repo.root / "data" / "a", os.W_OK)


def test_md5s_are_computed_once(repo: Any, house: Workspace) -> None:
    """The second export writes nothing, and an import of it reads nothing."""
    record(house, "data", FOLDER)
    house.data.export_dvc("data", repository=repo.root)
    again = house.data.export_dvc("data", repository=repo.root)
    back = house.data.import_dvc(repo.root)

    assert 0 == again.objects
    assert ((), 0, ("data",), ()) == (back.versions, back.read, back.same, back.problems)


def test_a_new_repository_is_made_on_request(tmp_path: Path, house: Workspace, repo: Any) -> None:
    """With and without git; without the request nothing is written."""
    record(house, "data", {"a": b"1"})
    plain, git = tmp_path / "plain", tmp_path / "git"
    for folder in (plain, git):
        folder.mkdir()
    with pytest.raises(NotFound) as refused:
        house.data.export_dvc("data", repository=plain)
    nothing = list(plain.iterdir())
    repo.git("init", "-q", str(git))
    for folder in (plain, git):
        house.data.export_dvc("data", repository=folder, init=True)

    assert ("no-dvc", []) == (refused.value.code, nothing)
    assert type(repo)(plain, repo.program).clean()
    assert type(repo)(git, repo.program).clean()
    assert not (plain / ".gitignore").exists()
    assert "/data\n" == (git / ".gitignore").read_text()


def test_nothing_unsaved_is_lost(repo: Any, house: Workspace) -> None:
    """Changed, added and linked working files stop an export before it changes anything; force is explicit."""
    record(house, "d", {"a": b"1", "b": b"2"})
    house.data.export_dvc("d", repository=repo.root)
    record(house, "d", {"a": b"3", "c/x": b"4"})
    before = (repo.root / "d.dvc").read_bytes()
    found = []
    for path, data in (("d/a", "mine"), ("d/extra", "new")):
        repo.write(path, data)
        with pytest.raises(Refused) as refused:
            house.data.export_dvc("d", repository=repo.root)
        found.append((refused.value.code, path in refused.value.message))
    (repo.root / "d" / "c").symlink_to(repo.root.parent, target_is_directory=True)
    with pytest.raises(Refused):
        house.data.export_dvc("d", repository=repo.root)

    assert [("dvc-unsaved", True)] * 2 == found
    assert before == (repo.root / "d.dvc").read_bytes()
    assert {"a", "b", "extra", "c"} == {one.name for one in (repo.root / "d").iterdir()}
    house.data.export_dvc("d", repository=repo.root, force=True)
    assert repo.clean()
    assert not (repo.root.parent / "x").exists()


def test_a_half_done_export_is_finished(repo: Any, house: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Working files that are partly new are no obstacle: each is what one of the two versions says."""
    record(house, "d", {"a": b"1", "b": b"2", "gone": b"9"})
    house.data.export_dvc("d", repository=repo.root)
    record(house, "d", {"a": b"3", "b": b"4"})
    from stellwerk.workspace.dvc import exporting

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_tell", _stop)
        with pytest.raises(KeyboardInterrupt):
            house.data.export_dvc("d", repository=repo.root)
    repo.write("d/b", "2")
    house.data.export_dvc("d", repository=repo.root)

    assert repo.clean()
    assert b"4" == (repo.root / "d" / "b").read_bytes()


def _stop(*_: Any) -> None:
    raise KeyboardInterrupt


def test_what_others_own_is_refused(repo: Any, house: Workspace, tmp_path: Path) -> None:
    """Outputs of stages and imports, and paths above or below tracked ones, are not ours to write."""
    record(house, "d", {"a": b"1"})
    (tmp_path / "there").write_text("x")
    repo.dvc("import-url", "-q", str(tmp_path / "there"), "imported")
    repo.dvc("stage", "add", "-q", "--run", "-n", "make", "-o", "made/out", "mkdir -p made && echo 1 > made/out")
    codes = []
    for path in ("imported", "made/out", "made", "made/out/below", "imported/x"):
        with pytest.raises(StellwerkError) as refused:
            house.data.export_dvc("d", repository=repo.root, path=path)
        codes.append(refused.value.code)

    assert ["dvc-owned", "dvc-owned", "dvc-overlap", "dvc-overlap", "dvc-overlap"] == codes


@pytest.mark.parametrize(
    "path", ["../x", "/tmp/x", ".git/x", ".dvc/x", "a/.stellwerk", "link/x", "file/x", "a/../../x"]
)
def test_paths_outside_are_refused(repo: Any, house: Workspace, path: str) -> None:
    """Neither by dots nor by links does an export leave the repository."""
    record(house, "d", {"a": b"1"})
    (repo.root / "link").symlink_to(repo.root.parent, target_is_directory=True)
    (repo.root / "file").write_text("")
    with pytest.raises(Invalid) as refused:
        house.data.export_dvc("d", repository=repo.root, path=path)

    assert "foreign-path" == refused.value.code


def test_people_s_pointers_keep_what_they_say(repo: Any, house: Workspace) -> None:
    """Comments, descriptions, other outputs and unknown fields of a pointer survive an export."""
    repo.write("d/a", "1")
    repo.dvc("add", "-q", "d")
    pointer = repo.root / "d.dvc"
    pointer.write_text("# ours\n" + pointer.read_text() + "  desc: mine\nmeta:\n  by: anna # of course\n")
    assert repo.clean()
    house.data.import_dvc(repo.root)
    record(house, "d", {"a": b"2", "b": b"3"})
    house.data.export_dvc("d", repository=repo.root)
    text = pointer.read_text()

    assert repo.clean()
    assert text.startswith("# ours\n")
    assert "  by: anna # of course\n" in text
    assert "desc: mine" in text
    assert "nfiles: 2" in text


def test_a_table_is_exported_as_its_parts(repo: Any, house: Workspace) -> None:
    """A dataset of rows is a folder of Parquet files to DVC."""
    house.data.add("parcels", worlds.World().parcels(50, 1), partition="2026-01")
    done = house.data.export_dvc("parcels", repository=repo.root)

    assert repo.clean()
    assert 1 == done.files


def test_a_busy_repository_is_waited_for(repo: Any, house: Workspace) -> None:
    """While DVC holds its lock the export waits, and says so."""
    import fcntl
    import threading

    record(house, "d", {"a": b"1"})
    said: list[str] = []
    (repo.root / ".dvc" / "tmp").mkdir(exist_ok=True)
    with (repo.root / ".dvc" / "tmp" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = threading.Event()

        def say(text: str) -> None:
            said.append(text)
            waiting.set()

        thread = threading.Thread(target=lambda: house.data.export_dvc("d", repository=repo.root, say=say))
        thread.start()
        assert waiting.wait(30)
        present = (repo.root / "d.dvc").exists()
    thread.join(30)

    assert ("waiting for DVC to finish", False) == (said[0], present)
    assert repo.clean()


def test_two_tools_in_turn(repo: Any, house: Workspace) -> None:
    """Three rounds: DVC changes and we import, we change and export, and each time both see the same."""
    repo.write("data/raw/x.csv", "a,b\n")
    repo.write("data/raw/grüße/leer", b"")
    repo.write("run.sh", "#!/bin/sh\n", executable=True)
    repo.write("models/big.bin", LARGE)
    repo.dvc("add", "-q", "data/raw", "run.sh", "models/big.bin")
    repo.commit("begin")
    first = house.data.import_dvc(repo.root)
    assert ((), 3) == (first.problems, len(first.versions))
    for turn in range(3):
        ours = {**content(house, "data--raw"), f"ours/{turn}": b"from us", "x.csv": b"ours %d" % turn}
        record(house, "data--raw", ours)
        record(house, "run.sh", {"run.sh": b"#!/bin/sh\n# %d\n" % turn}, "run.sh")
        behind = house.data.import_dvc(repo.root)
        assert ((), {"data/raw", "run.sh"}) == (behind.versions, set(behind.behind))
        for name in ("data--raw", "run.sh"):
            house.data.export_dvc(name, repository=repo.root)
        assert repo.clean()
        repo.commit(f"ours {turn}")
        shutil.rmtree(repo.root / "data" / "raw")
        repo.dvc("checkout", "-q")
        assert b"from us" == (repo.root / "data" / "raw" / "ours" / str(turn)).read_bytes()
        assert os.access(repo.root / "run.sh", os.X_OK)

        repo.write("data/raw/x.csv", f"theirs {turn}")
        (repo.root / "data" / "raw" / "ours" / str(turn)).unlink()
        repo.write("models/big.bin", LARGE + bytes([turn]))
        repo.dvc("add", "-q", "data/raw", "models/big.bin")
        repo.commit(f"theirs {turn}")
        done = house.data.import_dvc(repo.root, all_history=turn == 2)
        assert () == done.problems
        assert {"data--raw", "models--big.bin"} == {version.name for version in done.versions}
        assert b"theirs %d" % turn == content(house, "data--raw")["x.csv"]
        assert f"ours/{turn}" not in content(house, "data--raw")
        nothing = house.data.import_dvc(repo.root, all_history=True)
        assert ((), 0) == (nothing.versions, nothing.read)
    assert (7, 4, 4) == tuple(house.data.get(name).version for name in ("data--raw", "run.sh", "models--big.bin"))


def test_a_dvc_2_pointer_becomes_one_of_dvc_3(repo: Any, house: Workspace) -> None:
    """An old pointer that is exported again says `hash: md5`, and the real DVC is content."""
    text = b"a\r\nb\r\n"
    md5 = hashlib.md5(b"a\nb\n").hexdigest()
    cached = repo.root / ".dvc" / "cache" / md5[:2] / md5[2:]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(text)
    repo.write("t.txt", text)
    repo.write("t.txt.dvc", f"outs:\n- md5: {md5}\n  size: 6\n  path: t.txt\n")
    repo.write(".gitignore", "/t.txt\n")
    assert repo.clean()
    house.data.import_dvc(repo.root)
    record(house, "t.txt", {"t.txt": b"c\r\n"})
    house.data.export_dvc("t.txt", repository=repo.root)

    assert repo.clean()
    assert "hash: md5" in (repo.root / "t.txt.dvc").read_text()
    assert b"c\r\n" == (repo.root / "t.txt").read_bytes()


def test_a_repository_of_the_real_dvc_2(tmp_path: Path, old_program: Path, repo: Any, house: Workspace) -> None:
    """Layout 2 as DVC 2 writes it, with its history; then we export into it, and DVC 3 goes on."""
    root = tmp_path / "old"
    root.mkdir()
    old = type(repo)(root, old_program)
    old.git("init", "-q", "-b", "main")
    old.dvc("init", "-q")
    old.write("d/t.txt", b"a\r\nb\r\n")
    old.write("d/b.bin", b"\0\r\n" + LARGE)
    old.write("run.sh", b"#!/bin/sh\r\n", executable=True)
    old.dvc("add", "-q", "d", "run.sh")
    first = old.commit("one")
    old.write("d/t.txt", b"a\r\nb\r\nc\r\n")
    old.dvc("add", "-q", "d")
    old.commit("two")
    layout = {one.name for one in (root / ".dvc" / "cache").iterdir()}
    done = house.data.import_dvc(root, all_history=True)
    before = {**content(house, "d")}
    record(house, "d", {**before, "new.txt": b"x\r\n"})
    house.data.export_dvc("d", repository=root)
    new = type(repo)(root, repo.program)

    assert "files" not in layout
    assert "hash" not in (root / "run.sh.dvc").read_text()
    assert ((), 3) == (done.problems, len(done.versions))
    assert f"git {first} d/" == done.versions[0].source
    assert {"t.txt": b"a\r\nb\r\nc\r\n", "b.bin": b"\0\r\n" + LARGE} == before
    assert new.clean()
    shutil.rmtree(root / "d")
    new.dvc("checkout", "-q")
    assert b"x\r\n" == (root / "d" / "new.txt").read_bytes()


def test_texts_are_the_same_to_dvc(program: Path) -> None:
    """Whatever a path is called, DVC's own reader takes what we write for the same text."""
    letters = Random(1)
    alphabet = "0123456789abcdefxoeE+-._:# '\"[]{}&*!|>%@`,?~\\/yYnNoOätr\u2028\x85\u00a0\t"
    names = ["".join(letters.choices(alphabet, k=letters.randint(1, 12))) for _ in range(3000)]
    names += [
        "1e5",
        "0o17",
        "1_000",
        "1:30",
        "2001-12-14",
        "null",
        "~",
        "=",
        "<<",
        "-",
        "- a",
        "?",
        "...",
        "---",
        ".5",
    ]
    script = (
        "import json, sys; from dvc.utils.serialize import parse_yaml; "
        "print(json.dumps([parse_yaml(text, 'x')['path'] for text in json.load(sys.stdin)]))"
    )
    asked = json.dumps([f"path: {yamltext.text(name)}\n" for name in names])
    done = subprocess.run(
        [program.parent / "python", "-c", script], input=asked, capture_output=True, check=True, text=True
    )

    assert names == json.loads(done.stdout)


def test_overlap_is_said_by_name(repo: Any, house: Workspace) -> None:
    """The error names the path that is in the way, and the file that tracks it."""
    repo.write("d/a", "1")
    repo.dvc("add", "-q", "d")
    record(house, "x", {"a": b"1"})
    with pytest.raises(Conflict, match=r"'d'.*d\.dvc"):
        house.data.export_dvc("x", repository=repo.root, path="d/inner")
