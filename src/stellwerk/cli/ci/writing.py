"""`ci init`: a small CI file whose jobs call the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stellwerk.cli import exits, parameters
from stellwerk.cli.command import Command
from stellwerk.cli.session import PROJECT, Session
from stellwerk.core.errors import Conflict, Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from stellwerk.delivery.ci.model import Order

LOCKS = ("requirements.lock", "uv.lock", "requirements.txt")
"""What a project's packages are installed from, where nobody says."""


@click.command(cls=Command)
@click.argument("system", type=click.Choice(("github", "gitlab", "circleci", "jenkins")))
@click.option("--pipeline", default="", metavar="NAME", help="The pipeline to run, where the project has several.")
@click.option("--endpoint", "endpoints", multiple=True, metavar="NAME", help="Prove only these; all by default.")
@click.option("--lock", metavar="FILE", help=f"Install from this file; by default {', '.join(LOCKS)}.")
@click.option("--python", metavar="VERSION", help="The Python of the jobs; 3.12 by default.")
@click.option("--image", default="", metavar="NAME", help="The container of the jobs.")
@click.option("--runner", default="", metavar="LABEL", help="The machines of the jobs.")
@click.option("--branch", default="main", show_default=True, help="The branch from which releases are made.")
@click.option(
    "--share", "workspace", default="", metavar="URL", help="Work on this workspace, not on one in the cache."
)
@click.option("--role", default="", metavar="ARN", help="Take this AWS role by the job's OIDC token.")
@click.option("--release", is_flag=True, help="Also a job that releases, after somebody approved.")
@click.option("--waits", is_flag=True, help="The pipeline waits for a person; an approval in the CI answers it.")
@click.option("--previews", default="", metavar="REPO", help="Each merge request has a preview in this environment repository.")  # fmt: skip  # noqa: E501
@click.option("--force", is_flag=True, help="Replace a file that was edited by hand.")
@click.option("--stdout", is_flag=True, help="Show the file and write nothing.")
@click.option("--check", is_flag=True, help="Write nothing; exit code 5 where the file is not what would be written.")
@click.pass_obj
def init(session: Session, /, system: str, *, force: bool, stdout: bool, check: bool, **options: Any) -> int:
    """Write a CI file for a repository.

    Its jobs install from the lock, bring the step cache, run the pipeline, prove every declared endpoint, and report
    on the merge request. They only call this command line, whose exit code is the job's. The file is yours to edit:
    it is replaced only while it is what was written, or with --force.

    \b
    Example:
      stellwerk ci init gitlab
      stellwerk ci init github --release --python 3.13
      stellwerk ci init gitlab --previews https://git.example.com/anna/environments.git
      stellwerk ci init jenkins --check
    """
    from stellwerk.core.files import replace_text
    from stellwerk.delivery.ci.systems import SYSTEMS

    writer = SYSTEMS[system]
    home = _home(session)
    order = _order(home, options)
    text = writer.write(order, _command(system, options))
    path = home / writer.path
    before = _read(path)
    told = {"system": system, "path": writer.path, "same": before == text, "text": text}
    if stdout:
        session.screen.show(told, text.rstrip("\n"))
        return exits.DONE
    if check:
        session.screen.show(told, f"{writer.path} is " + ("what would be written" if before == text else "different"))
        return exits.DONE if before == text else exits.CONFLICT
    if before is not None and not force and not writer.untouched(before):
        raise Conflict(
            f"{writer.path} is there already, and not as it was written",
            code="edited-by-hand",
            hint=f"`stellwerk ci init {system} --stdout` shows what would be; --force replaces it",
        )
    _make_folder(path)
    replace_text(path, text)
    session.screen.show(told, f"{writer.path} " + ("is as it was" if before == text else "written"))
    if "stellwerk" not in (_read(home / order.lock) or ""):
        session.screen.say(f"{order.lock} does not name stellwerk, which every job calls")
    session.screen.suggest(f"git add {writer.path}")
    return exits.DONE


def _command(system: str, options: dict[str, Any]) -> str:
    """The line that was typed, as far as it says what is in the file."""
    words = [f"stellwerk ci init {system}"]
    for name, value in options.items():
        said = "--share" if name == "workspace" else "--endpoint" if name == "endpoints" else f"--{name}"
        if value is True:
            words.append(said)
        elif name == "endpoints":
            words += [f"{said} {one}" for one in value]
        elif value and (name, value) != ("branch", "main"):
            words.append(f"{said} {value}")
    return " ".join(words)


def _home(session: Session) -> Path:
    """The root of the repository: the systems look for their files there, and nowhere else."""
    if session.remote:
        raise Invalid(
            "a CI file lies in a repository, not at an address",
            code="needs-folder",
            hint="--share URL names a workspace",
        )
    home = session.folder()
    absolute = home.resolve()
    above = next((folder for folder in absolute.parents if (folder / ".git").exists()), None)
    if above is not None and not (absolute / ".git").exists():
        raise Invalid(
            f"{absolute.name} is not the root of its repository, where CI files lie",
            code="not-at-the-root",
            hint=f"run this in the folder {above.name!r}",
        )
    return home


def _order(home: Path, options: dict[str, Any]) -> Order:
    from stellwerk.core.names import slug
    from stellwerk.delivery.ci.model import PYTHON, Order
    from stellwerk.releases.declaration import parse

    text = _read(home / PROJECT)
    project = None if text is None else parse(text)
    declared = project.endpoints if project else {}
    chosen = tuple(options["endpoints"] or declared)
    for name in chosen:
        if project is not None:
            project.endpoint(name)
        elif not options["workspace"]:
            raise NotFound(
                f"there is no {PROJECT} that declares endpoint {name!r}",
                code="unknown-endpoint",
                hint="`stellwerk init` writes one",
            )
    if options["pipeline"]:
        parameters.there(home / (project.pipeline if project else "pipeline.py"), options["pipeline"])
    lock = _lock(home, options["lock"])
    return Order(
        name=slug(project.name if project and project.name != "project" else home.resolve().name),
        pipeline=options["pipeline"],
        endpoints=chosen,
        environment=declared[chosen[0]].environment if chosen and declared else "production",
        release=options["release"],
        waits=options["waits"],
        previews=options["previews"],
        branch=options["branch"],
        lock=lock,
        hashes="--hash=" in (_read(home / lock) or ""),
        python=options["python"] or PYTHON,
        image=options["image"],
        runner=options["runner"],
        workspace=options["workspace"],
        role=options["role"],
    )


def _make_folder(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise Unavailable(
            f"the folder {path.parent.name!r} cannot be made: {cause.strerror}", code="file-unwritable"
        ) from cause


def _lock(home: Path, named: str | None) -> str:
    for name in (named,) if named else LOCKS:
        if (home / name).is_file():
            return name
    raise NotFound(
        f"there is no {named or 'lock file'} to install from",
        code="no-lock-file",
        hint="`pip freeze > requirements.lock` writes what is installed here; or name one: --lock FILE",
    )


def _read(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        return ""
    except OSError as cause:
        raise Unavailable(f"{path.name} cannot be read: {cause.strerror}", code="file-unreadable") from cause
