"""`webhooks`: addresses elsewhere that are told what happens to models."""

from __future__ import annotations

import secrets
from typing import IO, TYPE_CHECKING

import click

from stellwerk.cli import exits, words
from stellwerk.cli.command import Command, Group
from stellwerk.cli.output import Line, Span, Table, dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stellwerk.delivery.model import Tried, WebhookLine

USUAL = ("model_version.created", "model_version_alias.created", "model_version_alias.deleted")
"""What is told where nobody chose."""
SECRET_BYTES = 32


@click.group(cls=Group)
def webhooks() -> None:
    """Addresses elsewhere that are told what happens to models.

    \b
    Example:
      stellwerk webhooks list
    """


@webhooks.command("list", cls=Command)
@click.pass_obj
def list_webhooks(session: Session) -> None:
    """List webhooks, the oldest first, and how the newest delivery to each ended.

    Of an address only the host is shown, because many hold a secret; what signs deliveries is shown to nobody.

    \b
    Example:
      stellwerk webhooks list
    """
    with session.workspace() as workspace:
        found = workspace.webhooks.list()
    session.screen.show(found, _table(found) if found else dim("no webhook yet"))
    if not found:
        session.screen.suggest("stellwerk webhooks add NAME https://…")


@webhooks.command(cls=Command)
@click.argument("name")
@click.argument("url")
@click.option("--event", "events", multiple=True, metavar="EVENT", help="What is told; may be repeated.")
@click.option("--secret-file", type=click.File("r"), help="The secret that signs deliveries; - reads it from stdin.")
@click.option("--unsigned", is_flag=True, help="No secret: a receiver cannot know who sent it.")
@click.option("--description", default="", help="What it is for.")
@click.pass_obj
def add(
    session: Session,
    name: str,
    url: str,
    events: tuple[str, ...],
    secret_file: IO[str] | None,
    unsigned: bool,
    description: str,
) -> None:
    """Tell an address of new versions and of aliases that move, or of other events.

    Without --secret-file a new secret is made and shown this once: nobody can ask for it later.

    \b
    Example:
      stellwerk webhooks add ci https://ci.example.com/hooks/models
      stellwerk webhooks add chat https://chat.example.com/x --event model_version_alias.created --unsigned
    """
    if secret_file is not None and unsigned:
        raise Invalid("--secret-file and --unsigned exclude each other", code="usage", hint="leave one out")
    given = secret_file.read().strip() if secret_file is not None else ""
    if secret_file is not None and not given:
        raise Invalid("the secret is empty", code="usage", hint="--unsigned for none")
    secret = "" if unsigned else given or secrets.token_urlsafe(SECRET_BYTES)
    with session.workspace() as workspace:
        made = workspace.webhooks.add(name, url, events or USUAL, description=description, secret=secret)
    new = secret if not given else ""
    rows: list[tuple[Line, ...]] = [
        (dim("webhook"), strong(made.name)),
        (dim("id"), made.id),
        (dim("host"), made.host),
    ]
    rows.append((dim("told of"), ", ".join(made.events)))
    rows += [(dim("secret"), strong(new))] if new else []
    if new and session.screen.as_json:
        session.screen.show({"webhook": made, "secret": new})
    else:
        session.screen.show(made, Table(rows=tuple(rows)))
    if new:
        session.screen.say(
            dim("the secret is shown this once; give it to the receiver, which checks signatures by it")
        )
    session.screen.suggest(f"stellwerk webhooks test {made.name}")


@webhooks.command(cls=Command)
@click.argument("webhook")
@click.option("--event", default="", help="Which sample; the first that it is told of by default.")
@click.pass_obj
def test(session: Session, webhook: str, event: str) -> int:
    """Send a sample now, and show what the receiver said: 6 where it did not accept it, 8 where it did not answer.

    WEBHOOK is a name or an id.

    \b
    Example:
      stellwerk webhooks test ci
    """
    with session.workspace() as workspace:
        tried = workspace.webhooks.test(webhook, event)
    session.screen.show(tried, _tried(tried))
    return exits.DONE if tried.accepted else exits.UNAVAILABLE if tried.problem else exits.REFUSED


@webhooks.command(cls=Command)
@click.argument("webhook")
@click.pass_obj
def remove(session: Session, webhook: str) -> None:
    """Take a webhook away, and its secret with it.

    WEBHOOK is a name or an id. What it was told stays in the ledger.

    \b
    Example:
      stellwerk webhooks remove ci
    """
    with session.workspace() as workspace:
        gone = workspace.webhooks.remove(webhook)
    session.screen.show(gone, (strong(gone.name), f"  on {gone.host} is told nothing any more"))


def _table(found: Sequence[WebhookLine]) -> Table:
    return Table(
        header=("name", "host", "signed", "told of", "last told", "id"),
        firm=(0, 2, 5),
        spare=(5, 3),
        rows=tuple(
            (
                strong(one.name) if one.active else dim(f"{one.name} (off)"),
                one.host,
                "yes" if one.signed else Span("no", "warn"),
                ", ".join(one.events),
                _last(one),
                dim(one.id),
            )
            for one in found
        ),
    )


def _last(one: WebhookLine) -> Line:
    if one.last is None:
        return dim("never")
    if one.last.accepted:
        return Span(f"{words.moment(one.last.at)} accepted", "good")
    tries = words.count(one.last.attempts, "attempt")
    return Span(f"{words.moment(one.last.at)} given up after {tries}: {one.last.said}", "bad")


def _tried(tried: Tried) -> Line:
    if tried.accepted:
        return (Span("ACCEPTED", "good"), f"  {tried.event}, status {tried.status}")
    if tried.problem:
        return (Span("NO ANSWER", "bad"), f"  {tried.event}, {tried.problem}")
    return (
        Span("REFUSED", "bad"),
        f"  {tried.event}, status {tried.status}" + (f": {tried.text[:200]}" if tried.text else ""),
    )
