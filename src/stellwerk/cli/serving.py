"""`up` and `serve`: the whole workspace, or one endpoint alone, on a port of this machine."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from stellwerk.cli import exits
from stellwerk.cli.command import Command
from stellwerk.cli.output import dim, strong
from stellwerk.cli.session import Session
from stellwerk.core.clock import format_instant
from stellwerk.core.errors import NotFound, StellwerkError, Unavailable
from stellwerk.core.files import replace_text

if TYPE_CHECKING:
    from stellwerk.workspace.layout import Layout
    from stellwerk.workspace.rooms import Rooms

LOGGER = logging.getLogger("stellwerk.server")
PORT, SERVING_PORT = 7700, 7710
SERVER = "server.json"
STOP_SECONDS, SEAL_SECONDS = 1.0, 1.5
_PORTS = click.IntRange(0, 65535)
_HOST_HELP = "Address of this machine to listen on; others are refused."


@click.command(cls=Command)
@click.option("--port", type=_PORTS, default=PORT, show_default=True, help="Port; 0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help=_HOST_HELP)
@click.option("--open", "browse", is_flag=True, help="Show the board in the browser.")
@click.option(
    "--triggers", "runs_triggers", is_flag=True, help="Also run what triggers fire, in a process beside it."
)
@click.pass_obj
def up(session: Session, port: int, host: str, browse: bool, runs_triggers: bool) -> int:
    """Serve the board, the API and all endpoints.

    While it runs, logs are sealed, production is judged, leases are renewed and what fires triggers is noted by
    themselves, unless the workspace runs on simulated time. The address is written to .stellwerk/server.json.

    \b
    Example:
      stellwerk up --open
      curl -d '{"columns": {"origin": ["JFK"]}}' -H 'Content-Type: application/json' \\
        http://127.0.0.1:7700/predict/delay
    """
    from stellwerk.cli.listening import bound, leave, listen, loopback
    from stellwerk.web.app import application
    from stellwerk.web.wall import LOOPBACK
    from stellwerk.workspace.layout import server_lock
    from stellwerk.workspace.serving import Servers

    name = loopback(host)
    layout = session.layout()
    with _known(layout, server_lock), bound(name, port) as (listener, url), session.rooms() as rooms:
        served = application(rooms, Servers(rooms), hosts=tuple({*LOOPBACK, _host(url)}))
        with _announced(layout, url), _sealing(rooms, ""), _caretaker(rooms), _runner(layout, wanted=runs_triggers):
            listen(served, listener, lambda: _ready(session, url, layout, browse=browse))
        _ended(session)
    return leave(exits.DONE)


@click.command(cls=Command)
@click.argument("endpoint")
@click.option("--port", type=_PORTS, default=SERVING_PORT, show_default=True, help="Port; 0 picks a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help=_HOST_HELP)
@click.pass_obj
def serve(session: Session, endpoint: str, port: int, host: str) -> int:
    """Answer callers of one endpoint, without the control plane.

    The plain way (/predict) and the Open Inference Protocol (/v2/models). Where the signal is at stop, it says so.

    \b
    Example:
      stellwerk serve delay --port 7710
    """
    from stellwerk.cli.listening import bound, leave, listen, loopback
    from stellwerk.web import inference
    from stellwerk.web.wall import LOOPBACK, Wall
    from stellwerk.workspace.serving import Servers

    name = loopback(host)
    with session.rooms() as rooms, bound(name, port) as (listener, url):
        servers = Servers(rooms, only=endpoint)
        if endpoint not in servers:
            known = ", ".join(one.name for one in rooms.interlocking.endpoints()) or "none"
            raise NotFound(
                f"no endpoint {endpoint!r} is declared (declared: {known})",
                code="unknown-endpoint",
                hint=f"`stellwerk prove {endpoint}` declares it from stellwerk.toml",
            )
        # Another process that writes this log is found now, not at the first request.
        servers[endpoint].check_log()
        served = Wall(inference.application(servers, guard=_guard(rooms)), hosts={*LOOPBACK, _host(url)})
        with _sealing(rooms, endpoint):
            listen(served, listener, lambda: _ready(session, url, rooms.layout))
        _ended(session)
    return leave(exits.DONE)


def _guard(rooms: Rooms) -> Any:
    """Whoever reaches this machine's own port acts as the one who started it."""
    from stellwerk.access.rules import require

    async def guard(_request: object, permission: str) -> None:
        require(rooms.grant, rooms.actor, permission)  # type: ignore[arg-type]

    return guard


def _host(url: str) -> str:
    """The host of an address as requests name it, without port."""
    return url.removeprefix("http://").rpartition(":")[0]


def _ended(session: Session) -> None:
    # Where there is a terminal, it has written ^C on this line.
    session.screen.say("\n" if session.screen.lively else "", dim("ended"))


def _ready(session: Session, url: str, layout: Layout, *, browse: bool = False) -> None:
    if session.as_json:
        session.screen.show({"url": url, "pid": os.getpid()})
    session.screen.say("serving on ", strong(url), dim("  (Ctrl-C ends it)"))
    if layout.clock == "replay":
        session.screen.say(dim("time is simulated: nothing is judged or renewed by itself"))
    if browse:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


@contextlib.contextmanager
def _known(layout: Layout, lock: Callable[[Layout], AbstractContextManager[None]]) -> Iterator[None]:
    """Take the lock of the one server; where another has it, say where that one is."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock(layout))
        except Unavailable as busy:
            where = _address(layout)
            if where:
                raise Unavailable(f"{busy.message}, at {where}", code=busy.code, hint=busy.hint) from busy
            raise
        yield


def _address(layout: Layout) -> str:
    try:
        return str(json.loads((layout.folder / SERVER).read_text("utf-8"))["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""  # it is just starting, or ending


@contextlib.contextmanager
def _announced(layout: Layout, url: str) -> Iterator[None]:
    """Say in the workspace's folder where its server is, as long as it runs."""
    file = layout.folder / SERVER
    started = format_instant(layout.make_clock().now())
    replace_text(file, json.dumps({"url": url, "pid": os.getpid(), "started_at": started}) + "\n")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def _caretaker(rooms: Rooms) -> Iterator[None]:
    """Look after endpoints, webhooks and triggers, unless time is simulated: then whoever moves the clock does it."""
    from stellwerk.cli.listening import within
    from stellwerk.workspace.caretaking import Caretaker
    from stellwerk.workspace.delivering import Deliveries
    from stellwerk.workspace.looking import Looking

    if rooms.layout.clock == "replay":
        yield
        return
    caretaker, deliveries, looking = Caretaker(rooms), Deliveries(rooms), Looking(rooms)
    for one in (caretaker, deliveries, looking):
        one.start()
    try:
        yield
    finally:
        within(STOP_SECONDS, looking.stop)
        within(STOP_SECONDS, deliveries.stop)
        within(STOP_SECONDS, caretaker.stop)


@contextlib.contextmanager
def _runner(layout: Layout, *, wanted: bool) -> Iterator[None]:
    """Run what triggers fire in a process beside the server, which never executes anybody's code itself."""
    from stellwerk.workspace.triggering import beside

    if not wanted:
        yield
        return
    with beside(layout):
        yield


@contextlib.contextmanager
def _sealing(rooms: Rooms, only: str) -> Iterator[None]:
    """Seal the prediction logs at the end. What is not sealed in time is safe, and sealed by the next server."""
    from stellwerk.cli.listening import within

    try:
        yield
    finally:
        if not within(SEAL_SECONDS, lambda: seal(rooms, only)):
            LOGGER.warning("the prediction log is not sealed yet; the next server does it")


def seal(rooms: Rooms, only: str = "") -> None:
    """Seal the logs of all endpoints, or of one, and let go of them."""
    for endpoint in rooms.interlocking.endpoints():
        if only and endpoint.name != only:
            continue
        try:
            rooms.predictions.seal(endpoint.name)
            rooms.predictions.spool(endpoint.name).close()
        except StellwerkError as problem:
            LOGGER.warning("%s: the prediction log is not sealed: %s (%s)", endpoint.name, problem, problem.code)
