"""Commits to a repository elsewhere, by git itself and without a working copy: no file of it is ever checked out.

What is fetched lies in a folder of its own for a moment. Nothing of it is executed: no hook, no filter, no program that
a configuration names. Nothing is ever forced.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stellwerk.core.errors import Conflict, Invalid, NotFound, Refused, Unavailable

SECONDS = 120
LARGEST = 1 << 20
_QUIET = (
    "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "gc.auto=0",
    "-c", "maintenance.auto=false", "-c", "protocol.allow=never", "-c", "protocol.file.allow=always",
    "-c", "protocol.https.allow=always", "-c", "protocol.http.allow=always", "-c", "protocol.ssh.allow=always",
    "-c", "http.followRedirects=initial", "-c", "advice.pushUpdateRejected=false",
)  # fmt: skip
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C", "GIT_CONFIG_COUNT": "0"}
_TOKEN = "STELLWERK_GIT_TOKEN"  # noqa: S105 - the name of a variable
_SECRETS = re.compile(r"(?<=://)[^/@\s]+@")
_MOVED = ("non-fast-forward", "fetch first", "cannot lock ref", "incorrect old value", "reference already exists")
_GUARDED = ("rejected", "denied", "The requested URL returned error: 403")
_TAKEN = ("user.name", "user.email", "user.signingkey", "commit.gpgsign", "gpg.format")
"""Of a project's own configuration, what is about its author; nothing that names a program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who commits, and whether they sign."""

    name: str
    address: str
    signs: bool = False
    key: str = ""
    format: str = ""


def author(folder: Path, said: str, actor: str) -> Author:
    """Who commits: as the settings say, else as git's configuration of a project does, else whoever acts."""
    listed = _git(("config", "--get-regexp", "-z", r"^(user\.|commit\.gpgsign|gpg\.format)"), at=folder, check=False)
    pairs = (item.partition("\n") for item in listed.stdout.decode("utf-8", "replace").split("\0") if item)
    known = {key: value for key, _, value in pairs if key in _TAKEN}
    name, address = known.get("user.name", ""), known.get("user.email", "")
    if said:
        match = re.fullmatch(r"([^<>\n]{1,200}?)\s*<([^<>\s]{1,200})>", said)
        if match is None:
            raise Invalid(
                f"STELLWERK_GIT_AUTHOR is {said[:60]!r} (expected `Name <address>`)", code="invalid-setting"
            )
        name, address = match[1], match[2]
    return Author(
        name=name or actor,
        address=address or f"{actor}@stellwerk.invalid",
        signs=known.get("commit.gpgsign", "").lower() in ("true", "yes", "on", "1"),
        key=known.get("user.signingkey", ""),
        format=known.get("gpg.format", ""),
    )


class GitRemote:
    """One branch of a repository, as it was when it was looked at."""

    def __init__(self, folder: Path, url: str, branch: str, tip: str, token: str = "") -> None:
        self._folder, self._url, self.branch, self.tip, self._token = folder, url, branch, tip, token
        self.said = ""
        """What the server said to the last push, such as where a merge request is opened."""

    def read(self, path: str) -> bytes | None:
        """The bytes of a file; None where there is none."""
        if not self.tip:
            return None
        listed = self._text("ls-tree", "-z", "--", self.tip, path, literal=True)
        lines = [line for line in listed.split("\0") if line]
        if not lines:
            return None
        mode, kind, rest = lines[0].split(" ", 2)
        if kind != "blob" or mode == "120000":
            raise Invalid(f"{path!r} is no plain file in the repository", code="invalid-promotion")
        blob = rest.split("\t", 1)[0]
        if int(self._text("cat-file", "-s", blob)) > LARGEST:
            raise Invalid(f"{path!r} is larger than any promotion", code="invalid-promotion")
        return self._run("cat-file", "blob", blob).stdout

    def below(self, folder: str) -> list[str]:
        """The paths of all files below a folder."""
        if not self.tip:
            return []
        found = self._text("ls-tree", "-r", "-z", "--name-only", "--", self.tip, f"{folder}/", literal=True)
        return [path for path in found.split("\0") if path]

    def commit(self, files: Mapping[str, bytes | None], *, by: Author, message: str) -> str:
        """A commit on top of the branch with some files written, or removed where there are no bytes."""
        index = {"GIT_INDEX_FILE": str(self._folder / "index-of-promotion")}
        Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)
        if self.tip:
            self._run("read-tree", self.tip, more=index)
        for path, data in files.items():
            if data is None:
                gone = f"0 {'0' * 40}\t{path}\0".encode("utf-8", "surrogateescape")
                self._run("update-index", "-z", "--index-info", given=gone, more=index)
                continue
            blob = self._run("hash-object", "-w", "--stdin", given=data).stdout.decode().strip()
            try:
                self._run("update-index", "--add", "--cacheinfo", f"100644,{blob},{path}", more=index)
            except Unavailable as cause:
                raise Invalid(f"{path!r} cannot stand in the repository", code="invalid-promotion") from cause
        tree = self._run("write-tree", more=index).stdout.decode().strip()
        who = {
            "GIT_AUTHOR_NAME": by.name, "GIT_AUTHOR_EMAIL": by.address,
            "GIT_COMMITTER_NAME": by.name, "GIT_COMMITTER_EMAIL": by.address,
        }  # fmt: skip
        parents = ("-p", self.tip) if self.tip else ()
        known = {"user.signingkey": by.key, "gpg.format": by.format}
        signing = tuple(word for key, value in known.items() if value for word in ("-c", f"{key}={value}"))
        words = ("commit-tree", *(("-S",) if by.signs else ()), *parents, tree)
        try:
            made = self._run(*words, first=signing, given=message.encode("utf-8", "replace"), more=who)
        except Unavailable as cause:
            if not by.signs:
                raise
            raise Unavailable(
                f"the commit cannot be signed: {cause.message.partition(': ')[2]}",
                code="cannot-sign",
                hint="git is configured to sign commits (commit.gpgsign); give it the key",
            ) from cause
        return made.stdout.decode().strip()

    def push(self, commit: str, *, to: str, options: Sequence[str] = ()) -> None:
        """Make a branch of the repository this commit.

        Args:
            options: What the server is asked to do besides, where it listens to such things.

        Raises:
            Conflict: `branch-moved`: it has commits that are not known here.
            Refused: `push-refused`: whoever guards it does not let this in.
        """
        asked = tuple(word for option in options for word in ("-o", option))
        done = self._push(asked, commit, to)
        if done.returncode and asked and b"does not support push options" in done.stderr:
            done = self._push((), commit, to)
        self.said = _plain(done.stderr)
        if done.returncode == 0:
            return
        said = _plain(done.stdout) + self.said  # which branch was rejected, and then why
        if any(word in said for word in _MOVED):
            raise Conflict(
                f"branch {to!r} of the repository moved in the meantime", code="branch-moved", hint="try again"
            )
        if any(word in said for word in _GUARDED):
            raise Refused(
                f"the repository refuses the push to {to!r}: {_reason(said)}",
                code="push-refused",
                hint="is the branch protected? --request makes a branch of its own; otherwise check the credentials",
            )
        raise _unreachable(self._url, said)

    def _push(self, asked: tuple[str, ...], commit: str, to: str) -> subprocess.CompletedProcess[bytes]:
        words = ("push", "--quiet", "--porcelain", *asked, "--", self._url, f"{commit}:refs/heads/{to}")
        return _asked(self._folder, self._url, self._token, *words)

    def _text(self, *arguments: str, literal: bool = False) -> str:
        first = ("--literal-pathspecs",) if literal else ()
        return self._run(*arguments, first=first).stdout.decode("utf-8", "surrogateescape")

    def _run(
        self, *arguments: str, first: tuple[str, ...] = (), given: bytes | None = None,
        more: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        return _git((*first, *arguments), at=self._folder, given=given, more=more)


@contextmanager
def looked_at(url: str, branch: str = "", *, token: str = "") -> Iterator[GitRemote]:
    """A branch of a repository, by default its main one. A repository without any commit is empty, and no error.

    Args:
        token: What logs in at an `https://` address; empty where that is git's own matter.

    Raises:
        NotFound: `no-such-branch`.
        Unavailable: `repository-unreachable`.
    """
    address = _address(url)
    with tempfile.TemporaryDirectory(prefix="stellwerk-git-") as folder:
        place = Path(folder)
        _git(("init", "--bare", "--quiet", "--template=", "."), at=place)
        heads = _heads(place, address, token)
        main = heads.pop("HEAD", "")
        wanted = branch or main or "main"
        if branch and branch not in heads and heads:
            raise NotFound(f"the repository has no branch {branch!r}", code="no-such-branch")
        if wanted not in heads:
            if heads:
                raise NotFound(
                    "the repository has no main branch", code="no-such-branch", hint="name one by --branch"
                )
            yield GitRemote(place, address, wanted, "", token)
            return
        _fetch(place, address, wanted, token)
        tip = _git(("rev-parse", "--verify", "FETCH_HEAD^{commit}"), at=place).stdout.decode().strip()
        yield GitRemote(place, address, wanted, tip, token)


def _heads(place: Path, address: str, token: str) -> dict[str, str]:
    """Branches with their commits; `HEAD` is the name of the main one."""
    done = _asked(place, address, token, "ls-remote", "--symref", "--", address, "HEAD", "refs/heads/*")
    if done.returncode:
        raise _unreachable(address, _plain(done.stderr))
    found: dict[str, str] = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        what, _, name = line.partition("\t")
        if what.startswith("ref: refs/heads/") and name == "HEAD":
            found["HEAD"] = what.removeprefix("ref: refs/heads/")
        elif name.startswith("refs/heads/"):
            found[name.removeprefix("refs/heads/")] = what
    return found


def _fetch(place: Path, address: str, branch: str, token: str) -> None:
    words = ("fetch", "--quiet", "--depth=1", "--no-tags", "--no-write-commit-graph", "--", address)
    done = _asked(place, address, token, *words, f"refs/heads/{branch}")
    if done.returncode:
        raise _unreachable(address, _plain(done.stderr))


def _asked(place: Path, address: str, token: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """What git says after talking to a repository."""
    return _git((*login(address, token), *words), at=place, more={_TOKEN: token} if token else None, check=False)


def login(address: str, token: str) -> tuple[str, ...]:
    """The words by which git logs in with a token: at this host alone, and no helper of the machine keeps it.

    The token itself stands in a variable, where no list of processes shows it.
    """
    place = urlsplit(address) if address.startswith("https://") else None
    if not token or place is None:
        return ()
    at = f"credential.https://{place.netloc.rpartition('@')[2]}"
    answer = f'!f() {{ test "$1" != get || echo "password=${_TOKEN}"; }}; f'
    return ("-c", f"{at}.username=x-access-token", "-c", f"{at}.helper=", "-c", f"{at}.helper={answer}")


def _address(url: str) -> str:
    """An address that git takes for nothing else; a path of this machine counts from here."""
    if not url or url.startswith("-") or any(c < " " for c in url) or "::" in url.partition("://")[0]:
        raise Invalid(f"{url[:60]!r} is no address of a repository", code="invalid-repository")
    return str(Path(url).absolute()) if "://" not in url and Path(url).exists() else url


def without_secrets(url: str) -> str:
    """An address as it may be written down."""
    return _SECRETS.sub("", url)


def _git(
    arguments: Sequence[str], *, at: Path, given: bytes | None = None, more: Mapping[str, str] | None = None,
    check: bool = True,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    kept = {key: value for key, value in os.environ.items() if key not in _OWN}
    try:
        done = subprocess.run(
            ["git", *_QUIET, "-C", str(at), *arguments],
            input=given if given is not None else b"",
            capture_output=True,
            check=False,
            timeout=SECONDS,
            env={**kept, **_ENVIRONMENT, **(more or {})},
        )
    except OSError as cause:
        raise Unavailable("git cannot be started", code="git-unavailable", hint="install git") from cause
    except subprocess.TimeoutExpired as cause:
        raise Unavailable(f"git did not end within {SECONDS} seconds", code="repository-unreachable") from cause
    if check and done.returncode:
        said = _plain(done.stderr).strip().splitlines()
        raise Unavailable(f"git failed: {said[-1] if said else 'without a reason'}", code="git-failed")
    return done


_OWN = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE", "GIT_COMMON_DIR"}
"""What a hook that calls us has set for its own repository."""


def _plain(said: bytes) -> str:
    return without_secrets(said.decode("utf-8", "replace"))


def _reason(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if "remote:" in line or "rejected" in line]
    return "; ".join(line.removeprefix("remote:").strip() for line in lines if line)[:300] or said.strip()[-300:]


def _unreachable(address: str, said: str) -> Unavailable:
    lines = [line for line in said.strip().splitlines() if line]
    why = next((line for line in lines if line.startswith(("fatal:", "remote:", "error:"))), "it does not answer")
    return Unavailable(
        f"the repository {without_secrets(address)!r} cannot be reached: {why.partition(': ')[2] or why}",
        code="repository-unreachable",
        hint="check the address, and that git may log in there without asking",
    )
