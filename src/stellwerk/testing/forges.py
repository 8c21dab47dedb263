"""A small server that answers like the REST APIs of GitHub and GitLab where they concern comments of merge requests.

Paging, permissions, missing things and limits are as documented there; what it is asked can be looked at.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

ACTIONS = "github-actions[bot]"


@dataclass
class Forge:
    """What the server knows, and what it does with requests.

    Attributes:
        people: Token → login. A workflow's own token may not ask who it is.
        writers: Logins that may comment.
        requests: `project` → numbers of merge requests.
        comments: (project, number) → comments, oldest first.
        pictures: Address → bytes of everything that was uploaded.
        limits: Answers to give before any other: (status, headers).
        seen: (method, path) of every request.
    """

    people: dict[str, str] = field(default_factory=dict)
    writers: set[str] = field(default_factory=set)
    requests: dict[str, set[int]] = field(default_factory=dict)
    comments: dict[tuple[str, int], list[dict[str, Any]]] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    limits: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    seen: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def say(self, project: str, number: int, author: str, text: str) -> int:
        """Somebody comments; answers the comment's id."""
        with self.lock:
            known = self.comments.setdefault((project, number), [])
            name = 1000 + sum(map(len, self.comments.values()))
            known.append({"id": name, "author": author, "body": text})
            return name

    def texts(self, project: str, number: int) -> list[tuple[str, str]]:
        """(author, text) of all comments."""
        return [(one["author"], one["body"]) for one in self.comments.get((project, number), [])]

    def find(self, project: str, comment: int) -> dict[str, Any] | None:
        """A comment by its id."""
        every = [one for (where, _), found in self.comments.items() if where == project for one in found]
        return next((one for one in every if one["id"] == comment), None)


_GITHUB = re.compile(r"/repos/([^/]+/[^/]+)/issues/(?:(\d+)/comments|comments/(\d+))")
_GITLAB = re.compile(r"/projects/([^/]+)/merge_requests/(\d+)/notes(?:/(\d+))?")


@contextmanager
def forge(state: Forge) -> Iterator[Forge]:
    """The server, as long as the block lasts: GitHub's API under `/github`, GitLab's under `/gitlab`."""
    handler = type("Handler", (_Handler,), {"state": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Forge

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        parts = urlsplit(self.path)
        self.state.seen.append((self.command, parts.path))
        if self.state.limits:
            status, headers = self.state.limits.pop(0)
            self._say(status, {"message": "limited"}, headers)
            return
        formed = "multipart/form-data" in self.headers.get("Content-Type", "")
        document = body if formed else json.loads(body) if body else {}
        query = {key: found[0] for key, found in parse_qs(parts.query).items()}
        kind, _, path = parts.path.lstrip("/").partition("/")
        self._say(*(_github if kind == "github" else _gitlab)(self, "/" + path, query, document))

    do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815 - the names that http.server calls

    def login(self) -> str:
        """Who asks; empty for nobody known."""
        given = self.headers.get("Authorization", "").removeprefix("Bearer ") or self.headers.get("PRIVATE-TOKEN", "")
        return self.state.people.get(given, "")

    def _say(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(document).encode()
        self.send_response_only(status)
        for key, value in {**(headers or {}), "Content-Type": "application/json"}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that http.server has
        """Say nothing."""


_Said = tuple[int, Any]
_MISSING: _Said = (404, {"message": "Not Found"})


def _page(found: list[Any], query: dict[str, str]) -> list[Any]:
    each, page = min(int(query.get("per_page", "30")), 100), int(query.get("page", "1"))
    return found[each * (page - 1) : each * page]


def _github(asked: _Handler, path: str, query: dict[str, str], document: Any) -> _Said:
    login, state = asked.login(), asked.state
    if not login:
        return 401, {"message": "Bad credentials"}
    if path == "/user":
        return (
            (403, {"message": "Resource not accessible by integration"})
            if login == ACTIONS
            else (200, {"login": login})
        )
    match = _GITHUB.fullmatch(path)
    if match is None or match[1] not in state.requests:
        return _MISSING

    def shown(one: dict[str, Any]) -> dict[str, Any]:
        where = f"https://example.test/{match[1]}#comment-{one['id']}"
        return {"id": one["id"], "body": one["body"], "user": {"login": one["author"]}, "html_url": where}

    if match[3]:
        comment = state.find(match[1], int(match[3]))
        if comment is None:
            return _MISSING
        if asked.command == "PATCH" and (login not in state.writers or comment["author"] != login):
            return 403, {"message": "Resource not accessible by integration"}
        comment["body"] = document["body"] if asked.command == "PATCH" else comment["body"]
        return 200, shown(comment)
    number = int(match[2])
    if number not in state.requests[match[1]]:
        return _MISSING
    if asked.command == "GET":
        return 200, [shown(one) for one in _page(state.comments.get((match[1], number), []), query)]
    if login not in state.writers:
        return 403, {"message": "Resource not accessible by integration"}
    return 201, shown(state.find(match[1], state.say(match[1], number, login, document["body"])) or {})


def _uploaded(asked: _Handler, login: str, project: str, body: bytes) -> _Said:
    """One file of a form, as GitLab answers it."""
    state = asked.state
    if project not in state.requests or login not in state.writers:
        return 403, {"message": "403 Forbidden"}
    found = re.search(rb'name="file"; filename="([^"/]+)"\r\n.*?\r\n\r\n(.*)\r\n--[^\r\n]+--\r\n$', body, re.DOTALL)
    if found is None:
        return 400, {"message": "400 Bad request - file is missing"}
    url = f"/uploads/{len(state.pictures):032x}/{found[1].decode()}"
    state.pictures[url] = found[2]
    return 201, {"url": url, "markdown": f"![{found[1].decode()}]({url})"}


def _gitlab(asked: _Handler, path: str, query: dict[str, str], document: Any) -> _Said:
    login, state = asked.login(), asked.state
    if not login:
        return 401, {"message": "401 Unauthorized"}
    if path == "/user":
        return 200, {"username": login}
    if path.endswith("/uploads") and isinstance(document, bytes):
        return _uploaded(asked, login, unquote(path.split("/")[2]), document)
    match = _GITLAB.fullmatch(path)
    project = unquote(match[1]) if match else ""
    if match is None or int(match[2]) not in state.requests.get(project, set()):
        return 404, {"message": "404 Project Not Found"}

    def shown(one: dict[str, Any]) -> dict[str, Any]:
        return {"id": one["id"], "body": one["body"], "author": {"username": one["author"]}, "system": False}

    if asked.command == "GET":
        order = state.comments.get((project, int(match[2])), [])
        ordered = order if query.get("sort") == "asc" else order[::-1]  # newest first, unless asked otherwise
        return 200, [shown(one) for one in _page(ordered, query)]
    if login not in state.writers:
        return 403, {"message": "403 Forbidden"}
    if match[3]:
        comment = state.find(project, int(match[3]))
        if comment is None or comment["author"] != login:
            return 403, {"message": "403 Forbidden"}
        comment["body"] = document["body"]
        return 200, shown(comment)
    return 201, shown(state.find(project, state.say(project, int(match[2]), login, document["body"])) or {})
