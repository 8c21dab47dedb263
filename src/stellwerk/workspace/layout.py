"""The folder of a workspace on disk (`docs/formats/workspace.md`): making it, finding it, locking it."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stellwerk.core.clock import Clock, ReplayClock, SystemClock
from stellwerk.core.errors import Corrupt, NotFound, StellwerkError, Unavailable
from stellwerk.core.files import replace_text

FOLDER = ".stellwerk"
FORMAT = "stellwerk-workspace/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the parts of a workspace lie.

    Attributes:
        root: The project's folder; the workspace is its subfolder `.stellwerk`.
        workspace: Name of the workspace, part of every key.
        identity: Origin of the ledger: differs between any two workspaces.
        clock: `system`, or `replay` for a rehearsal on simulated time.
        server: `sqlite` for a file in the folder, or `postgresql`, whose address comes from the settings.
        bucket: `s3://bucket/prefix` where the blobs lie there; empty for the folder.
    """

    root: Path
    workspace: str
    identity: str
    clock: Literal["system", "replay"]
    server: Literal["sqlite", "postgresql"] = "sqlite"
    bucket: str = ""

    @property
    def folder(self) -> Path:
        return self.root / FOLDER

    @property
    def database(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def blobs(self) -> Path:
        return self.folder / "blobs"

    @property
    def signing_key(self) -> Path:
        return self.folder / "keys" / "signing.key"

    @property
    def sealing_key(self) -> Path:
        return self.folder / "keys" / "sealing.key"

    @property
    def vault_key(self) -> Path:
        return self.folder / "keys" / "vault.key"

    @property
    def predictions(self) -> Path:
        return self.folder / "predictions"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def project(self) -> Path:
        return self.root / "stellwerk.toml"

    def make_clock(self) -> Clock:
        """The clock all processes of this workspace agree on."""
        return ReplayClock(self.folder / "clock.json") if self.clock == "replay" else SystemClock()


def prepare(
    root: Path,
    *,
    workspace: str,
    clock: Literal["system", "replay"] = "system",
    server: Literal["sqlite", "postgresql"] = "sqlite",
    bucket: str = "",
) -> Layout:
    """Make the folders of a new workspace and describe it; the description is written by `finish`."""
    identity = f"stellwerk/{secrets.token_hex(8)}"
    layout = Layout(root=root, workspace=workspace, identity=identity, clock=clock, server=server, bucket=bucket)
    try:
        layout.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (layout.folder / "keys").mkdir(exist_ok=True, mode=0o700)
        layout.predictions.mkdir(exist_ok=True)
        layout.checkpoints.mkdir(exist_ok=True)
    except OSError as cause:
        raise Unavailable(f"cannot make a workspace here: {cause.strerror}", code="store-unavailable") from cause
    return layout


def finish(layout: Layout) -> None:
    """Write the description last, atomically: a folder without it is no workspace yet and can be made again."""
    document = {
        "format": FORMAT,
        "workspace": layout.workspace,
        "identity": layout.identity,
        "clock": layout.clock,
    }
    # Keys and data are no business of a code repository.
    (layout.folder / ".gitignore").write_text("*\n", "utf-8")
    if layout.server != "sqlite":
        document["database"] = layout.server
    if layout.bucket:
        document["blobs"] = layout.bucket
    replace_text(layout.folder / "format.json", json.dumps(document, indent=1) + "\n")


def find(start: Path) -> Layout:
    """The workspace of a folder or of the nearest folder above it. Raises `NotFound`."""
    for root in (start.resolve(), *start.resolve().parents):
        description = root / FOLDER / "format.json"
        if description.is_file():
            return _read(root, description)
    raise NotFound("there is no workspace here or above", code="no-workspace", hint="`stellwerk init` makes one")


def _read(root: Path, description: Path) -> Layout:
    try:
        document = json.loads(description.read_text("utf-8"))
        if document["format"] != FORMAT:
            raise Unavailable(
                f"this workspace has format {document['format']!r}, this version reads {FORMAT!r}",
                code="schema-mismatch",
            )
        server = document.get("database", "sqlite")
        if server not in ("sqlite", "postgresql"):
            raise Unavailable(
                f"this workspace keeps its book in {server!r}, which this version does not know",
                code="schema-mismatch",
                hint="use the version of Stellwerk that wrote it",
            )
        return Layout(
            root=root,
            workspace=document["workspace"],
            identity=document["identity"],
            clock=document["clock"],
            server=server,
            bucket=str(document.get("blobs", "")),
        )
    except StellwerkError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as cause:
        raise Corrupt("the description of this workspace cannot be read", code="corrupt-workspace") from cause


@contextmanager
def server_lock(layout: Layout) -> Iterator[None]:
    """Be the one server of a workspace. Raises `Unavailable` where another runs. Ends with the process."""
    descriptor = os.open(layout.folder / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise Unavailable(
                "another server runs on this workspace",
                code="server-running",
                hint="use that one, or stop it first; commands work beside a server",
            ) from cause
        yield
    finally:
        os.close(descriptor)


@contextmanager
def presence(layout: Layout) -> Iterator[int]:
    """Be one of those who use a workspace; yields what `alone` asks for. Ends with the process."""
    descriptor = os.open(layout.folder / "use.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def alone(layout: Layout, mine: int) -> Iterator[None]:
    """Be the only user of a workspace: others wait to open it. Raises `Unavailable` where others use it already.

    Args:
        mine: The presence of who asks.
    """
    with server_lock(layout):
        try:
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as cause:
            raise Unavailable(
                "others use this workspace",
                code="workspace-in-use",
                hint="wait for them, or allow a grace of at least an hour",
            ) from cause
        try:
            yield
        finally:
            fcntl.flock(mine, fcntl.LOCK_SH)


def this_process() -> str:
    """Names this process among those of all machines that use the workspace, and of all times."""
    return f"{platform.node()}:{os.getpid()}{_born(os.getpid())}"


def process_alive(process: str) -> bool:
    """Whether a process exists, as far as this machine can tell: those of others are taken for alive."""
    machine, _, rest = process.rpartition(":")
    pid, dot, born = rest.partition(".")
    if machine != platform.node() or not pid.isdigit():
        return True
    if born and _born(int(pid)) != dot + born:
        return False  # the number belongs to another one by now
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _born(pid: int) -> str:
    """When a process began, since which start of the machine; empty where the system does not say, or it has ended."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        if said[0] in "ZX":
            return ""  # it has ended, and nobody has asked how
        return f".{said[19]}-{Path('/proc/sys/kernel/random/boot_id').read_text('ascii')[:8]}"
    except (OSError, IndexError):
        return ""
