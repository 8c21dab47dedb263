"""The machine behind a result, as a value with a digest: interpreter, platform, processor, accelerators, flags.

It is kept with a run and is no part of a step key; what is part of it is in `environment`. How it is looked at is in
`adapters.machine`. No host name, no user, and of the environment only the variables that are named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest

FORMAT = "stellwerk-machine/1"

VARIABLES = (
    "PYTHONHASHSEED", "PYTHONOPTIMIZE", "PYTHONUTF8", "OMP_NUM_THREADS", "OMP_DYNAMIC", "OMP_SCHEDULE",
    "MKL_NUM_THREADS", "MKL_CBWR", "MKL_DYNAMIC", "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES", "CUDA_VISIBLE_DEVICES", "CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE", "NCCL_ALGO", "NCCL_PROTO", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "TF_DETERMINISTIC_OPS",
    "TF_CUDNN_DETERMINISTIC", "TF_ENABLE_ONEDNN_OPTS", "XLA_FLAGS", "JAX_ENABLE_X64",
    "JAX_DEFAULT_MATMUL_PRECISION", "TOKENIZERS_PARALLELISM", "TZ", "LANG", "LC_ALL",
)  # fmt: skip
"""Variables that change what is computed. Nothing else of the environment is read, so no secret is kept by accident."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where something was computed.

    Args:
        interpreter: Version, build and compiler of Python.
        platform: System, its release and distribution, C library, time zone and encoding.
        processor: Model, number and flags.
        blas: The libraries of linear algebra that were loaded, each with its kernels and threads.
        accelerators: Driver and devices; empty without any.
        variables: Those of `VARIABLES` that were set.
        flags: What libraries were told about determinism, by `library.flag`.
        local: Distributions that were installed from a folder of this machine and so are in no index.
    """

    interpreter: Mapping[str, Any] = field(default_factory=dict)
    platform: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)
    blas: tuple[Mapping[str, Any], ...] = ()
    accelerators: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    flags: Mapping[str, Any] = field(default_factory=dict)
    local: tuple[str, ...] = ()

    @property
    def document(self) -> bytes:
        """The canonical bytes, which the digest names."""
        return canonical.dumps(
            {
                "format": FORMAT,
                "interpreter": dict(self.interpreter),
                "platform": dict(self.platform),
                "processor": dict(self.processor),
                "blas": [dict(one) for one in self.blas],
                "accelerators": dict(self.accelerators),
                "variables": dict(self.variables),
                "flags": dict(self.flags),
                "local": list(self.local),
            }
        )

    @property
    def hardware(self) -> Digest:
        """The class of hardware: machines of one class are expected to round alike."""
        return canonical.digest(
            {
                "machine": self.platform.get("machine", ""),
                "processor": self.processor.get("model", ""),
                "flags": sorted(self.processor.get("flags", ())),
                "devices": sorted(str(device.get("model", "")) for device in self.accelerators.get("devices", ())),
            }
        )


def read(document: bytes) -> Machine | None:
    """The machine of a document; None if it is of a version that is not known here."""
    body = canonical.loads(document)
    if not isinstance(body, dict) or body.pop("format", "") != FORMAT:
        return None
    known = {name: body.get(name) or {} for name in ("interpreter", "platform", "processor", "accelerators")}
    return Machine(
        **known,
        blas=tuple(body.get("blas", ())),
        variables=body.get("variables", {}),
        flags=body.get("flags", {}),
        local=tuple(body.get("local", ())),
    )


def same_hardware(one: Machine | None, other: Machine | None) -> bool | None:
    """Whether two machines are of one class; None where one of them is unknown."""
    return None if one is None or other is None else one.hardware == other.hardware


def differences(before: Machine | None, now: Machine | None) -> tuple[str, ...]:
    """What differs between two machines, a sentence each; nothing where one is unknown."""
    if before is None or now is None:
        return ()
    said = []
    pairs: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        ("Python's", before.interpreter, now.interpreter),
        ("the platform's", before.platform, now.platform),
        ("the processor's", before.processor, now.processor),
        ("the accelerators'", before.accelerators, now.accelerators),
        ("the variable", before.variables, now.variables),
        ("the flag", before.flags, now.flags),
    ]
    for what, old, new in pairs:
        said += [
            f"{what} {name}: {_short(old.get(name))}, now {_short(new.get(name))}"
            for name in sorted({*old, *new})
            if old.get(name) != new.get(name)
        ]
    if before.blas != now.blas:
        said.append(f"linear algebra: {_blas(before)}, now {_blas(now)}")
    return tuple(said)


def _short(value: object) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def _blas(machine: Machine) -> str:
    return ", ".join(
        " ".join(str(one[key]) for key in ("library", "version", "architecture") if one.get(key))
        for one in machine.blas
    ) or "none loaded"  # fmt: skip
