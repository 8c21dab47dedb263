"""`promote`: which model belongs where, by a commit to an environment repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from stellwerk.cli.command import Command
from stellwerk.cli.output import Block, Span, Table, dim, state, strong
from stellwerk.cli.session import Session
from stellwerk.core.digest import short
from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    from stellwerk.workspace.promotion import Promoted


@click.command(cls=Command)
@click.argument("endpoint", required=False, default="")
@click.option("--git", "repository", required=True, metavar="REPO", help="Address of the environment repository.")
@click.option("--environment", default="", metavar="NAME", help="Another one than the endpoint was declared for.")
@click.option("--model", default="", metavar="MODEL", help="name, name@3, name@alias or a digest; what is released, or the newest.")  # fmt: skip  # noqa: E501
@click.option("--path", default="", metavar="FILE", help="Where in the repository; environments/NAME/ENDPOINT.toml.")
@click.option("--branch", default="", metavar="BRANCH", help="Which branch to commit to; the main one.")
@click.option("--request", is_flag=True, help="Commit to a branch of its own, for people to merge.")
@click.option("--preview", type=click.IntRange(1, 10**12 - 1), metavar="NUMBER", help="Make it the preview of this merge request.")  # fmt: skip  # noqa: E501
@click.option("--close", is_flag=True, help="With --preview: take the preview away.")
@click.pass_obj
def promote(
    session: Session,
    endpoint: str,
    repository: str,
    environment: str,
    model: str,
    path: str,
    branch: str,
    request: bool,
    preview: int | None,
    close: bool,
) -> None:
    """Promote a model by a commit to an environment repository.

    The commit writes a small file that names the model's version, digest, verdict and release. The environment of the
    endpoint demands a release that holds, others a clear verdict or what the repository says; previews demand nothing,
    and say what they are. Where the file says so already, nothing is committed. Nothing is ever forced.

    \b
    Example:
      stellwerk promote delay --git git@git.example.com:anna/environments.git
      stellwerk promote delay --git ../environments --environment staging --request
      stellwerk promote delay --git ../environments --preview 12
      stellwerk promote --git ../environments --preview 12 --close
    """
    from stellwerk.workspace.promotion import Order

    if close and not preview:
        raise Invalid("--close takes a preview away and needs --preview", code="usage")
    with session.workspace() as workspace, session.screen.working("committing"):
        if close and preview:
            done = workspace.close_preview(repository, preview=preview, branch=branch)
        else:
            order = Order(
                repository=repository,
                endpoint=endpoint or _only(session),
                environment=environment,
                branch=branch,
                path=path,
                model=model,
                preview=preview or 0,
                request=request,
            )
            done = workspace.promote(order)
    session.screen.show(done, *_shown(done))
    for line in done.said.splitlines():
        if line.startswith("remote:") and line.removeprefix("remote:").strip():
            session.screen.say(dim(line))


def _only(session: Session) -> str:
    """The endpoint, where the project has just one."""
    project = session.project()
    names = sorted(project.endpoints) if project else []
    if len(names) != 1:
        listed = f" (there are {', '.join(names)})" if names else ""
        raise Invalid(f"say which endpoint{listed}", code="usage", hint="stellwerk promote ENDPOINT --git REPO")
    return names[0]


def _shown(done: Promoted) -> list[Block]:
    tone = {"promoted": "good", "closed": "good", "unchanged": "dim"}[done.what]
    pointer = done.pointer
    head: tuple[Any, ...] = (Span(done.what.upper(), tone),)  # type: ignore[arg-type]
    rows: list[tuple[Any, ...]] = []
    if pointer is not None:
        head = (*head, "  ", strong(pointer.endpoint), f"  {pointer.environment}")
        rows.append((dim("model"), (strong(pointer.named), "  ", dim(short(pointer.digest)))))
        rows.append((dim("standing"), state(pointer.standing)))
    rows += [(dim("file"), path) for path in done.paths]
    rows.append((dim("branch"), f"{done.branch} of {done.repository}"))
    rows += [(dim("commit"), done.commit)] if done.commit else []
    return [head, "", Table(rows=tuple(rows))]
