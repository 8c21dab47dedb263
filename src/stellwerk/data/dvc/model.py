"""The files of a DVC repository as values. What a file says beyond the known fields is kept in `further`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MD5 = "md5"
LEGACY = "md5-dos2unix"
"""How DVC before 3.0 hashed: text files with CR LF as if they had LF."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEntry:
    """One file of a tracked folder: of a `.dir` object, or of `files` in a pointer (cloud-versioned outputs)."""

    path: str
    """Relative to the folder, with `/`."""
    value: str
    """Hex of the file's hash; empty where only a cloud's version id names it."""
    size: int | None = None
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One entry of `outs` or `deps`, in a `.dvc` file or in `dvc.lock`."""

    path: str
    """As written: relative to the file's folder and its `wdir`, or an address."""
    algorithm: str = ""
    """`md5`, `md5-dos2unix` (files of DVC 2), another that the file names, or empty where nothing is hashed yet."""
    value: str = ""
    """Hex of the hash, without `.dir`."""
    directory: bool = False
    size: int | None = None
    files: int | None = None
    executable: bool = False
    cache: bool = True
    persist: bool = False
    push: bool = True
    remote: str = ""
    desc: str = ""
    type: str = ""
    labels: tuple[str, ...] = ()
    meta: Any = None
    manifest: tuple[ManifestEntry, ...] | None = None
    cloud: Any = None
    """Version ids, etags and the like, for outputs that a cloud versions."""
    repo: Any = None
    """Where `dvc import` took it from."""
    further: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """A `.dvc` file: outputs that are tracked without a pipeline."""

    outputs: tuple[Output, ...]
    dependencies: tuple[Output, ...] = ()
    """Not empty for what `dvc import` and `dvc import-url` brought in."""
    wdir: str = ""
    frozen: bool = False
    always_changed: bool = False
    desc: str = ""
    meta: Any = None
    md5: str = ""
    cmd: tuple[str, ...] = ()
    """Of single-stage files that DVC before 1.0 wrote."""
    further: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LockedStage:
    """A stage as it was last executed, from `dvc.lock`."""

    name: str
    cmd: tuple[str, ...]
    dependencies: tuple[Output, ...] = ()
    params: Any = None
    """By file, the parameters and their values."""
    outputs: tuple[Output, ...] = ()
    further: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A `dvc.lock` file."""

    schema: str
    """`2.0`, or `1.0` for files without a version."""
    stages: tuple[LockedStage, ...]
    datasets: Any = None
    further: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOutput:
    """An entry of `outs`, `metrics` or `plots` of a stage."""

    path: str
    kind: str
    """`out`, `metric` or `plot`."""
    cache: bool = True
    persist: bool = False
    push: bool = True
    remote: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    """Everything else that is said of it: how a plot is drawn, descriptions, labels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stage of `dvc.yaml`, templates as written."""

    name: str
    cmd: tuple[str, ...]
    wdir: str = ""
    dependencies: tuple[str, ...] = ()
    params: tuple[Any, ...] = ()
    """Names of parameters, or files with names of parameters in them."""
    outputs: tuple[StageOutput, ...] = ()
    frozen: bool = False
    always_changed: bool = False
    desc: str = ""
    meta: Any = None
    vars: tuple[Any, ...] = ()
    foreach: Any = None
    matrix: Any = None
    further: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A `dvc.yaml` file."""

    stages: tuple[Stage, ...] = ()
    vars: tuple[Any, ...] = ()
    params: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    plots: tuple[Any, ...] = ()
    artifacts: tuple[tuple[str, Any], ...] = ()
    datasets: Any = None
    further: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A place that DVC pushes to and pulls from."""

    name: str
    url: str
    local: bool
    """Whether it is a folder of this machine; `url` is then relative to the folder of the file that says it."""
    options: tuple[tuple[str, str], ...] = ()
    """What else is said of it, without passwords, keys and tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A `.dvc/config` or `.dvc/config.local` file."""

    remotes: tuple[Remote, ...] = ()
    default_remote: str = ""
    cache: str = ""
    """`cache.dir`, empty for `.dvc/cache`; relative to the folder of the file that says it."""
    link_types: tuple[str, ...] = ()
    no_scm: bool = False
    further: tuple[tuple[str, str], ...] = ()
    """All other options, as `section.option`."""
