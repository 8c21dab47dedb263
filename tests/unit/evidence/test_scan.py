"""Scanning: what is not read completely as data is never clean, whatever it is called."""

from __future__ import annotations

import builtins
import importlib
import io
import json
import os
import pickle
import runpy
import struct
import subprocess
import sys
import zipfile
from typing import Any

import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from stellwerk.evidence.scan import scan_files
from stellwerk.models import archive


class Calls:
    """Pickles into a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target:
        for name, data in members:
            target.writestr(name, data)
    return buffer.getvalue()


def tensors(header: Any, data: bytes, *, pad: int = 0) -> bytes:
    text = (header if isinstance(header, bytes) else json.dumps(header).encode()) + b" " * pad
    return struct.pack("<Q", len(text)) + text + data


def tensor(begin: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape or [(end - begin) // 4], "data_offsets": [begin, end]}


def skops_with(change: Any = None, **extra: bytes) -> bytes:
    """A skops model, with its schema changed and members added."""
    members = archive.read(skops.io.dumps(LogisticRegression().fit([[0.0], [1.0]], [0, 1])))
    root = json.loads(members["schema.json"])
    if change:
        change(root)
    return archive.write({**members, "schema.json": json.dumps(root).encode(), **extra})


def plant(module: str, name: str, loader: str = "FunctionNode") -> Any:
    node = {"__loader__": loader, "__module__": module, "__class__": name}
    return lambda root: root["content"]["content"].update(solver=node)


SYSTEM = pickle.dumps(Calls(os.system, "id"))
GETATTR = pickle.dumps(Calls(getattr, Calls(importlib.import_module, "os"), "system"))
HARMLESS = pickle.dumps({"weights": [1.0, 2.0]})
PIP = b"cpip\nmain\n((lp0\nS'install'\np1\naS'evil'\np2\natp3\nRp4\n."
IMPORT = b"c__builtin__\n__import__\n(S'os'\ntR."
TORCH = zipped(("archive/data.pkl", SYSTEM), ("archive/version", b"3\n"))
KERAS = zipped(("metadata.json", b"{}"), ("config.json", b'{"class_name": "Lambda"}'), ("model.weights.h5", b"x"))

HOSTILE: dict[str, tuple[str, bytes, str]] = {
    # name: (path, content, class)
    "os.system": ("model.pkl", SYSTEM, "executable"),
    "os.system, protocol 0": ("model.pkl", pickle.dumps(Calls(os.system, "id"), 0), "executable"),
    "eval": ("model.pkl", pickle.dumps(Calls(eval, "1")), "executable"),
    "exec": ("model.pkl", pickle.dumps(Calls(exec, "1")), "executable"),
    "runpy": ("model.pkl", pickle.dumps(Calls(runpy.run_path, "x.py")), "executable"),
    "subprocess": ("model.joblib", pickle.dumps(Calls(subprocess.Popen, ["id"])), "executable"),
    "pip": ("model.pkl", PIP, "executable"),
    "__import__": ("model.pkl", IMPORT, "executable"),
    "getattr chain": ("model.bin", GETATTR, "executable"),
    "breakpoint": ("model.pt", pickle.dumps(Calls(builtins.breakpoint)), "executable"),
    "truncated": ("model.pkl", SYSTEM[:-3], "executable"),
    "bytes after the end": ("model.pkl", HARMLESS + b"more", "executable"),
    "harmless pickle": ("model.pkl", HARMLESS, "executable"),
    "PyTorch archive": ("model.pt", TORCH, "executable"),
    "Keras archive": ("model.keras", KERAS, "executable"),
    "source code": ("handler.py", b"import os\n", "executable"),
    "shebang": ("notes", b"#!/bin/sh\nid\n", "executable"),
    "YAML with Python tags": ("MLmodel", b"loader: !!python/object/apply:os.system [id]\n", "executable"),
    "remote code": ("config.json", b'{"auto_map": {"AutoModel": "x.Model"}}', "executable"),
    "pickle called safetensors": ("model.safetensors", SYSTEM, "refused"),
    "pickle called skops": ("model.skops", SYSTEM, "refused"),
    "pickle called json": ("model.json", SYSTEM, "refused"),
    "pickle called npy": ("weights.npy", SYSTEM, "refused"),
    "pickle called parquet": ("rows.parquet", SYSTEM, "refused"),
    "text pickle called json": ("model.json", IMPORT, "refused"),
    "text pickle called txt": ("readme.txt", IMPORT, "refused"),
    "broken text pickle called txt": ("readme.txt", b"cos\nsystem\n(S'id'\ntR\x21\n", "refused"),
    "PyTorch archive called skops": ("model.skops", TORCH, "refused"),
    "gzip": ("model.joblib", b"\x1f\x8b\x08\x00" + b"\0" * 20, "refused"),
    "HDF5": ("model.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 20, "refused"),
    "GGUF": ("model.gguf", b"GGUF" + b"\0" * 20, "refused"),
    "ONNX": ("model.onnx", b"\x08\x07\x12\x04test\0", "refused"),
    "noise": ("model.bin", bytes(range(256)), "refused"),
    "objects in npy": ("weights.npy", npy(np.array([{}], dtype=object)), "refused"),
    "npy cut off": ("weights.npy", npy(np.arange(9))[:-1], "refused"),
    "overlapping tensors": (
        "m.safetensors",
        tensors({"a": tensor(0, 8), "b": tensor(4, 12)}, b"\0" * 12),
        "refused",
    ),
    "tensors with a hole": ("m.safetensors", tensors({"a": tensor(0, 4), "b": tensor(8, 12)}, b"\0" * 12), "refused"),
    "tensors and more": ("m.safetensors", tensors({"a": tensor(0, 4)}, b"\0" * 8), "refused"),
    "tensor too short": ("m.safetensors", tensors({"a": tensor(0, 4, [2])}, b"\0" * 4), "refused"),
    "huge tensor header": ("m.safetensors", struct.pack("<Q", 1 << 63) + b"{}", "refused"),
    "repeated tensor": ("m.safetensors", tensors(b'{"a":1,"a":1}', b""), "refused"),
    "unknown tensor type": ("m.safetensors", tensors({"a": tensor(0, 4, [1], "PICKLE")}, b"\0" * 4), "refused"),
    "JSON that repeats a key": ("model.json", b'{"a": 1, "a": 2}', "refused"),
    "skops with os.system": ("model.skops", skops_with(plant("os", "system")), "refused"),
    "skops with subprocess.Popen": ("model.skops", skops_with(plant("subprocess", "Popen", "ObjectNode")), "refused"),
    "skops with eval": (
        "model.skops",
        skops.io.dumps(make_pipeline(FunctionTransformer(eval), Ridge())),
        "refused",
    ),
    "pickle in a skops archive": ("model.skops", skops_with(None, **{"more.npy": SYSTEM}), "refused"),
    "pickle called pkl in a skops archive": ("model.skops", skops_with(None, **{"x.pkl": SYSTEM}), "refused"),
    "unreferenced array": ("model.skops", skops_with(None, **{"more.npy": npy(np.arange(2))}), "refused"),
    "member outside": ("model.skops", zipped(("../schema.json", b"{}")), "refused"),
    "bomb": (
        "model.skops",
        zipped(("schema.json", b" " * 30_000_000 + b"{}"), method=zipfile.ZIP_DEFLATED),
        "refused",
    ),
    "bytes after a skops archive": ("model.skops", skops_with() + b"x", "refused"),
    "bytes before a skops archive": ("model.skops", b"x" + skops_with(), "refused"),
    "Parquet cut off": ("rows.parquet", b"PAR1" + b"\0" * 20, "refused"),
    "archive of anything": ("model.zip", zipped(("a", b"b")), "refused"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_never_clean(name: str) -> None:
    """Each is executable or refused, with at least one finding that names it; nothing runs meanwhile."""
    path, content, expected = HOSTILE[name]

    report = scan_files({path: content})

    assert expected == report.format_class
    assert not report.clean
    assert {path} == {finding.path for finding in report.findings}


@pytest.mark.parametrize(
    "name", ["os.system", "eval", "exec", "runpy", "subprocess", "pip", "__import__", "getattr chain", "truncated"]
)
def test_dangerous_pickles_are_called_critical(name: str) -> None:
    """A report says more than "it is a pickle"."""
    path, content, _ = HOSTILE[name]

    assert "critical" in {finding.severity for finding in scan_files({path: content}).findings}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_schema_given_twice_is_refused() -> None:
    """Readers disagree about which one counts."""
    members = archive.read(skops_with())
    twice = zipped(*members.items(), ("schema.json", members["schema.json"]))

    assert "refused" == scan_files({"model.skops": twice}).format_class


def parquet() -> bytes:
    import polars as pl

    buffer = io.BytesIO()
    pl.DataFrame({"a": [1, 2]}).write_parquet(buffer)
    return buffer.getvalue()


def arrow() -> bytes:
    import polars as pl

    buffer = io.BytesIO()
    pl.DataFrame({"a": [1, 2]}).write_ipc(buffer)
    return buffer.getvalue()


CLEAN: dict[str, tuple[str, bytes]] = {
    "skops": ("model.skops", skops_with()),
    "skops of skops": ("model.skops", skops.io.dumps(LogisticRegression())),
    "packed skops": (
        "model.skops",
        skops.io.dumps(LogisticRegression().fit([[0.0], [1.0]], [0, 1]), compression=zipfile.ZIP_DEFLATED),
    ),
    "npy": ("weights.npy", npy(np.arange(5.0))),
    "records": ("weights.npy", npy(np.zeros(3, dtype=[("a", "<f8")]))),
    "safetensors": (
        "m.safetensors",
        tensors({"a": tensor(0, 8), "b": tensor(8, 12), "__metadata__": {"by": "me"}}, b"\0" * 12),
    ),
    "safetensors that begins like a pickle": ("m.safetensors", tensors({"a": tensor(0, 4)}, b"\0" * 4, pad=1091)),
    "empty tensor": ("m.safetensors", tensors({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}, b"")),
    "Parquet": ("rows.parquet", parquet()),
    "Arrow": ("rows.arrow", arrow()),
    "JSON": ("model.json", b'{"trees": [1, 2.5, null]}'),
    "text": ("readme.md", "# Modell für München\n".encode()),
    "words": ("classes.txt", b"cat\ndog\nbird\n"),
    "empty": ("empty.txt", b""),
}


@pytest.mark.parametrize("name", CLEAN)
def test_plain_data_is_clean(name: str) -> None:
    """Nothing is found where there is nothing to find."""
    path, content = CLEAN[name]

    report = scan_files({path: content})

    assert () == report.findings
    assert report.clean
    assert "data-only" == report.format_class


def test_the_safetensors_sample_does_begin_like_a_pickle() -> None:
    """The sample above is what its name says."""
    assert b"\x80\x04" == CLEAN["safetensors that begins like a pickle"][1][:2]


def test_the_worst_file_decides() -> None:
    """One bad file among good ones is enough, and the good ones are not blamed."""
    good = dict((CLEAN["skops"], CLEAN["JSON"]))

    assert scan_files(good).clean
    assert "executable" == scan_files({**good, "x.pkl": HARMLESS}).format_class
    refused = scan_files({**good, "x.pkl": HARMLESS, "y.bin": b"\xff\x00"})
    assert "refused" == refused.format_class
    assert {"x.pkl", "y.bin"} == {finding.path for finding in refused.findings}


def test_no_files_are_not_clean() -> None:
    """Zero files scanned is no proof of anything."""
    report = scan_files({})

    assert ("refused", False, 1) == (report.format_class, report.clean, len(report.findings))


def test_scanning_never_imports_what_a_file_names() -> None:
    """A pickle and a skops archive that name a module do not bring it in."""
    sys.modules.pop("antigravity", None)
    sample = b"\x80\x04cantigravity\nfly\n(tR."

    scan_files({"a.pkl": sample, "b.skops": skops_with(plant("antigravity", "fly"))})

    assert "antigravity" not in sys.modules


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(CLEAN)), st.data())
def test_damaged_files_never_break_the_scan(name: str, draw: st.DataObject) -> None:
    """Whatever bytes come: an answer, and no file that is both changed in its frame and unread is an exception."""
    path, content = CLEAN[name]
    at = draw.draw(st.integers(0, len(content)))
    change = draw.draw(st.binary(max_size=4))
    damaged = content[:at] + change + content[at + draw.draw(st.integers(0, 4)) :]

    report = scan_files({path: damaged})

    assert report.format_class in {"data-only", "executable", "refused"}
    assert report.clean == (report.format_class == "data-only" and not report.findings)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["x", "x.skops", "x.npy", "x.json", "x.safetensors"]))
def test_any_bytes_get_an_answer(content: bytes, path: str) -> None:
    """Nothing but text and JSON is accepted by accident."""
    report = scan_files({path: content})

    if report.clean:
        assert path in {"x", "x.json"}
        content.decode("utf-8")


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_in_compressed_pickles_is_a_finding(method: int) -> None:
    """Each decompressor has an error of its own; whatever is damaged, nothing is raised and nothing clean."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", method) as target:
        target.writestr("archive/data.pkl", pickle.dumps(list(range(60))))
    content = whole.getvalue()

    for position in range(len(content)):
        damaged = content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :]
        assert not scan_files({"model.pt": damaged}).clean, position
