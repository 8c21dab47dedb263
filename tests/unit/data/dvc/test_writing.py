"""Pointers that are written say what they should, and a changed one keeps everything else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.data.dvc import pointers, writing
from stellwerk.data.dvc.model import MD5, Output

OLD, NEW = "0a" * 16, "1b" * 16
HASHES = st.text("0123456789abcdef", min_size=32, max_size=32)
PATHS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
OUTPUTS = st.builds(
    Output,
    path=PATHS,
    algorithm=st.just(MD5),
    value=HASHES,
    directory=st.just(False),
    size=st.integers(0, 2**50),
    executable=st.booleans(),
) | st.builds(
    Output,
    path=PATHS,
    algorithm=st.just(MD5),
    value=HASHES,
    directory=st.just(True),
    size=st.integers(0, 2**50),
    files=st.integers(0, 10**6),
)


@given(OUTPUTS)
def test_a_new_pointer_is_read_back(output: Output) -> None:
    """By our reader and by one of YAML 1.1 alike."""
    data = writing.new(output)

    assert (output,) == pointers.pointer(data, "x.dvc").outputs
    assert output.path == yaml.safe_load(data)["outs"][0]["path"]


def test_a_new_pointer_looks_like_dvc_s() -> None:
    """Field for field as `dvc add` writes."""
    folder = Output(path="raw", algorithm=MD5, value=NEW, directory=True, size=4, files=2)
    script = Output(path="run.sh", algorithm=MD5, value="ab" * 16, size=18, executable=True)

    assert f'outs:\n- md5: "{NEW}.dir"\n  size: 4\n  nfiles: 2\n  hash: md5\n  path: raw\n'.encode() == writing.new(
        folder
    ) or f"outs:\n- md5: {NEW}.dir\n  size: 4\n  nfiles: 2\n  hash: md5\n  path: raw\n".encode() == writing.new(
        folder
    )
    assert (
        f"outs:\n- md5: {'ab' * 16}\n  size: 18\n  isexec: true\n  hash: md5\n  path: run.sh\n".encode()
        == writing.new(script)
    )


TEXT = f"""# of the team
outs:
- md5: {OLD}   # old
  isexec: true
  size: 3
  hash: md5
  path: größer.txt
  desc: 'kept: yes'
  tomorrow: [1, 2]
- path: second
  md5: {OLD}
  size: 7
meta:
  by: anna # really
"""


def test_only_the_content_changes() -> None:
    """Comments, other outputs and unknown fields stay where they are."""
    (first, second) = pointers.pointer(TEXT.encode(), "x.dvc").outputs
    fresh = replace(first, value="ab" * 16, size=10, executable=False)
    text = writing.changed(TEXT.encode(), "x.dvc", 0, fresh).decode()

    assert (
        TEXT.replace(OLD + "   #", "ab" * 16 + "   #").replace("  isexec: true\n", "").replace("size: 3", "size: 10")
        == text
    )
    assert (fresh, second) == pointers.pointer(text.encode(), "x.dvc").outputs


def test_fields_that_are_missing_are_added() -> None:
    """An old pointer becomes one of DVC 3, a file a folder."""
    second = pointers.pointer(TEXT.encode(), "x.dvc").outputs[1]
    fresh = replace(second, algorithm=MD5, value="cd" * 16, directory=True, size=1, files=9)
    text = writing.changed(TEXT.encode(), "x.dvc", 1, fresh).decode()

    assert fresh == pointers.pointer(text.encode(), "x.dvc").outputs[1]
    assert "- path: second\n  nfiles: 9\n  hash: md5\n  md5: " in text
    assert text.endswith("meta:\n  by: anna # really\n")


@pytest.mark.parametrize(
    "text",
    [
        f"outs: [{{md5: {OLD}, size: 3, path: x, isexec: true, new: 1}}]",
        f'{{"outs": [{{"md5": "{OLD}", "path": "x", "new": 1, "isexec": true}}]}}',
        f"outs:\n- isexec: true\n  md5: {OLD}\n  path: x\n  new: 1",
        f"outs:\n- path: >-\n    x\n  md5: {OLD}\n  new: 1\n",
        f"outs:\n-   path: x\n    md5: {OLD}\n    new: 1",
    ],
)
def test_other_forms_are_changed_too(text: str) -> None:
    """However a pointer is written, its values are kept, though perhaps not its form."""
    (old,) = pointers.pointer(text.encode(), "x.dvc").outputs
    fresh = replace(old, algorithm=MD5, value=NEW, size=5, executable=False, directory=True, files=1)
    data = writing.changed(text.encode(), "x.dvc", 0, fresh)

    assert (fresh,) == pointers.pointer(data, "x.dvc").outputs
    assert (("new", 1),) == fresh.further


@given(OUTPUTS, OUTPUTS, st.integers(0, 2))
def test_any_pointer_takes_any_content(old: Output, new: Output, before: int) -> None:
    """Whatever it said before, it says the new content after, of that output alone."""
    others = [replace(old, path=f"other {number}") for number in range(before)]
    lines = b"outs:\n" + b"".join(writing.new(one).removeprefix(b"outs:\n") for one in [*others, old])
    wanted = replace(new, path=old.path)

    assert (*others, wanted) == pointers.pointer(writing.changed(lines, "x.dvc", before, wanted), "x.dvc").outputs


@pytest.mark.parametrize(
    ("name", "line"), [("raw", "/raw"), ("#a [1]!.txt", "/\\#a \\[1\\]\\!.txt"), ("a*?\\", "/a\\*\\?\\\\")]
)
def test_ignored_names_mean_themselves(name: str, line: str) -> None:
    """Patterns of git are escaped."""
    assert line == writing.ignore_line(name)
