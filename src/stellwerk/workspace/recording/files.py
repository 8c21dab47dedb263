"""Which files a process reads, told by Python's own audit of `open`: those of the project, and data elsewhere.

An audit hook cannot be taken away again, so there is one per process, and it is cheap where it has nothing to say.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

CODE = frozenset({".py", ".pyc", ".pyi", ".so", ".ipynb", ".pth", ".dll", ".dylib"})
_CODE = tuple(sorted(CODE))
SETTINGS = frozenset({"pyproject.toml", "stellwerk.toml", "setup.cfg", "requirements.txt", "uv.lock"})
DATA = frozenset((
    ".csv", ".tsv", ".parquet", ".pq", ".json", ".jsonl", ".ndjson", ".npy", ".npz", ".arrow", ".feather",
    ".ipc", ".orc", ".avro", ".h5", ".hdf5", ".nc", ".zarr", ".xls", ".xlsx", ".ods", ".xml", ".txt", ".dat",
    ".data", ".arff", ".libsvm", ".svm", ".mat", ".rds", ".sas7bdat", ".dta", ".sav", ".gz", ".bz2", ".xz",
    ".zst", ".zip", ".tar", ".tgz", ".pkl", ".pickle", ".joblib", ".pkz", ".pt", ".pth", ".ckpt",
    ".safetensors", ".onnx", ".skops", ".gguf", ".keras", ".tflite", ".db", ".sqlite", ".duckdb", ".png",
    ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".wav", ".flac", ".mp3", ".ogg", ".mp4", ".avi",
    ".mkv", ".fasta", ".fa", ".fastq", ".bam", ".vcf", ".geojson", ".shp", ".gpkg",
))  # fmt: skip
"""How names of files end that are data wherever they lie."""
MOST_SEEN = 20_000
"""Names of which is remembered whether they count."""
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC

Tell = Callable[[str, bool], None]
"""Told the absolute path of a file, and whether it is opened for writing."""


class Watch:
    """Tells of files that count, each once for reading and once for writing.

    Args:
        folders: The project: every file below them counts that is no code and not hidden.
    """

    def __init__(self, folders: tuple[str, ...], tell: Tell) -> None:
        self._folders = tuple({_folder(one) for one in folders})
        self._tell = tell
        self._seen: set[tuple[str, bool]] = set()
        self._outside = tuple({_folder(one) for one in _installed()})

    def opened(self, path: object, mode: object, flags: object) -> None:
        """A file is about to be opened."""
        if type(path) is not str or path.endswith(_CODE) or path.startswith(self._outside) or not path:
            return  # by far the most: what is imported
        writes = bool(isinstance(flags, int) and flags & _WRITES) or (
            isinstance(mode, str) and any(sign in mode for sign in "wxa+")
        )
        key = path, writes
        if key in self._seen:
            return
        if len(self._seen) < MOST_SEEN:
            self._seen.add(key)
        full = os.path.abspath(path)  # noqa: PTH100 - this is in the way of every `open`
        if self.counts(full):
            self._tell(full, writes)

    def counts(self, path: str) -> bool:
        """Whether a file belongs to what is recorded, by its absolute path alone."""
        folder, _, name = path.rpartition("/")
        ending = f".{name.rpartition('.')[2].lower()}"
        if ending in CODE or name in SETTINGS or path.startswith(self._outside):
            return False
        home = next((one for one in self._folders if path.startswith(one)), "")
        if home:
            return not any(part.startswith((".", "__pycache__")) for part in path[len(home) :].split("/"))
        return ending in DATA and "/." not in folder and not path.startswith(("/proc/", "/sys/", "/dev/"))


def _folder(path: str) -> str:
    return f"{str(Path(path).absolute()).rstrip('/')}/"


def _installed() -> list[str]:
    """Folders whose files are covered by the lock of the environment, or are nobody's data."""
    paths = sysconfig.get_paths()
    found = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib", "data") if paths.get(name)]
    found = [one for one in found if one not in ("/", "/usr", "/usr/local")]
    return [*found, *(one for one in sys.path if one.rstrip("/").endswith(("site-packages", "dist-packages")))]


_WATCHES: list[Watch] = []
_HOOKED: list[bool] = []


def watch(one: Watch) -> None:
    """Begin to tell a watch what this process opens."""
    _WATCHES.append(one)
    if not _HOOKED:
        _HOOKED.append(True)
        sys.addaudithook(_audit)


def unwatch(one: Watch) -> None:
    """Tell it nothing any more."""
    if one in _WATCHES:
        _WATCHES.remove(one)


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if event != "open" or not _WATCHES:
        return
    try:
        for one in _WATCHES:
            one.opened(*arguments[:3])
    except Exception:  # noqa: BLE001, S110 - what is raised here would fail the user's `open`
        pass
