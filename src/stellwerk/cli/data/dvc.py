"""`data dvc`: DVC repositories in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from stellwerk.cli import words
from stellwerk.cli.command import Group
from stellwerk.cli.output import Block, Span, Table, dim, strong
from stellwerk.cli.progress import Phases
from stellwerk.cli.session import Session
from stellwerk.core.digest import short
from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    from stellwerk.store.working.model import Link
    from stellwerk.workspace.dvc.model import DvcExport, DvcImport, Problem, Repository

SHOWN = 20
"""Problems that are listed for people; `--json` has them all."""


@click.group(cls=Group)
def dvc() -> None:
    """Take data over from a DVC repository, give it back, and look at what one holds.

    \b
    Example:
      stellwerk data dvc import ../vision --all-history
      stellwerk data dvc show ../vision
    """


@dvc.command("import")
@click.argument("repository", type=click.Path(path_type=Path), default=".")
@click.option("--all-history", is_flag=True, help="Every state of every branch and tag, oldest first.")
@click.option("--from-cache", "objects", default="", metavar="DIR|REMOTE", help="Where to take objects from.")
@click.option("--prefix", default="", help="Put before the names of the datasets.")
@click.option(
    "--path", "paths", multiple=True, metavar="PATH", help="Only this output, or what lies below; repeatable."
)
@click.option("--verify", is_flag=True, help="Read objects too whose MD5 is known.")
@click.option("--adopt", is_flag=True, help="Link DVC's own files where they are large, instead of copying them.")
@click.pass_obj
def import_(
    session: Session,
    repository: Path,
    all_history: bool,
    objects: str,
    prefix: str,
    paths: tuple[str, ...],
    verify: bool,
    adopt: bool,
) -> None:
    """Make dataset versions of what a DVC repository tracks.

    Objects come from its cache and from remotes that are folders, are verified by their MD5 and kept under their
    SHA-256; each is read once, and importing again reads nothing that is known. What is missing is listed, and
    everything else is imported.

    \b
    Example:
      stellwerk data dvc import ../vision
      stellwerk data dvc import --all-history --path data/raw
    """
    with session.screen.progress() as lines, Phases(lines) as say, session.workspace() as workspace:
        done = workspace.data.import_dvc(
            repository,
            all_history=all_history,
            objects=objects,
            prefix=prefix,
            paths=paths,
            verify=verify,
            adopt=adopt,
            say=say,
        )
    session.screen.show(done, *_told(done))
    if done.behind:
        session.screen.suggest("stellwerk data dvc export NAME  (the repository is behind)")


def _told(done: DvcImport) -> list[Block]:
    blocks: list[Block] = []
    if done.versions:
        blocks.append(
            Table(
                header=("dataset", "files", "bytes", "source", "digest"),
                right=(1, 2),
                firm=(0, 4),
                spare=(4, 3),
                rows=tuple(
                    (
                        strong(f"{version.name}@{version.version}"),
                        f"{version.files:,}",
                        f"{version.bytes:,}",
                        version.source,
                        dim(short(version.digest)),
                    )
                    for version in done.versions
                ),
            )
        )
    facts = [
        f"{words.count(len(done.versions), 'new version')}, {words.count(len(done.same), 'path')} up to date",
        f"{words.count(done.read, 'object')} read ({done.bytes:,} bytes), {done.known:,} known before",
    ]
    facts += [f"behind: {', '.join(done.behind)}"] if done.behind else []
    facts += [f"{done.late} older states cannot become versions any more"] if done.late else []
    facts += [f"pipelines are read, not executed: {', '.join(done.pipelines)}"] if done.pipelines else []
    blocks += [dim(fact) for fact in facts]
    return blocks + _problems(done.problems)


def _problems(problems: tuple[Problem, ...]) -> list[Block]:
    if not problems:
        return []
    rows = tuple((Span(problem.kind, "warn"), problem.path, problem.message) for problem in problems[:SHOWN])
    more: list[Block] = [dim(f"and {len(problems) - SHOWN:,} more; --json has them all")]
    return ["", Table(header=("problem", "path", "reason"), rows=rows), *(more if len(problems) > SHOWN else [])]


@dvc.command()
@click.argument("what", metavar="NAME[@VERSION]")
@click.argument("path", default="")
@click.option("--repository", type=click.Path(path_type=Path), default=".", help="The DVC repository.")
@click.option(
    "--link",
    type=click.Choice(["auto", "reflink", "hardlink", "copy"]),
    default="auto",
    show_default=True,
    help="How large objects come into DVC's cache; auto is reflink where the file system can, else copy.",
)
@click.option("--no-checkout", is_flag=True, help="Leave the working files to `dvc checkout`.")
@click.option("--init", is_flag=True, help="Make a DVC repository where there is none.")
@click.option("--force", is_flag=True, help="Overwrite and delete working files that are kept nowhere else.")
@click.pass_obj
def export(
    session: Session,
    what: str,
    path: str,
    repository: Path,
    link: Link,
    no_checkout: bool,
    init: bool,
    force: bool,
) -> None:
    """Write a version of a dataset into a DVC repository.

    PATH is from the repository's root; by default where the dataset came from, or its name. Objects go into the cache,
    the files into the working folder, and last the pointer is written: `dvc status` is clean afterwards, and `dvc push`
    works. Working files that neither DVC nor the version holds are not overwritten without --force.

    \b
    Example:
      stellwerk data dvc export data--raw --repository ../vision
      stellwerk data dvc export flights@3 data/flights --init
    """
    name, at, number = what.partition("@")
    if at and not number.isdigit():
        raise Invalid(f"{what!r} is no dataset version (expected NAME or NAME@NUMBER)", code="usage")
    with session.screen.progress() as lines, Phases(lines) as say, session.workspace() as workspace:
        done = workspace.data.export_dvc(
            name,
            int(number) if at else None,
            repository,
            path=path,
            link=link,
            checkout=not no_checkout,
            init=init,
            force=force,
            say=say,
        )
    session.screen.show(done, *_written(done))
    session.screen.suggest("dvc checkout" if no_checkout else f"git add {done.pointer}")


def _written(done: DvcExport) -> list[Block]:
    linked = f", {done.linked} of them linked" if done.linked else ""
    blocks: list[Block] = [
        (strong(f"{done.dataset}@{done.version}"), f" → {done.pointer}  ", dim(done.md5)),
        dim(f"{words.count(done.files, 'file')}, {done.bytes:,} bytes, {done.objects:,} objects written{linked}"),
    ]
    if done.lost:
        shown = ", ".join(done.lost[:5]) + (", …" if len(done.lost) > 5 else "")
        blocks.append(Span(f"DVC does not keep that files in a folder are executable: {shown}", "warn"))
    return blocks


@dvc.command()
@click.argument("repository", type=click.Path(path_type=Path), default=".")
@click.pass_obj
def show(session: Session, repository: Path) -> None:
    """Show what the files of a DVC repository say: outputs, stages, remotes, parameters, metrics.

    Nothing is imported and no workspace is needed. `--json` has every field, stages as they are written.

    \b
    Example:
      stellwerk data dvc show ../vision --json
    """
    from stellwerk.workspace.dvc.reading import describe
    from stellwerk.workspace.dvc.repository import find

    found = describe(find(repository))
    session.screen.show(found, *_described(found))


def _described(found: Repository) -> list[Block]:
    rows = tuple(
        (
            strong(one.path + ("/" if one.output.directory else "")),
            one.stage or "added",
            f"{one.output.size:,}" if one.output.size is not None else "–",
            f"{one.output.files:,}" if one.output.files is not None else "–",
            one.output.algorithm,
            one.dataset,
        )
        for one in found.tracked
    )
    header = ("path", "by", "bytes", "files", "hash", "dataset")
    blocks: list[Block] = [Table(header=header, right=(2, 3), spare=(4, 3), rows=rows) if rows else dim("no outputs")]
    stages = [
        (strong(stage.name), name, " && ".join(stage.cmd))
        for name, pipeline in found.pipelines
        for stage in pipeline.stages
    ]
    if stages:
        blocks += ["", Table(header=("stage", "file", "command"), rows=tuple(stages))]
    facts: list[tuple[str, str]] = [("remote " + remote.name, remote.url) for remote in found.config.remotes]
    facts += [("parameters", ", ".join(found.params))] if found.params else []
    facts += [("metrics", ", ".join(found.metrics))] if found.metrics else []
    facts += [("not known", ", ".join(found.unknown))] if found.unknown else []
    if facts:
        blocks += ["", Table(rows=tuple((dim(name), text) for name, text in facts))]
    return blocks + _problems(found.problems)
