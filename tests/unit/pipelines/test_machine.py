"""The machine behind a run: what is recorded, what never is, and which machines are of one class."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from stellwerk.core import canonical
from stellwerk.pipelines import machine as values
from stellwerk.pipelines.adapters import machine


def test_the_document_is_read_back() -> None:
    """Byte for byte, and it names its format."""
    taken = machine.take()

    assert taken.document == (values.read(taken.document) or values.Machine()).document
    assert "stellwerk-machine/1" == canonical.loads(taken.document)["format"]
    assert values.read(canonical.dumps({"format": "stellwerk-machine/2"})) is None


def test_only_listed_variables_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret in the environment is nowhere in the document, nor are the host and the user."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2-hunter2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    text = machine.take().document.decode()

    assert '"OMP_NUM_THREADS":"3"' in text
    assert "hunter2" not in text
    assert f'"{os.uname().nodename}"' not in text
    assert str(Path.home()) not in text


def test_interpreter_and_platform_are_there() -> None:
    """Build and compiler, C library, model and flags of the processor."""
    taken = machine.take()

    assert ".".join(map(str, sys.version_info[:3])) == taken.interpreter["version"]
    assert taken.interpreter["compiler"]
    assert os.uname().machine == taken.platform["machine"]
    assert os.cpu_count() == taken.processor["count"]


def test_linear_algebra_that_is_loaded_is_named() -> None:
    """With its version and threads; no path of this machine."""
    pytest.importorskip("numpy")
    pytest.importorskip("threadpoolctl")
    found = machine.take()

    assert "blas" in {one["kind"] for one in found.blas}
    assert b"/site-packages/" not in found.document


def test_an_accelerator_is_read_from_the_kernel(tmp_path: Path) -> None:
    """As NVIDIA's driver writes it; nothing without a driver."""
    driver = tmp_path / "driver/nvidia"
    (driver / "gpus/0000:01:00.0").mkdir(parents=True)
    (driver / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5\nGCC: x\n")
    (driver / "gpus/0000:01:00.0/information").write_text(
        "Model: \t\t NVIDIA H100 PCIe\nIRQ:   77\nGPU UUID: \t GPU-1\n"
    )

    assert {"driver": "550.54.15", "devices": [{"model": "NVIDIA H100 PCIe"}]} == machine.accelerators(tmp_path)
    assert {} == machine.accelerators(tmp_path / "nothing")


def test_flags_of_a_library_that_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library says that nobody knows here ends nothing; one that is not loaded is not loaded for it."""
    jax = ModuleType("jax")
    jax.config = SimpleNamespace(  # type: ignore[attr-defined]
        jax_enable_x64=True, jax_default_matmul_precision=None, jax_threefry_partitionable=True
    )
    monkeypatch.setitem(sys.modules, "jax", jax)
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    flags = machine.take().flags

    assert {"jax.enable_x64": True, "torch.unread": "AttributeError"}.items() <= flags.items()
    assert "tensorflow" not in sys.modules


def test_a_class_of_hardware() -> None:
    """Processor and devices count, variables and kernels do not; what nobody recorded is unknown."""
    one = machine.take()
    other = replace(one, processor={**one.processor, "model": "another"})

    assert values.same_hardware(one, replace(one, variables={"TZ": "X"}))
    assert not values.same_hardware(one, other)
    assert values.same_hardware(one, None) is None


def test_differences_are_sentences() -> None:
    """One for each fact that differs."""
    one = values.Machine(variables={"TZ": "UTC"}, interpreter={"version": "3.11.7"})
    other = values.Machine(interpreter={"version": "3.11.9"})

    assert ("Python's version: 3.11.7, now 3.11.9", "the variable TZ: UTC, now not set") == values.differences(
        one, other
    )
    assert () == values.differences(one, one)
    assert () == values.differences(None, one)
