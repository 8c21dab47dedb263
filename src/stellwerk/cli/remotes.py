"""`sync`, `remote`, and `push` and `pull` of `data`: bytes between this workspace and other places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command, Group
from stellwerk.cli.output import Block, Span, Table, dim, strong
from stellwerk.cli.progress import Progress
from stellwerk.cli.session import Session
from stellwerk.core.clock import monotonic

if TYPE_CHECKING:
    from stellwerk.store.sync import Moved
    from stellwerk.workspace.places import Place
    from stellwerk.workspace.syncing import Synced

BAR = 24
SHOWN = 20
"""Losses that are shown; `--json` has all."""


@click.command(cls=Command)
@click.argument("target")
@click.option("--from", "source", metavar="SOURCE", help="Where from; the workspace by default.")
@click.option("--dataset", "datasets", multiple=True, metavar="NAME", help="Only what these datasets need.")
@click.option("--dry-run", is_flag=True, help="Only say what would be copied.")
@click.pass_obj
def sync(session: Session, target: str, source: str | None, datasets: tuple[str, ...], dry_run: bool) -> int:
    """Copy the bytes that a place lacks.

    A place is a folder with a workspace, the address of a server (http://, https://), a bucket (s3://bucket/prefix), or
    the name of a remote. What is copied is what the ledger of the source leads to; of the target, where the source is a
    bucket. Only missing blobs are copied, each is verified, and an interrupted run goes on where it was.
    Exit code 7 where a blob could not be copied.

    \b
    Example:
      stellwerk sync s3://company-models/flights
      stellwerk sync . --from backup
    """
    with _places(session, source, target) as (giver, taker):
        return _synced(session, giver, taker, datasets, dry_run=dry_run)


@click.command(cls=Command)
@click.argument("remote", required=False)
@click.argument("names", nargs=-1, metavar="[DATASET]...")
@click.pass_obj
def push(session: Session, remote: str | None, names: tuple[str, ...]) -> int:
    """Copy the bytes of datasets to a remote.

    Without a remote, to the only one or to `origin`; without datasets, of all versions of all.

    \b
    Example:
      stellwerk data push
      stellwerk data push backup flights
    """
    with _places(session, None, _remote(session, remote)) as (giver, taker):
        return _synced(session, giver, taker, names or _all(session))


@click.command(cls=Command)
@click.argument("remote", required=False)
@click.argument("names", nargs=-1, metavar="[DATASET]...")
@click.pass_obj
def pull(session: Session, remote: str | None, names: tuple[str, ...]) -> int:
    """Copy the bytes of datasets from a remote.

    Of datasets that this workspace's ledger knows. Without a remote, from the only one or from `origin`.

    \b
    Example:
      stellwerk data pull backup flights
    """
    with _places(session, _remote(session, remote), None) as (giver, taker):
        return _synced(session, giver, taker, names or _all(session), by_target=True)


@click.group(cls=Group)
def remote() -> None:
    """Names for other places that keep blobs.

    A name and an address are kept in the workspace, credentials never are: they come from the environment.

    \b
    Example:
      stellwerk remote add origin s3://company-models/flights
    """


@remote.command("add")
@click.argument("name")
@click.argument("address")
@click.pass_obj
def add(session: Session, name: str, address: str) -> None:
    """Give an address a name.

    \b
    Example:
      stellwerk remote add backup /mnt/backup/flights
    """
    from stellwerk.workspace.places import add_remote

    _show(session, add_remote(session.layout(), name, address))
    session.screen.suggest(f"stellwerk sync {name} --dry-run")


@remote.command("ls")
@click.pass_obj
def list_remotes(session: Session) -> None:
    """List names and addresses.

    \b
    Example:
      stellwerk remote ls
    """
    from stellwerk.workspace.places import read_remotes

    _show(session, read_remotes(session.layout()))


@remote.command("rm")
@click.argument("name")
@click.pass_obj
def remove(session: Session, name: str) -> None:
    """Forget a name. Nothing is deleted there.

    \b
    Example:
      stellwerk remote rm backup
    """
    from stellwerk.workspace.places import remove_remote

    _show(session, remove_remote(session.layout(), name))


def _show(session: Session, remotes: dict[str, str]) -> None:
    rows = tuple((strong(name), address) for name, address in sorted(remotes.items()))
    session.screen.show(remotes, Table(rows=rows) if rows else dim("no remotes"))


@contextmanager
def _places(session: Session, source: str | None, target: str | None) -> Iterator[tuple[Place, Place]]:
    """Both places; nothing said is the workspace."""
    from stellwerk.workspace import places
    from stellwerk.workspace.settings import read

    settings, known = read(), _remotes(session)
    here = session.place or "."
    with (
        places.opened(source if source is not None else here, settings, known) as giver,
        places.opened(target if target is not None else here, settings, known) as taker,
    ):
        yield giver, taker


def _remotes(session: Session) -> dict[str, str]:
    from stellwerk.core.errors import NotFound
    from stellwerk.workspace.places import read_remotes

    if session.remote:
        return {}
    try:
        return read_remotes(session.layout())
    except NotFound:
        return {}


def _remote(session: Session, said: str | None) -> str:
    from stellwerk.workspace.places import default_remote

    return said if said is not None else default_remote(_remotes(session))


def _all(session: Session) -> tuple[str, ...]:
    with session.workspace() as workspace:
        return tuple(sorted({version.name for version in workspace.data.list()}))


def _synced(
    session: Session, giver: Place, taker: Place, datasets: tuple[str, ...], *, dry_run: bool = False,
    by_target: bool = False,
) -> int:  # fmt: skip
    from stellwerk.workspace import syncing

    with session.screen.working("looking what is missing"):
        plan = syncing.look(giver, taker, datasets, by_target=by_target)
    if dry_run:
        done = syncing.promised(giver, taker, plan)
    else:
        with session.screen.progress() as lines:
            begun = monotonic()

            def watch(moved: Moved) -> None:
                ended = moved.blobs >= moved.of_blobs
                lines.put(
                    Progress(
                        name="copying",
                        state="done" if ended else "running",
                        note=_far(moved),
                        seconds=monotonic() - begun if ended else 0.0,
                        since=None if ended else begun,
                    )
                )

            done = syncing.carry_out(giver, taker, plan, watch=watch)
    session.screen.show(done, *_said(done, dry_run=dry_run))
    return exits.CORRUPT if done.lost else exits.DONE


def _far(moved: Moved) -> str:
    share = moved.bytes / moved.of_bytes if moved.of_bytes else moved.blobs / max(1, moved.of_blobs)
    full = round(min(1.0, share) * BAR)
    bar = "━" * full + "─" * (BAR - full)
    return f"{bar} {moved.blobs:,} of {words.count(moved.of_blobs, 'blob')}, {words.size(moved.bytes)}"


def _said(done: Synced, *, dry_run: bool) -> list[Block]:
    verb = "to copy" if dry_run else "copied"
    head = Span("INCOMPLETE", "bad") if done.lost else Span("TO DO" if dry_run and done.copied else "DONE", "good")
    line = f"  {words.count(done.copied, 'blob')} {verb}, {words.size(done.bytes)}; {done.wanted:,} wanted"
    blocks: list[Block] = [(head, line, dim(f"  {done.source} → {done.target}"))]
    if done.lost:
        rows = tuple((loss.digest, loss.problem) for loss in done.lost[:SHOWN])
        blocks += ["", Table(header=("blob", "problem"), rows=rows)]
        if len(done.lost) > SHOWN:
            blocks.append(dim(f"and {len(done.lost) - SHOWN:,} more; --json has all"))
    return blocks


@click.command(cls=Command)
@click.option("--from", "source", required=True, metavar="PLACE", help="Another place that has the bytes.")
@click.pass_obj
def repair(session: Session, source: str) -> int:
    """Fetch what is damaged or missing from another place.

    Reads every blob of the workspace's store. What is damaged, or missing although the book leads to it, is fetched from
    the place (a folder, a server, a bucket, a remote), verified and put right; damaged copies are put aside where the
    store can do that, and never served. Exit code 7 where something could not be healed.

    \b
    Example:
      stellwerk repair --from backup
    """
    from stellwerk.workspace import places, repairing
    from stellwerk.workspace.settings import read

    session.layout()
    with (
        places.opened(source, read(), _remotes(session)) as other,
        session.rooms() as rooms,
        session.screen.working("reading every blob"),
    ):
        done = repairing.run(rooms, other)
    head = Span("INCOMPLETE", "bad") if done.lost else Span("WHOLE", "good")
    healed, aside = words.count(len(done.healed), "blob"), words.count(done.aside, "damaged copy", "damaged copies")
    blocks: list[Block] = [(head, f"  {done.read:,} read, {healed} healed, {aside} put aside")]
    rows = [(digest, "healed") for digest in done.healed] + [(loss.digest, loss.problem) for loss in done.lost]
    if rows:
        blocks += ["", Table(header=("blob", "what became of it"), rows=tuple(rows[:SHOWN]))]
    if len(rows) > SHOWN:
        blocks.append(dim(f"and {len(rows) - SHOWN:,} more; --json has all"))
    session.screen.show(done, *blocks)
    return exits.CORRUPT if done.lost else exits.DONE
