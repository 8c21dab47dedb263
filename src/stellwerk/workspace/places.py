"""Other stores, by address: a folder with a workspace, a server, a bucket; and the names that a workspace gives them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Conflict, Corrupt, Invalid, NotFound, Unavailable
from stellwerk.core.files import replace_text
from stellwerk.core.names import name as checked_name
from stellwerk.store.ports import Blobs
from stellwerk.workspace import layout, reachable
from stellwerk.workspace.layout import Layout
from stellwerk.workspace.rooms import Rooms
from stellwerk.workspace.settings import Settings
from stellwerk.workspace.stores import open_bucket

FORMAT = "stellwerk-remotes/1"
FILE = "remotes.json"
DEFAULT = "origin"
"""The name that is meant where none is said and there are several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A store somewhere.

    Attributes:
        name: As it may be shown.
        ledger: Says which blobs it needs: of some datasets, or all; trees that it lacks are read from another store.
            None where there is no ledger.
        listing: Says what it has, where that can be asked.
    """

    name: str
    blobs: Blobs
    ledger: Callable[[Sequence[str], Blobs], set[Digest]] | None = None
    listing: Callable[[], Iterator[Digest]] | None = None


@contextmanager
def opened(address: str, settings: Settings, remotes: Mapping[str, str] | None = None) -> Iterator[Place]:
    """The place at an address, or of a remote's name."""
    known = remotes or {}
    found = known.get(address, address)
    if found.startswith("s3://"):
        with _bucket(found, settings) as place:
            yield place
    elif found.startswith(("http://", "https://")):
        with _server(found) as place:
            yield place
    elif "://" in found:
        raise Invalid(
            f"{found.partition('://')[0][:20]!r} is no kind of place (expected a folder, http://, https:// or s3://)",
            code="invalid-url",
        )
    elif not Path(found).is_dir():
        near = f"; remotes: {', '.join(sorted(known))}" if known else ""
        raise NotFound(
            f"there is no remote and no folder {found[:60]!r}{near}",
            code="no-such-place",
            hint="`stellwerk remote add NAME ADDRESS`",
        )
    else:
        rooms = Rooms(layout.find(Path(found)), settings)
        try:
            yield of_rooms(rooms, found)
        finally:
            rooms.close()


def of_rooms(rooms: Rooms, name: str) -> Place:
    """The store of a workspace that is open."""
    return Place(
        name=name,
        blobs=rooms.blobs,
        ledger=lambda datasets, also: reachable.wanted(rooms, datasets, also),
        listing=lambda: iter(rooms.blobs),
    )


@contextmanager
def _bucket(url: str, settings: Settings) -> Iterator[Place]:
    blobs = open_bucket(url, settings)
    try:
        yield Place(name=url, blobs=blobs, listing=lambda: iter(blobs))
    finally:
        blobs.close()


@contextmanager
def _server(url: str) -> Iterator[Place]:
    from stellwerk.workspace.adapters.http import HttpCaller

    caller = HttpCaller(checked_address(url))
    try:
        caller.clock.now()  # said now, and not in the middle
        yield Place(name=url, blobs=caller.blobs, ledger=lambda datasets, _: caller.blobs.reachable(datasets))
    finally:
        caller.close()


def checked_address(address: str) -> str:
    """An address as it may be kept and shown: without a user, a secret, a query. Raises `Invalid`."""
    try:
        parts = urlsplit(address)
        odd = parts.username or parts.password or parts.query or parts.fragment
    except ValueError:
        odd = "unreadable"
    if odd or not address or len(address) > 600 or any(ord(c) < 32 or c.isspace() for c in address):
        raise Invalid(
            "this is no address (expected a folder, http(s)://server or s3://bucket/prefix)",
            code="invalid-url",
            hint="credentials belong into the environment, never into an address",
        )
    return address


# Remotes


def read_remotes(place: Layout) -> dict[str, str]:
    """Names and addresses, as the workspace keeps them."""
    try:
        document = json.loads((place.folder / FILE).read_text("utf-8"))
        if document["format"] != FORMAT:
            raise Unavailable(f"the remotes have format {document['format']!r}", code="schema-mismatch")
        return {checked_name(key, what="remote"): checked_address(url) for key, url in document["remotes"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as cause:
        raise Corrupt(f"{FILE} cannot be read", code="corrupt-workspace") from cause


def add_remote(place: Layout, name: str, address: str) -> dict[str, str]:
    """Give an address a name. Raises `Conflict` where the name means another."""
    known = read_remotes(place)
    checked_name(name, what="remote")
    checked_address(address)
    if known.get(name, address) != address:
        raise Conflict(
            f"the remote {name!r} is {known[name]}", code="already-exists", hint=f"`stellwerk remote rm {name}` first"
        )
    return _write(place, {**known, name: address})


def remove_remote(place: Layout, name: str) -> dict[str, str]:
    """Forget a name. Raises `NotFound`."""
    known = read_remotes(place)
    if name not in known:
        raise NotFound(f"no remote {name[:60]!r}", code="no-such-place", hint="`stellwerk remote ls` lists them")
    return _write(place, {key: url for key, url in known.items() if key != name})


def default_remote(remotes: Mapping[str, str]) -> str:
    """The remote that is meant where none is said: the only one, or `origin`. Raises `NotFound`."""
    if len(remotes) == 1:
        return next(iter(remotes))
    if DEFAULT in remotes:
        return DEFAULT
    raise NotFound(
        "no remote was named" if remotes else "this workspace knows no remote",
        code="no-such-place",
        hint="`stellwerk remote add origin ADDRESS`" if not remotes else f"one of: {', '.join(sorted(remotes))}",
    )


def _write(place: Layout, remotes: Mapping[str, str]) -> dict[str, str]:
    document = {"format": FORMAT, "remotes": dict(sorted(remotes.items()))}
    replace_text(place.folder / FILE, json.dumps(document, indent=1) + "\n")
    return dict(remotes)
