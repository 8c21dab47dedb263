"""Which kind of tracker a text names: a database, a folder or a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stellwerk.core.errors import Invalid, NotFound
from stellwerk.workspace.mlflow.folders import Places
from stellwerk.workspace.mlflow.model import Source, Target

DATABASE = "mlflow.db"
_SERVERS = ("http://", "https://")
_FOLDERS = ("mlartifacts", "mlruns")


def open_source(place: str, artifacts: Path | None = None) -> Source:
    """A tracker to read, which the caller closes.

    Raises:
        NotFound: There is nothing at this place.
        Invalid: `not-mlflow`: it is something else.
    """
    if artifacts is not None and not artifacts.is_dir():
        raise NotFound(f"there is no folder {str(artifacts)!r}", code="no-such-folder", hint="check --artifacts")
    if place.startswith(_SERVERS):
        from stellwerk.workspace.adapters.mlflow_http import ServerSource

        return ServerSource(place)
    path = Path(place.removeprefix("sqlite:///"))
    if not path.exists():
        raise NotFound(
            f"there is nothing at {place!r}",
            code="no-such-file",
            hint="the path of an mlflow.db or of an mlruns folder",
        )
    if path.is_dir():
        return _folder(path, artifacts)
    return _database(path, artifacts)


def open_wandb(place: str, allowed: Sequence[Path] = ()) -> Source:
    """What clients of Weights & Biases left in a folder, to be read.

    Args:
        allowed: Folders outside of it that may be read, too, where a run links to files in them.

    Raises:
        NotFound: There is no such folder.
        Invalid: `not-wandb`: there is no run in it.
    """
    from stellwerk.workspace.wandb.files import Allowed
    from stellwerk.workspace.wandb.reading import WandbSource

    for folder in (Path(place), *allowed):
        if not folder.is_dir():
            raise NotFound(f"there is no folder {str(folder)!r}", code="no-such-folder", hint="check the path")
    source = WandbSource(Path(place), Allowed.named(allowed))
    if not len(source):
        raise Invalid(
            f"there is no run of Weights & Biases in {place!r}",
            code="not-wandb",
            hint="the folder that holds folders such as offline-run-20260102_030405-abcd1234, often called wandb",
        )
    return source


def is_url(place: str) -> bool:
    """Whether a text is the address of a server rather than a path."""
    return "://" in place


def open_target(url: str) -> Target:
    """A server to write to, which the caller closes. Raises `Invalid` (`usage`) for what is no address of one."""
    if not url.startswith(_SERVERS):
        raise Invalid(
            f"{url!r} is no address of a server", code="usage", hint="stellwerk mlflow export http://host:5000"
        )
    from stellwerk.workspace.adapters.mlflow_http import ServerTarget

    return ServerTarget(url)


def _database(file: Path, artifacts: Path | None) -> Source:
    from stellwerk.workspace.mlflow.reading_sql import SqlSource

    home = file.resolve().parent
    return SqlSource(file, Places(home, [home / name for name in _FOLDERS], artifacts))


def _folder(path: Path, artifacts: Path | None) -> Source:
    from stellwerk.workspace.mlflow.reading_files import FileSource, holds_experiments

    inner = path / "mlruns"
    for folder in (path, inner):
        if folder.is_dir() and holds_experiments(folder):
            home = folder.resolve()
            return FileSource(home, Places(home.parent, [home], artifacts))
    if (path / DATABASE).is_file():
        return _database(path / DATABASE, artifacts)
    raise Invalid(
        f"{str(path)!r} is no folder of MLflow: there is no experiment in it",
        code="not-mlflow",
        hint="the folder whose folders hold a meta.yaml each, often called mlruns",
    )
