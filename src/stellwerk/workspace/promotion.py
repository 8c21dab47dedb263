"""Promoting by a commit: the environment repository's half. What may be promoted is decided in `promoting`.

The commit is the effect and the book holds its cause, so both are written: first that it is begun, then the commit, then
that it is there. A process that dies in between leaves a beginning without an end, which the next one ends where the
repository has it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from stellwerk.core.errors import Conflict, Invalid, StellwerkError
from stellwerk.core.names import path_part
from stellwerk.releases import promotion as pointers
from stellwerk.releases.promotion import Demand, Pointer, Proposal, environment_name, preview_name
from stellwerk.workspace import operations as ops
from stellwerk.workspace.adapters.git_remote import Author, GitRemote, author, looked_at, without_secrets
from stellwerk.workspace.ports import Caller
from stellwerk.workspace.settings import read

TRIES = 8
"""How often another commit may come first, before it is an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promoted:
    """What came of a promotion.

    Attributes:
        what: `unchanged` where the repository says so already.
        promotion: Its id in the ledger; empty where nothing had to be done.
        said: What the server said, such as where a merge request is opened.
    """

    what: Literal["promoted", "unchanged", "closed"]
    repository: str
    branch: str
    paths: tuple[str, ...]
    pointer: Pointer | None = None
    commit: str = ""
    promotion: str = ""
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be promoted where.

    Attributes:
        repository: Its address, or a path of this machine.
        environment: Empty for the one that the endpoint was declared for.
        branch: Empty for the main one.
        path: Empty for `environments/<environment>/<endpoint>.toml`, and below `previews/` for a preview.
        model: Empty for what is released, or else the newest.
        preview: Number of a merge request; 0 for none.
        request: Commit to a branch of its own, for people to merge.
    """

    repository: str
    endpoint: str
    environment: str = ""
    branch: str = ""
    path: str = ""
    model: str = ""
    preview: int = 0
    request: bool = False

    def __post_init__(self) -> None:
        if self.preview and (self.environment or self.request):
            raise Invalid("a preview is no environment and needs no request of its own", code="usage")
        if self.environment:
            environment_name(self.environment)
        if self.path:
            _checked(self.path)


def promote(caller: Caller, order: Order) -> Promoted:
    """Write a pointer into a repository by a commit, unless it is there already.

    Where others commit meanwhile it is tried again on top of theirs; where they changed the same pointer, it is not.

    Raises:
        Refused: `not-promotable`: the environment demands more than is proven; `push-refused`.
        Conflict: `promotion-conflict`: somebody promoted there meanwhile.
    """
    by = author(caller.home, read().git_author, read().actor)
    seen: bytes | None = None
    for turn in range(TRIES):
        with looked_at(order.repository, order.branch, token=read().git_token) as remote:
            proposal, path = _proposal(caller, order, remote)
            before = remote.read(path)
            if turn and before != seen:
                raise Conflict(
                    f"{path!r} was changed by somebody else meanwhile",
                    code="promotion-conflict",
                    hint="look at it and promote again",
                )
            seen = before
            _readable(path, before)
            try:
                return _write(caller, order, remote, proposal, path, before, by)
            except Conflict as problem:
                if problem.code != "branch-moved" or turn == TRIES - 1:
                    raise
    raise AssertionError  # pragma: no cover - the loop returns or raises


def close(caller: Caller, *, repository: str, preview: int, branch: str = "") -> Promoted:
    """Take away the preview of a merge request; where there is none, nothing is done."""
    by = author(caller.home, read().git_author, read().actor)
    folder = f"previews/{preview_name(preview)}"
    for turn in range(TRIES):
        with looked_at(repository, branch, token=read().git_token) as remote:
            paths = tuple(remote.below(folder))
            place = without_secrets(repository)
            if not paths:
                return Promoted(what="unchanged", repository=place, branch=remote.branch, paths=())
            message = f"Take away the preview of merge request {preview}\n"
            commit = remote.commit(dict.fromkeys(paths), by=by, message=message)
            try:
                remote.push(commit, to=remote.branch)
            except Conflict as problem:
                if problem.code != "branch-moved" or turn == TRIES - 1:
                    raise
                continue
            asked = {"preview": preview, "repository": place, "branch": remote.branch, "commit": commit}
            caller.call(ops.close_preview, asked)
            return Promoted(what="closed", repository=place, branch=remote.branch, paths=paths, commit=commit)
    raise AssertionError  # pragma: no cover - the loop returns or raises


def _proposal(caller: Caller, order: Order, remote: GitRemote) -> tuple[Proposal, str]:
    """What would be written, and where."""
    asked: dict[str, Any] = {"endpoint": order.endpoint, "environment": order.environment, "model": order.model}
    asked |= {"preview": order.preview, "demand": _demand(remote, order.environment)}
    proposal: Proposal = caller.call(ops.propose_promotion, asked)
    named = proposal.pointer.environment
    folder = f"previews/{named}" if order.preview else f"environments/{named}"
    return proposal, order.path or f"{folder}/{order.endpoint}.toml"


def _demand(remote: GitRemote, environment: str) -> Demand:
    """What the repository says that an environment demands; that of the endpoint always demands a release."""
    if not environment:
        return "verdict"
    return pointers.parse_demand(remote.read(f"environments/{environment}/environment.toml"))


def _write(
    caller: Caller, order: Order, remote: GitRemote, proposal: Proposal, path: str, before: bytes | None, by: Author
) -> Promoted:
    pointer, place = proposal.pointer, without_secrets(order.repository)
    data = pointers.text(pointer).encode()
    branch = _own_branch(pointer, data) if order.request and before != data else remote.branch
    done = Promoted(what="unchanged", repository=place, branch=branch, paths=(path,), pointer=pointer)
    tip = remote.tip if before == data else _pushed(order, branch, path, data) if order.request else ""
    if tip:
        caller.call(ops.settle_promotion, {"pointer": pointer, "repository": place, "path": path, "commit": tip})
        return done
    asked = {"pointer": pointer, "repository": place, "branch": branch, "path": path}
    if order.preview:
        promotion = caller.call(ops.begin_preview, {**asked, "preview": order.preview})
    else:
        promotion = caller.call(ops.begin_promotion, {**asked, "demand": proposal.demand})
    try:
        commit = remote.commit({path: data}, by=by, message=_message(pointer, promotion))
        remote.push(commit, to=branch, options=_options(pointer, remote.branch) if order.request else ())
    except StellwerkError as problem:
        caller.call(ops.end_promotion, {"promotion": promotion, "why": problem.message})
        raise
    caller.call(ops.end_promotion, {"promotion": promotion, "commit": commit})
    return Promoted(
        what="promoted", repository=place, branch=branch, paths=(path,), pointer=pointer, commit=commit,
        promotion=promotion, said=remote.said,
    )  # fmt: skip


def _readable(path: str, before: bytes | None) -> None:
    """What stands there must be a promotion: another file is not written over."""
    if before is None:
        return
    try:
        pointers.parse(before)
    except Invalid as problem:
        raise Invalid(
            f"{path!r} in the repository is no promotion: {problem.message}",
            code="invalid-promotion",
            hint="correct or remove it by a commit, or name another place by --path",
        ) from problem


def _pushed(order: Order, branch: str, path: str, data: bytes) -> str:
    """The tip of the branch that an earlier request made, if it holds this."""
    try:
        with looked_at(order.repository, branch, token=read().git_token) as remote:
            return remote.tip if remote.read(path) == data else ""
    except StellwerkError as problem:
        if problem.code == "no-such-branch":
            return ""
        raise


def _own_branch(pointer: Pointer, data: bytes) -> str:
    """The branch of a request: the same for the same pointer, another one for any other."""
    mark = hashlib.sha256(data).hexdigest()[:8]
    return f"stellwerk/{pointer.environment}/{pointer.endpoint}-{pointer.version}-{mark}"


def _options(pointer: Pointer, target: str) -> tuple[str, ...]:
    """What GitLab makes a merge request of; other servers do not listen to it."""
    title = f"Promote {_line(pointer.named)} to {pointer.environment}"
    return ("merge_request.create", f"merge_request.target={target}", f"merge_request.title={title}")


def _message(pointer: Pointer, promotion: str) -> str:
    facts: Mapping[str, str] = {
        "Endpoint": pointer.endpoint,
        "Model": f"{_line(pointer.named)} {pointer.digest}",
        "Standing": pointer.standing,
        "Verdict": pointer.verdict,
        "Release": pointer.release,
        "Promotion": promotion,
    }
    told = "".join(f"{name}: {text}\n" for name, text in facts.items() if text)
    return f"Promote {_line(pointer.named)} to {pointer.environment}\n\n{told}"


def _line(text: str) -> str:
    """A name on one line."""
    return "".join(c if c.isprintable() else " " for c in text)


def _checked(path: str) -> None:
    """A path inside of the repository that can hurt nobody who checks it out."""
    parts = path.split("/")
    for part in parts:
        path_part(part)
    if any(part.lower().rstrip(". ") in (".git", "git~1") for part in parts) or not path.endswith(".toml"):
        raise Invalid(
            f"{path[:80]!r} is no place for a promotion (expected a path that ends with .toml)", code="invalid-path"
        )
