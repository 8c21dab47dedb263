"""DVC's files become values; what is not known is kept, what is wrong is named."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stellwerk.core.errors import Invalid
from stellwerk.data.dvc import manifests
from stellwerk.data.dvc.configuration import config, merged
from stellwerk.data.dvc.model import LEGACY, MD5, ManifestEntry, Remote
from stellwerk.data.dvc.pipelines import pipeline
from stellwerk.data.dvc.pointers import lock, pointer

HASH = "d8acabbfd4ee51c95da5d7628c7ef74b"


def test_a_pointer_of_dvc_3() -> None:
    """Every field that DVC writes has its place, and a field of a later version is kept."""
    found = pointer(
        f"""
outs:
- md5: {HASH}.dir
  size: 12
  nfiles: 3
  hash: md5
  path: images
  desc: all of them
  labels: [a, b]
  type: dataset
  remote: far
  push: false
  tomorrow: {{x: 1}}
desc: photographs
meta: {{by: anna}}
frozen: true
""".encode(),
        "images.dvc",
    )
    (output,) = found.outputs

    assert ("images", MD5, HASH, True, 12, 3) == (
        output.path,
        output.algorithm,
        output.value,
        output.directory,
        output.size,
        output.files,
    )
    assert ("all of them", ("a", "b"), "dataset", "far", False) == (
        output.desc,
        output.labels,
        output.type,
        output.remote,
        output.push,
    )
    assert (("tomorrow", {"x": 1}),) == output.further
    assert (True, "photographs", {"by": "anna"}) == (found.frozen, found.desc, found.meta)


def test_a_pointer_of_dvc_2_is_hashed_in_another_way() -> None:
    """Without `hash` the MD5 is that of DVC 2, with line ends of text made equal."""
    found = pointer(
        f"md5: abc\nouts:\n- md5: {HASH}\n  isexec: true\n  path: run.sh\nwdir: ..\n".encode(), "run.sh.dvc"
    )

    assert (LEGACY, True, False) == (
        found.outputs[0].algorithm,
        found.outputs[0].executable,
        found.outputs[0].directory,
    )
    assert (("..", "abc")) == (found.wdir, found.md5)


def test_an_import_says_where_from() -> None:
    """Dependencies of `dvc import` and `dvc import-url` are kept with what they say."""
    found = pointer(
        f"""
deps:
- path: data.xml
  repo: {{url: 'https://example.org/r', rev_lock: abc}}
- etag: '"33a64df5"'
  size: 3
  path: https://example.org/data.csv
outs:
- md5: {HASH}
  hash: md5
  path: data.xml
""".encode(),
        "data.xml.dvc",
    )

    assert {"url": "https://example.org/r", "rev_lock": "abc"} == found.dependencies[0].repo
    assert ("etag", '"33a64df5"') == (found.dependencies[1].algorithm, found.dependencies[1].value)


def test_outputs_that_a_cloud_versions() -> None:
    """`files` is a folder's list of its own; version ids are kept."""
    found = pointer(
        f"""
outs:
- path: photos
  hash: md5
  files:
  - relpath: a.png
    md5: {HASH}
    size: 3
    cloud: {{s3: {{etag: e, version_id: v}}}}
  - relpath: b/c.png
    cloud: {{s3: {{version_id: w}}}}
""".encode(),
        "photos.dvc",
    )

    assert found.outputs[0].directory
    assert (
        ManifestEntry(path="a.png", value=HASH, size=3),
        ManifestEntry(path="b/c.png", value=""),
    ) == found.outputs[0].manifest


def test_a_lock_file() -> None:
    """Stages with their parameters, dependencies and outputs, of schema 2.0 and of the files without one."""
    stage = f"""
  train:
    cmd: python train.py
    deps:
    - path: train.py
      md5: {HASH}
      hash: md5
    params:
      params.yaml: {{lr: 0.1}}
    outs:
    - path: model.pkl
      md5: {HASH}
      hash: md5
      size: 7
"""
    new = lock(f"schema: '2.0'\nstages:{stage}".encode(), "dvc.lock")
    old = lock(stage.encode(), "dvc.lock")

    assert ("2.0", "1.0") == (new.schema, old.schema)
    assert new.stages == old.stages
    assert ("train", ("python train.py",), {"params.yaml": {"lr": 0.1}}) == (
        new.stages[0].name,
        new.stages[0].cmd,
        new.stages[0].params,
    )
    assert "model.pkl" == new.stages[0].outputs[0].path


def test_a_pipeline() -> None:
    """Stages, loops, plots, artifacts and variables are values; templates stay as written."""
    found = pipeline(
        b"""
vars: [params.yaml, {size: 3}]
stages:
  clean:
    cmd: [python a.py, python b.py]
    wdir: src
    deps: [raw.csv]
    params: [lr, {other.yaml: [x]}]
    outs:
    - clean.csv
    - big.bin: {cache: false, persist: true}
    metrics:
    - m.json: {cache: false}
    plots:
    - p.csv: {x: step, y: loss}
    - q.csv: [{x: a}, {x: b}]
    frozen: true
    tomorrow: 1
  each:
    foreach: [a, b]
    do: {cmd: 'run ${item}', outs: ['out/${item}']}
  all:
    matrix: {model: [cnn, xgb]}
    cmd: run ${item.model}
params: [params.yaml]
metrics: [m.json]
plots: [{p.csv: {x: step}}]
artifacts: {best: {path: model.pkl, type: model}}
""",
        "dvc.yaml",
    )
    clean, each, combined = found.stages

    assert (("python a.py", "python b.py"), "src", ("raw.csv",), True) == (
        clean.cmd,
        clean.wdir,
        clean.dependencies,
        clean.frozen,
    )
    assert [
        ("clean.csv", "out", True),
        ("big.bin", "out", False),
        ("m.json", "metric", False),
        ("p.csv", "plot", True),
        ("q.csv", "plot", True),
        ("q.csv", "plot", True),
    ] == [(output.path, output.kind, output.cache) for output in clean.outputs]
    assert (("tomorrow", 1),) == clean.further
    assert (["a", "b"], "out/${item}") == (each.foreach, each.outputs[0].path)
    assert {"model": ["cnn", "xgb"]} == combined.matrix
    assert (("best", {"path": "model.pkl", "type": "model"}),) == found.artifacts
    assert ("params.yaml", {"size": 3}) == found.vars


def test_a_configuration_keeps_no_secrets() -> None:
    """Remotes and the cache are read; passwords, keys and tokens are not kept, not even in an address."""
    found = config(
        b"""[core]
    remote = far
    analytics = false
[cache]
    dir = ../shared
    type = "reflink,copy"
['remote "far"']
    url = s3://bucket/path
    secret_access_key = hush
    region = eu
['remote "near"']
    url = ../near
[remote "web"]
    url = https://anna:hush@example.org/x
    password = hush
""",
        ".dvc/config",
    )

    assert ("far", "../shared", (("core.analytics", "false"),)) == (found.default_remote, found.cache, found.further)
    assert (
        Remote(name="far", url="s3://bucket/path", local=False, options=(("region", "eu"),)),
        Remote(name="near", url="../near", local=True),
        Remote(name="web", url="https://anna@example.org/x", local=False),
    ) == found.remotes
    assert "hush" not in repr(found)


def test_the_local_configuration_overrides() -> None:
    """Options of `config.local` count, one by one."""
    first = config(b"[core]\nremote = a\n['remote \"a\"']\nurl = ../a\njobs = 2\n", "config")
    then = config(b"[cache]\ndir = /big\n['remote \"a\"']\nurl = /else\n", "config.local")
    found = merged(first, then)

    assert ("a", "/big") == (found.default_remote, found.cache)
    assert (Remote(name="a", url="/else", local=True, options=(("jobs", "2"),)),) == found.remotes


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("- a", "bad.dvc: expected a mapping, got a list"),
        ("outs: {a: 1}", "bad.dvc: outs: expected a list, got a mapping"),
        ("outs: [x]", "bad.dvc: outs[0]: expected a mapping, got 'x'"),
        ("outs: [{md5: abc, path: x}]", "bad.dvc: outs[0].md5: expected 32 hexadecimal digits, got 'abc'"),
        (f"outs: [{{md5: {HASH}}}]", "bad.dvc: outs[0].path: expected text, got nothing"),
        (f"outs: [{{md5: {HASH}, path: x, size: -1}}]", "bad.dvc: outs[0].size: expected a whole number"),
        (f"outs: [{{md5: {HASH}, path: x, cache: 1}}]", "bad.dvc: outs[0].cache: expected true or false, got 1"),
        ("outs: [{path: x, files: [{md5: 1}]}]", "bad.dvc: outs[0].files[0].md5: expected 32"),
        ("frozen: maybe", "bad.dvc: frozen: expected true or false, got 'maybe'"),
    ],
)
def test_what_is_wrong_is_named(text: str, reason: str) -> None:
    """The error says the file, the key, what was expected and what stands there."""
    with pytest.raises(Invalid) as refused:
        pointer(text.encode(), "bad.dvc")

    assert refused.value.message.startswith(reason)


def test_an_unknown_lock_is_refused() -> None:
    """A schema nobody knows is not guessed at."""
    with pytest.raises(Invalid, match=r"3\.0"):
        lock(b"schema: '3.0'\nstages: {}", "dvc.lock")


NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=20)
HASHES = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(st.dictionaries(NAMES, HASHES, max_size=8))
def test_manifests_come_back(files: dict[str, str]) -> None:
    """What is written for a folder is read as its files, sorted by path, whatever the order it came in."""
    data = manifests.write(reversed(list(files.items())))

    assert sorted(files.items()) == [(entry.path, entry.value) for entry in manifests.read(data, "x.dir")]
    assert json.loads(data) == [{"md5": value, "relpath": path} for path, value in sorted(files.items())]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[1]",
        b'[{"md5": "x", "relpath": "a"}]',
        b'[{"md5": "%s"}]' % HASH.encode(),
        b'[{"md5": "%s", "relpath": ""}]' % HASH.encode(),
        b'[{"md5": "%s", "relpath": "a", "relpath": "b"}]' % HASH.encode(),
        b'[{"md5": "%s", "relpath": "a"}, {"md5": "%s", "relpath": "a"}]' % (HASH.encode(), HASH.encode()),
        b'[{"md5": "%s", "relpath": "a", "size": -1}]' % HASH.encode(),
        b"[" * 100_000,
        b"[NaN]",
        b"\xff",
    ],
)
def test_other_manifests_are_refused(data: bytes) -> None:
    """A folder's list is a list of hashes and paths, or nothing."""
    with pytest.raises(Invalid) as refused:
        manifests.read(data, "x.dir")

    assert "invalid-dvc-file" == refused.value.code


@given(st.binary(max_size=300))
def test_any_bytes_are_a_file_or_refused(data: bytes) -> None:
    """No reader fails in a way of its own."""
    for reader in (pointer, lock, pipeline, config, manifests.read):
        with suppress(Invalid):
            reader(data, "file")
