"""A PostgreSQL server of its own in a temporary folder, reached through a socket file: nothing listens on a network.

A test module asks for the fixture `postgres` (`tests/conftest.py` imports it), or is skipped with the
reason where no server is installed.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PLACES = ("/usr/lib/postgresql", "/usr/local/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt")


def programs() -> Path | None:
    """The folder with `initdb` and `pg_ctl`, of the newest version there is."""
    on_path = shutil.which("pg_ctl")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += [file.parent for place in PLACES for file in sorted(Path(place).glob("**/bin/pg_ctl"), reverse=True)]
    return next((folder for folder in found if (folder / "initdb").is_file()), None)


class Server:
    """One server; `initdb` refuses to run as root, so root lends it to an unprivileged user."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self.folder, self._bin = folder, bin_folder
        self._count = 0
        self._user: str | None = None
        if os.geteuid() == 0:
            self._user = _unprivileged()
            shutil.chown(folder, self._user)

    def begin(self) -> None:
        """Make the cluster and start it."""
        self._run("initdb", "-D", str(self.data), "-U", "stellwerk", "-A", "trust", "-E", "UTF8", "--locale=C")
        self.start()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start(self, *settings: str) -> None:
        options = f"-k {self.folder} -c listen_addresses= -c max_connections=200 " + " ".join(
            f"-c {setting}" for setting in settings
        )
        self._run(
            "pg_ctl", "start", "-w", "-t", "240", "-D", str(self.data), "-l", str(self.folder / "log"), "-o", options
        )

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "stop", "-w", "-t", "240", "-D", str(self.data), "-m", mode)

    def restart(self, mode: str = "immediate") -> None:
        """With `immediate` as after a power cut: no process says goodbye, the log is replayed."""
        self.stop(mode)
        self.start()

    def new_database(self, locale: str = "C") -> str:
        """The address of a fresh, empty database."""
        import psycopg

        self._count += 1
        name = f"test{self._count}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE '{locale}'")
        return self.url(name)

    def url(self, database: str) -> str:
        return f"postgresql://stellwerk@/{database}?host={self.folder}"

    def _run(self, program: str, *arguments: str) -> None:
        how: dict[str, Any] = {"user": self._user} if self._user else {}
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            timeout=300,
            check=False,
            **how,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace')[-2000:]}")


@contextmanager
def server() -> Iterator[Server]:
    """A running server, gone afterwards. Skips the test where PostgreSQL or its driver is not installed."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # Not below pytest's folders, which are closed to other users; and short, for the name of a socket has a limit.
    folder = Path(tempfile.mkdtemp(prefix="stellwerk-pg-"))
    try:
        made = Server(folder, bin_folder)
        made.begin()
        try:
            yield made
        finally:
            made.stop("immediate")
    finally:
        # A hundred thousand files and more, which take half a minute: nobody waits for it.
        nowhere = subprocess.DEVNULL
        subprocess.run(
            ["sh", "-c", 'rm -rf -- "$0" &', str(folder)],
            stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """One server for all tests of a session; each asks it for databases of its own."""
    with server() as running:
        yield running


def _unprivileged() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("root may not run PostgreSQL, and there is no other user")
