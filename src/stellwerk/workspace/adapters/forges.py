"""Comments of merge requests through the REST APIs of GitHub and GitLab.

The token goes to the address that the CI names and to no other: no redirect is followed, and no error repeats it.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError
from urllib3.filepost import encode_multipart_formdata

from stellwerk.core.errors import NotFound, Refused, StellwerkError, Unavailable
from stellwerk.workspace.ports import Comment, Target, Thread

CONNECT_SECONDS, READ_SECONDS = 10.0, 30.0
ATTEMPTS, PAUSE, LONGEST = 4, 1.0, 60.0
"""Of a request that does no harm twice, and the longest time that a server may make us wait."""
PAGE, MOST_PAGES = 100, 50
MOST_BYTES = 16 << 20
JSON = "application/json"
_UPLOADED = re.compile(r"/uploads/[0-9a-f]{16,128}/[A-Za-z0-9._-]{1,100}")
ACTIONS = "github-actions[bot]"
"""Who a workflow's own token writes as; it may not ask."""


def thread(target: Target, wait: Callable[[float], None] = time.sleep) -> Thread:
    """The comments of a merge request."""
    return GitLab(target, wait) if target.forge == "gitlab" else GitHub(target, wait)


class _Api:
    """JSON over HTTP with a token."""

    def __init__(self, target: Target, headers: Mapping[str, str], wait: Callable[[float], None]) -> None:
        self._target, self._wait = target, wait
        self._headers = {"User-Agent": "stellwerk", **headers}
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), retries=False
        )

    def ask(self, method: str, path: str, body: Any = None, kind: str = JSON) -> tuple[int, Any]:
        """One request, tried again where that does no harm; its status and answer."""
        pause = PAUSE
        for left in range(ATTEMPTS - 1 if method != "POST" else 0, -1, -1):
            try:
                status, headers, answer = self._once(method, path, body, kind)
            except Unavailable:
                if not left:
                    raise
            else:
                limited = status == 429 or (status == 403 and headers.get("x-ratelimit-remaining") == "0")
                after = _seconds(headers.get("retry-after", ""))
                limited = limited or (status == 403 and after is not None)
                if not limited and status < 500:
                    return status, answer
                if not left or (after or 0) > LONGEST:
                    raise _busy(status, after) if limited else _down(status)
                pause = max(pause, after or 0)
            self._wait(min(pause, LONGEST))
            pause *= 2
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def told(self, method: str, path: str, body: Any = None) -> Any:
        """One request that must succeed."""
        status, answer = self.ask(method, path, body)
        if status >= 300:
            raise self._error(status, answer)
        return answer

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """A list that is answered page by page."""
        for page in range(1, MOST_PAGES + 1):
            found = self.told("GET", f"{path}{'&' if '?' in path else '?'}per_page={PAGE}&page={page}")
            if not isinstance(found, list):
                raise _strange()
            yield from (one for one in found if isinstance(one, dict))
            if len(found) < PAGE:
                return

    def _once(self, method: str, path: str, body: Any, kind: str) -> tuple[int, Mapping[str, str], Any]:
        try:
            response = self._pool.request(
                method,
                self._target.api + path,
                body=json.dumps(body).encode() if kind == JSON and body is not None else body,
                headers={**self._headers, "Content-Type": kind},
                redirect=False,
                preload_content=False,
            )
            data = response.read(MOST_BYTES)
            response.release_conn()
        except HTTPError as cause:
            raise Unavailable(f"no answer from {self._target.api}", code="forge-unreachable") from cause
        try:
            answer = json.loads(data) if data else None
        except (ValueError, RecursionError):
            answer = None
        return response.status, {key.lower(): value for key, value in response.headers.items()}, answer

    def _error(self, status: int, answer: Any) -> StellwerkError:
        said = answer.get("message", "") if isinstance(answer, dict) else ""
        why = f": {str(said)[:200]}" if said else ""
        if status in (401, 403):
            return Refused(
                f"the token may not comment on this merge request ({status}{why})",
                code="forge-refused",
                hint=self.hint,
            )
        if status == 404:
            return NotFound(
                f"merge request {self._target.number} of {self._target.project} is not there for this token",
                code="forge-not-found",
                hint=self.hint,
            )
        return Unavailable(f"{self._target.api} answered {status}{why}", code="forge-answer")

    hint = ""


class GitHub(_Api):
    """Implements `Thread`. Gitea and Forgejo answer the same requests."""

    hint = "give the job `permissions: pull-requests: write`; builds of forks have a token that only reads"

    def __init__(self, target: Target, wait: Callable[[float], None] = time.sleep) -> None:
        headers = {
            "Authorization": f"Bearer {target.token}",
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
        }
        super().__init__(target, headers, wait)
        self._home = f"/repos/{quote(target.project)}/issues"

    def me(self) -> str:
        status, answer = self.ask("GET", "/user")
        if status == 403:
            return ACTIONS
        if status >= 300 or not isinstance(answer, dict):
            raise self._error(status, answer)
        return str(answer.get("login", ""))

    def comments(self) -> Iterator[Comment]:
        return map(self._read, self.pages(f"{self._home}/{self._target.number}/comments"))

    def write(self, text: str) -> Comment:
        return self._read(self.told("POST", f"{self._home}/{self._target.number}/comments", {"body": text}))

    def edit(self, comment: int, text: str) -> Comment:
        return self._read(self.told("PATCH", f"{self._home}/comments/{comment:d}", {"body": text}))

    def _read(self, one: Any) -> Comment:
        return _comment(one, "user", "login", str(one.get("html_url", "")) if isinstance(one, dict) else "")


class GitLab(_Api):
    """Implements `Thread` and `Gallery`."""

    hint = (
        "CI_JOB_TOKEN may not comment: put a project access token with the scope `api` into the masked variable "
        "STELLWERK_FORGE_TOKEN"
    )

    def __init__(self, target: Target, wait: Callable[[float], None] = time.sleep) -> None:
        super().__init__(target, {"PRIVATE-TOKEN": target.token}, wait)
        self._home = f"/projects/{quote(target.project, safe='')}/merge_requests/{target.number}/notes"

    def me(self) -> str:
        answer = self.told("GET", "/user")
        return str(answer.get("username", "")) if isinstance(answer, dict) else ""

    def comments(self) -> Iterator[Comment]:
        found = self.pages(f"{self._home}?sort=asc&order_by=created_at")
        return (self._read(one) for one in found if not one.get("system"))

    def write(self, text: str) -> Comment:
        return self._read(self.told("POST", self._home, {"body": text}))

    def edit(self, comment: int, text: str) -> Comment:
        return self._read(self.told("PUT", f"{self._home}/{comment:d}", {"body": text}))

    def keep(self, name: str, data: bytes, media: str) -> str:
        body, kind = encode_multipart_formdata({"file": (name, data, media)})
        where = f"/projects/{quote(self._target.project, safe='')}/uploads"
        status, answer = self.ask("POST", where, body=body, kind=kind)
        if status >= 300:
            raise self._error(status, answer)
        url = str(answer.get("url", "")) if isinstance(answer, dict) else ""
        if not _UPLOADED.fullmatch(url):
            raise _strange()
        return url

    def _read(self, one: Any) -> Comment:
        return _comment(one, "author", "username", "")


def _comment(one: Any, who: str, name: str, url: str) -> Comment:
    if not isinstance(one, dict) or not isinstance(one.get("id"), int):
        raise _strange()
    author = one.get(who)
    return Comment(
        id=one["id"],
        author=str(author.get(name, "")) if isinstance(author, dict) else "",
        text=str(one.get("body") or ""),
        url=url,
    )


def _strange() -> Unavailable:
    return Unavailable("the forge answered what none of its comments looks like", code="forge-answer")


def _down(status: int) -> Unavailable:
    return Unavailable(f"the forge answered {status}", code="forge-answer", hint="try again later")


def _busy(status: int, after: float | None) -> Unavailable:
    wait = f"in {after:.0f} seconds" if after else "later"
    return Unavailable(f"the forge takes no more requests ({status})", code="forge-busy", hint=f"try again {wait}")


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else None
