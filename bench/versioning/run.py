"""Versioning side by side with real DVC, in one run: add, no-op status, checkout, re-add after a change of 1 %.

    python bench/versioning/run.py --files 20000 --big 0.5 --sizes 1000 10000 > result.json

DVC gets an environment of its own (made here with `uv`, else `python -m venv`), or `--dvc PATH` names one; each of its
link types is measured and the best counts. Whole processes are timed, page cache warm, each on a fresh copy. Prints one
JSON document: seconds of clock and of processor, ratios to DVC's best, growth exponents, bytes that the stores grew. On
a machine that does other work too, the processor's time is the fairer one.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PER_FOLDER = 1000
LINKS = ("copy", "hardlink")


def main() -> int:
    """Measure and print."""
    options = _options()
    work = Path(tempfile.mkdtemp(prefix="versioning-", dir=options.work))
    try:
        dvc = None if options.no_dvc else options.dvc or _install_dvc(work / "dvc-environment")
        print(json.dumps(measure(work, options, dvc), indent=1))
    finally:
        if not options.keep:
            shutil.rmtree(work, ignore_errors=True)
    return 0


def measure(work: Path, options: argparse.Namespace, dvc: Path | None) -> dict[str, object]:
    """All rows."""
    tools: dict[str, Callable[[Path], Tool]] = {
        f"stellwerk {link}": lambda home, link=link: Stellwerk(home, link)  # type: ignore[misc]
        for link in LINKS
    }
    for link in LINKS if dvc is not None else ():
        tools[f"dvc {link}"] = lambda home, link=link: Dvc(home, dvc, link)  # type: ignore[misc]
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for what, make in (
        (f"{options.files} files of 1-10 kB", lambda folder: make_files(folder, options.files)),
        (f"one file of {options.big} GB", lambda folder: make_big(folder, options.big)),
    ):
        if what.startswith(("0 ", "one file of 0.0")):
            continue
        rows[what] = {name: one(work / "home", tool, make, options.rounds) for name, tool in tools.items()}
    return {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version(), "system": platform.platform()},
        "seconds": rows,
        "ratio to the best of dvc": {what: ratios(found) for what, found in rows.items()} if dvc else {},
        "growth": growth(work, options.sizes),
    }


def one(home: Path, tool: Callable[[Path], Tool], make: Callable[[Path], None], rounds: int) -> dict[str, float]:
    """One tool, one kind of data."""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    its = tool(home)
    make(home / "data")
    os.sync()
    found: dict[str, float] = {}

    def note(step: str, seconds: float) -> None:
        found[step], found[f"{step}, processor"] = seconds, its.processor

    note("add", its.add())
    note("status", min(its.status() for _ in range(rounds)))
    # Moved, not deleted: ext4 searches long for inodes among those that were just given back.
    (home / "data").rename(home / "away")
    os.sync()
    note("checkout", its.checkout())
    note("status after checkout", its.status())
    before = its.kept()
    change(home / "data")
    os.sync()
    note("re-add after 1 %", its.add())
    found["MB grown by 1 %"] = round((its.kept() - before) / 1e6, 1)
    _put_away(home)
    return found


def _put_away(home: Path) -> None:
    """Make room for the next tool. Many files are deleted at the end, by `main`: for five minutes after a file was
    deleted, ext4 looks at its inode and passes it over whenever it seeks a free one, which makes new files slow."""
    if (home / "data" / "big.bin").exists():
        shutil.rmtree(home)
    else:
        home.rename(home.with_name(f"done-{time.monotonic_ns()}"))


def growth(work: Path, sizes: list[int]) -> dict[str, object]:
    """How the time of Stellwerk grows with the number of files; 1 is in proportion."""
    if len(sizes) < 2:
        return {}
    found = {size: one(work / "home", Stellwerk, lambda folder, n=size: make_files(folder, n), 3) for size in sizes}  # type: ignore[misc]
    first, last = sizes[0], sizes[-1]
    exponents = {
        step: round(math.log(found[last][step] / found[first][step]) / math.log(last / first), 3)
        for step in ("add", "status", "checkout")
    }
    return {"seconds": found, "exponent": exponents}


def ratios(found: dict[str, dict[str, float]]) -> dict[str, float]:
    """Stellwerk's best time over the best of DVC's, step by step."""
    ours = [row for name, row in found.items() if name.startswith("stellwerk")]
    others = [row for name, row in found.items() if not name.startswith("stellwerk")]

    def best(rows: list[dict[str, float]], step: str) -> float:
        return min(row[step] for row in rows)

    return {step: round(best(ours, step) / max(best(others, step), 1e-3), 3) for step in ours[0]}


class Tool:
    """A versioning tool in a folder whose data is called `data`."""

    processor = 0.0
    """Seconds of processor of the last command."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, *words: str | Path, ok: tuple[int, ...] = (0,)) -> float:
        """Seconds that a command takes."""
        began, busy = time.perf_counter(), _busy()
        done = subprocess.run(
            words, cwd=self.home, env=self.environment(), capture_output=True, text=True, check=False
        )
        took = time.perf_counter() - began
        self.processor = round(_busy() - busy, 3)
        if done.returncode not in ok:
            raise SystemExit(f"{' '.join(map(str, words))} ended with {done.returncode}:\n{done.stderr}")
        return round(took, 3)

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def add(self) -> float:
        raise NotImplementedError

    def status(self) -> float:
        raise NotImplementedError

    def checkout(self) -> float:
        raise NotImplementedError

    def kept(self) -> int:
        """Bytes of the store."""
        raise NotImplementedError


class Stellwerk(Tool):
    """This tree, copying or linking large files."""

    def __init__(self, home: Path, link: str = "copy") -> None:
        super().__init__(home)
        self._adopt = ("--adopt",) if link == "hardlink" else ()
        self._link = ("--link", link)
        self.run(*self._stellwerk, "init")

    _stellwerk = (sys.executable, "-m", "stellwerk")

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(ROOT / "src")}

    def add(self) -> float:
        return self.run(*self._stellwerk, "data", "add", "data", *self._adopt)

    def status(self) -> float:
        return self.run(*self._stellwerk, "data", "status", "data")

    def checkout(self) -> float:
        return self.run(*self._stellwerk, "data", "checkout", "data", *self._link)

    def kept(self) -> int:
        return size_of(self.home / ".stellwerk" / "blobs")


class Dvc(Tool):
    """Real DVC with one of its link types."""

    def __init__(self, home: Path, dvc: Path, link: str) -> None:
        super().__init__(home)
        self._dvc = dvc
        self.run("git", "init", "-q")
        self.run(dvc, "init", "-q")
        self.run(dvc, "config", "core.analytics", "false")
        self.run(dvc, "config", "cache.type", link)

    def environment(self) -> dict[str, str]:
        return {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.home / ".site")}

    def add(self) -> float:
        return self.run(self._dvc, "add", "-q", "data")

    def status(self) -> float:
        return self.run(self._dvc, "status", "-q", "data.dvc")

    def checkout(self) -> float:
        return self.run(self._dvc, "checkout", "-q", "data.dvc")

    def kept(self) -> int:
        return size_of(self.home / ".dvc" / "cache")


def _busy() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_files(folder: Path, count: int) -> None:
    """Files of 1 to 10 kB, a thousand in each folder."""
    source = random.Random(7)
    for number in range(count):
        inner = folder / f"{number // PER_FOLDER:05}"
        if number % PER_FOLDER == 0:
            inner.mkdir(parents=True)
        (inner / f"{number:08}.bin").write_bytes(source.randbytes(source.randint(1000, 10_000)))


def make_big(folder: Path, gigabytes: float) -> None:
    """One file in a folder."""
    source = random.Random(8)
    folder.mkdir()
    with (folder / "big.bin").open("wb") as file:
        for _ in range(max(1, round(gigabytes * 1000 / 8))):
            file.write(source.randbytes(8_000_000))


def change(folder: Path) -> None:
    """Other bytes in every hundredth file, or in 1 % of a single one, in place."""
    source = random.Random(9)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files[::100] if len(files) > 1 else ():
        path.unlink()  # a hard-linked file must not be written to
        path.write_bytes(source.randbytes(5000))
    if len(files) == 1:
        size = files[0].stat().st_size
        changed = files[0].with_suffix(".new")
        shutil.copyfile(files[0], changed)
        with changed.open("r+b") as file:
            for _ in range(10):
                file.seek(source.randrange(size - size // 1000))
                file.write(source.randbytes(size // 1000))
        changed.replace(files[0])


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _install_dvc(place: Path) -> Path:
    if shutil.which("uv"):
        subprocess.run(["uv", "venv", "-q", place], check=True)
        subprocess.run(["uv", "pip", "install", "-q", "--python", place / "bin" / "python", "dvc"], check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        subprocess.run([place / "bin" / "pip", "install", "-q", "dvc"], check=True)
    return place / "bin" / "dvc"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20_000, help="how many small files")
    parser.add_argument("--big", type=float, default=0.5, help="gigabytes of the one big file")
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[1000, 10_000], help="numbers of files for the growth"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often a status is asked; the quickest counts")
    parser.add_argument("--dvc", type=Path, help="a dvc that is installed already")
    parser.add_argument("--no-dvc", action="store_true", help="measure Stellwerk alone")
    parser.add_argument("--work", type=Path, help="a folder for the data, on the disk that is to be measured")
    parser.add_argument("--keep", action="store_true", help="keep the data")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
