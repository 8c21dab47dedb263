"""Files of runs, and of models that were logged, as people look at them: folders to open, and what a file shows."""

from __future__ import annotations

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.governance.model import FileLine, FilePage
from stellwerk.tracking import paths, previews
from stellwerk.tracking.manifest import Artifact
from stellwerk.tracking.pictures import Picture
from stellwerk.tracking.rules import artifacts_of
from stellwerk.workspace.rooms import Rooms

HERE = "mlflow-artifacts:/"
"""How addresses of artifacts begin that are kept in this workspace."""
AT_ONCE = 500
"""Names of a folder on one page."""


def page(rooms: Rooms, *, run: str = "", model: str = "", path: str = "", offset: int = 0) -> FilePage:
    """A file or folder. Raises `NotFound`, and `Invalid` for what is kept elsewhere and for what is no path."""
    if bool(run) == bool(model):
        raise Invalid("files are those of a run or those of a model", code="invalid-arguments")
    inner = paths.read_folder(path)
    if run:
        found = rooms.runs.get(run)
        home, name, experiment, by = artifacts_of(found), found.name or run, found.experiment, run
    else:
        logged = rooms.logged_models.get(model)
        home, name, experiment, by = logged.home, logged.name, logged.experiment, logged.source_run
    artifact = _find(rooms, home, inner)
    digest = artifact.digest if artifact is not None else None
    inside = [] if digest is not None else _inside(rooms, home, inner, offset)
    if offset and not inside and digest is None:
        raise NotFound("there are not so many files", code="unknown-artifact")
    return FilePage(
        kind="run" if run else "model",
        id=run or model,
        name=name,
        run=by,
        experiment=rooms.experiments.get(experiment).name,
        experiment_id=experiment,
        path=inner,
        digest=digest or "",
        size=artifact.size if artifact is not None else 0,
        logged_at=artifact.logged_at if artifact is not None else None,
        preview=None if digest is None else previews.preview(rooms.blobs, digest, paths.split(inner)[1]),
        inside=tuple(_line(one, inner) for one in inside[:AT_ONCE]),
        before=max(offset - AT_ONCE, 0) if offset else None,
        after=offset + AT_ONCE if len(inside) > AT_ONCE else None,
    )


def picture(rooms: Rooms, *, run: str = "", model: str = "", path: str = "") -> tuple[Picture, Digest]:
    """The picture of a path, by its bytes. Raises `NotFound` for everything that is none."""
    home = artifacts_of(rooms.runs.get(run)) if run else rooms.logged_models.get(model).home
    artifact = _find(rooms, home, paths.read(path))
    found = None if artifact is None or artifact.digest is None else previews.picture(rooms.blobs, artifact.digest)
    if found is None or artifact is None or artifact.digest is None:
        raise NotFound("no picture that is shown here is under this path", code="unknown-artifact")
    return found, artifact.digest


def root(home: str) -> str:
    """The folder in the tree that an address means. Raises `Invalid` for one elsewhere: nothing here opens it."""
    if not home.startswith(HERE):
        raise Invalid(
            f"these files are not kept here but under {home[:200]!r}",
            code="foreign-artifacts",
            hint="open them where they are",
        )
    return home.removeprefix(HERE)


def _find(rooms: Rooms, home: str, inner: str) -> Artifact | None:
    """What stands under a path; None for the whole, which may be empty."""
    return rooms.artifacts.get(paths.join(root(home), inner)) if inner else None


def _inside(rooms: Rooms, home: str, inner: str, offset: int) -> list[Artifact]:
    return rooms.artifacts.list(paths.join(root(home), inner), limit=AT_ONCE + 1, offset=offset)


def _line(artifact: Artifact, inner: str) -> FileLine:
    path = paths.join(inner, artifact.name)
    if artifact.digest is None:
        return FileLine(path=f"{path}/", size=0, digest="")
    return FileLine(path=path, size=artifact.size, digest=artifact.digest)
