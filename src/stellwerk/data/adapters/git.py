"""The history of a git repository, read by git itself. Nothing of the repository is executed and nothing is fetched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stellwerk.core.digest import Digest, of_bytes
from stellwerk.core.errors import Invalid, Unavailable

_QUIET = (
    "--no-optional-locks",
    "-c", "core.fsmonitor=false",
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.quotePath=false",
    "-c", "log.showSignature=false",
    "-c", "protocol.allow=never",
)  # fmt: skip
"""A repository's own configuration can name programs; none of them is run."""
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "LC_ALL": "C"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file as a commit left it."""

    commit: str
    path: str
    """From the folder that the history was opened for."""
    blob: str
    """Git's name of its content; only zeros where the commit removed it."""

    @property
    def removed(self) -> bool:
        return not self.blob.strip("0")


class GitHistory:
    """The commits that touch a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def exists(self) -> bool:
        """Whether the folder belongs to a repository that has a commit. Raises `Unavailable` without git."""
        return self._run("rev-parse", "--verify", "-q", "HEAD^{commit}", check=False).returncode == 0

    def head(self) -> str:
        """The commit that is checked out."""
        return self._text("rev-parse", "HEAD")

    def patch(self) -> Digest | None:
        """The digest of `git diff HEAD --binary`; None where no tracked file was changed. Untracked ones do not count."""
        text = self._run("diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color").stdout
        return of_bytes(text) if text else None

    def changes(self, patterns: Sequence[str], *, everything: bool) -> Iterator[Change]:
        """Files matching one of the patterns, commit by commit, parents before children.

        Args:
            everything: All branches and tags, and not only what led to the present commit.
        """
        refs = ("HEAD", "--branches", "--tags", "--remotes") if everything else ("HEAD",)
        output = self._run(
            "log", *refs, "--date-order", "--reverse", "--full-history", "-c", "--raw", "-z", "--no-abbrev",
            "--no-renames", "--no-color", "--no-ext-diff", "--no-textconv", "--relative", "--format=%x01%H",
            "--", *(f":(glob)**/{pattern}" for pattern in patterns),
        ).stdout  # fmt: skip
        yield from _parse(output)

    def files(self, patterns: Sequence[str]) -> list[Change]:
        """Files of the present commit, each with the commit that brought its present content."""
        output = self._run("ls-tree", "-r", "-z", "HEAD").stdout
        lines = [line.partition(b"\t") for line in output.split(b"\0") if line]
        present = {
            path.decode("utf-8", "surrogateescape"): head.split()[2].decode("ascii") for head, _, path in lines
        }
        last = {(change.path, change.blob): change.commit for change in self.changes(patterns, everything=False)}
        return [
            Change(commit=last[path, blob], path=path, blob=blob)
            for path, blob in present.items()
            if (path, blob) in last
        ]

    def contents(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """The bytes of objects (`<hex>`, or `<commit>:./<path>`) in order; None for what is no file there."""
        process = subprocess.Popen(
            ["git", *_QUIET, "-C", str(self._folder), "cat-file", "--batch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
        )
        asked, answered = process.stdin, process.stdout
        if asked is None or answered is None:
            raise Unavailable("git cannot be started", code="git-unavailable")
        try:
            for name in names:
                if "\n" in name:
                    yield None
                    continue
                asked.write(name.encode("utf-8", "surrogateescape") + b"\n")
                asked.flush()
                header = answered.readline().split()
                if len(header) != 3 or header[1] != b"blob":
                    if len(header) == 3 and header[2].isdigit():
                        answered.read(int(header[2]) + 1)
                    yield None
                    continue
                yield answered.read(int(header[2]) + 1)[:-1]
        except BrokenPipeError as cause:
            raise Unavailable("git ended while it was asked", code="git-unavailable") from cause
        finally:
            asked.close()
            answered.close()
            process.wait()

    def _text(self, *arguments: str) -> str:
        return self._run(*arguments).stdout.decode("utf-8", "replace").strip()

    def _run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        try:
            done = subprocess.run(
                ["git", *_QUIET, "-C", str(self._folder), *arguments],
                capture_output=True,
                check=False,
                env={**os.environ, **_ENVIRONMENT},
            )
        except OSError as cause:
            raise Unavailable("git cannot be started", code="git-unavailable", hint="install git") from cause
        if check and done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            raise Invalid(f"git cannot read the history: {said[-1] if said else 'no reason'}", code="git-refused")
        return done


def _parse(output: bytes) -> Iterator[Change]:
    commit = ""
    parts = iter(output.split(b"\0"))
    for part in parts:
        text = part.strip(b"\n")
        if text.startswith(b"\x01"):
            commit = text[1:].decode("ascii")
        elif text.startswith(b":"):
            # As many colons as parents; so many modes and names of content follow, and then those of the result.
            parents = len(text) - len(text.lstrip(b":"))
            path = next(parts, b"").decode("utf-8", "surrogateescape")
            yield Change(commit=commit, path=path, blob=text.split()[2 * parents + 1].decode("ascii"))
