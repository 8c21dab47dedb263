"""The error tree: classes by what a handler does, codes for machines, hints for people.

Rooms raise these. HTTP status codes and exit codes are chosen by the ways in (`web`, `cli`).
"""

from __future__ import annotations

from typing import ClassVar


class StellwerkError(Exception):
    """Something went wrong that a caller can act on.

    Args:
        message: What happened, what was got and what was expected. No secrets, no absolute paths.
        code: Stable kebab-case identifier, listed in `CODES`.
        hint: The next thing to do, as a sentence or a command.
    """

    default_code: ClassVar[str] = "error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class NotFound(StellwerkError, KeyError):
    """The thing does not exist, or the caller may not know that it does."""

    default_code = "not-found"


class Conflict(StellwerkError):
    """Somebody else was first, or the same name already means something else."""

    default_code = "conflict"


class Invalid(StellwerkError, ValueError):
    """The input cannot be accepted as it is."""

    default_code = "invalid"


class Refused(StellwerkError):
    """A rule or a missing right forbids it; the input itself was fine."""

    default_code = "refused"


class Corrupt(StellwerkError):
    """Stored bytes are not what their name or their book says."""

    default_code = "corrupt"


class Unavailable(StellwerkError):
    """A resource is missing for now: disk, lock, server, sandbox. Trying again may help."""

    default_code = "unavailable"


class Bug(StellwerkError):
    """Stellwerk broke its own promise. Please report it."""

    default_code = "bug"


def interrupt_behind(error: BaseException) -> KeyboardInterrupt | None:
    """The interrupt that an error is, or came out of while somebody cleaned up after it; None if there is none.

    Ctrl-C may arrive where a lock is just being given back, say: then the lock's complaint is what is raised.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, KeyboardInterrupt):
            return one
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            waiting += [one.__context__, one.__cause__]
    return None


# Append-only: a code, once released, keeps its meaning. A test holds this table and the source in step.
CODES: dict[str, type[StellwerkError]] = {
    "error": StellwerkError,
    "not-found": NotFound,
    "conflict": Conflict,
    "invalid": Invalid,
    "refused": Refused,
    "corrupt": Corrupt,
    "unavailable": Unavailable,
    "bug": Bug,
}
