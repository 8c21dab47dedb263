"""Looking at the machine: the standard library and `/proc` first, and libraries only if they are loaded already.

Nothing is imported for it and nothing is started, so that it costs a run next to nothing.
"""

from __future__ import annotations

import functools
import locale
import os
import platform
import re
import sys
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from stellwerk.pipelines.machine import VARIABLES, Machine

_PROC = Path("/proc")
_LOCAL = re.compile(r'"url"\s*:\s*"file:')


def take() -> Machine:
    """The machine as it is now; libraries that a step loaded are seen only after it."""
    return Machine(
        interpreter=_interpreter(),
        platform=_platform(),
        processor=processor(),
        blas=tuple(_blas()),
        accelerators=accelerators(),
        variables={name: os.environ[name] for name in VARIABLES if name in os.environ},
        flags=_flags(),
        local=local(),
    )


def _interpreter() -> dict[str, Any]:
    return {
        "version": platform.python_version(),
        "implementation": sys.implementation.name,
        "build": " ".join(platform.python_build()),
        "compiler": platform.python_compiler(),
        "optimize": sys.flags.optimize,
        "hash_randomization": bool(sys.flags.hash_randomization),
    }


@functools.cache
def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return platform.mac_ver()[0]


def _platform() -> dict[str, Any]:
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "distribution": _distribution(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "byte_order": sys.byteorder,
        "zone": time.tzname[0],
        "encoding": locale.getpreferredencoding(False),
    }


@functools.cache
def processor() -> dict[str, Any]:
    """Model, number and flags of the processors."""
    text = _read(_PROC / "cpuinfo").partition("\n\n")[0]
    facts = {
        key.strip(): value.strip() for key, mark, value in (line.partition(":") for line in text.splitlines()) if mark
    }
    return {
        "model": facts.get("model name") or facts.get("CPU part") or platform.processor(),
        "count": os.cpu_count() or 0,
        "flags": sorted((facts.get("flags") or facts.get("Features") or "").split()),
    }


def accelerators(proc: Path = _PROC) -> dict[str, Any]:
    """NVIDIA's driver and devices as the kernel tells them, and the versions of CUDA that loaded libraries bring."""
    version = re.search(r"Kernel Module[^0-9]*([0-9.]+)", _read(proc / "driver/nvidia/version"))
    devices = [
        {"model": found[1].strip()}
        for file in sorted(proc.glob("driver/nvidia/gpus/*/information"))
        if (found := re.search(r"^Model:\s*(.+)$", _read(file), re.MULTILINE))
    ]
    if version is None and not devices:
        return {}
    return {"driver": version[1] if version else "", "devices": devices, **_cuda()}


def _cuda() -> dict[str, Any]:
    torch = sys.modules.get("torch")
    if torch is None or not getattr(getattr(torch, "version", None), "cuda", None):
        return {}
    cudnn = getattr(getattr(torch, "backends", None), "cudnn", None)
    return {"cuda": str(torch.version.cuda), "cudnn": str(cudnn.version()) if cudnn is not None else ""}


def _blas() -> Iterator[dict[str, Any]]:
    """Loaded libraries of linear algebra, by threadpoolctl where it is there, else as numpy was built."""
    if "numpy" not in sys.modules:
        return
    if find_spec("threadpoolctl") is not None:
        import threadpoolctl

        for one in sorted(
            threadpoolctl.threadpool_info(), key=lambda found: (str(found["user_api"]), str(found["version"]))
        ):
            kept = {
                "library": one.get("internal_api"),
                "version": one.get("version"),
                "threads": one.get("num_threads"),
            }
            yield {**kept, "architecture": one.get("architecture"), "kind": one.get("user_api")}
        return
    config = getattr(sys.modules.get("numpy.__config__"), "CONFIG", {})
    built = config.get("Build Dependencies", {}).get("blas", {})
    if built:
        yield {"library": str(built.get("name", "")), "version": str(built.get("version", ""))}


def _flags() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, read in (("torch", _torch), ("tensorflow", _tensorflow), ("jax", _jax)):
        module = sys.modules.get(name)
        if module is None:
            continue
        try:
            found |= {f"{name}.{flag}": value for flag, value in read(module).items()}
        except Exception as error:  # noqa: BLE001  # another version of a library must not end a run
            found[f"{name}.unread"] = type(error).__name__
    return found


def _torch(torch: Any) -> dict[str, Any]:
    return {
        "deterministic_algorithms": bool(torch.are_deterministic_algorithms_enabled()),
        "cudnn.deterministic": bool(torch.backends.cudnn.deterministic),
        "cudnn.benchmark": bool(torch.backends.cudnn.benchmark),
        "cudnn.allow_tf32": bool(torch.backends.cudnn.allow_tf32),
        "matmul.allow_tf32": bool(torch.backends.cuda.matmul.allow_tf32),
        "float32_matmul_precision": str(torch.get_float32_matmul_precision()),
        "threads": int(torch.get_num_threads()),
    }


def _tensorflow(tensorflow: Any) -> dict[str, Any]:
    experimental = tensorflow.config.experimental
    return {
        "tensor_float_32": bool(experimental.tensor_float_32_execution_enabled()),
        "intra_op_threads": int(tensorflow.config.threading.get_intra_op_parallelism_threads()),
        "inter_op_threads": int(tensorflow.config.threading.get_inter_op_parallelism_threads()),
    }


def _jax(jax: Any) -> dict[str, Any]:
    return {
        "enable_x64": bool(jax.config.jax_enable_x64),
        "default_matmul_precision": str(jax.config.jax_default_matmul_precision),
        "threefry_partitionable": bool(jax.config.jax_threefry_partitionable),
    }


@functools.cache
def local() -> tuple[str, ...]:
    """Distributions here that were installed from a folder or file, and so are in no index."""
    return tuple(sorted(set(_local_in(dict.fromkeys(sys.path)))))


def _local_in(folders: Iterable[str]) -> Iterator[str]:
    """Names of distributions that say that they were installed from a folder or file."""
    for folder in folders:
        for file in Path(folder or ".").glob("*.dist-info/direct_url.json"):
            if _LOCAL.search(_read(file)):
                yield re.sub(r"[-_.]+", "-", file.parent.name.partition("-")[0]).lower()


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""
