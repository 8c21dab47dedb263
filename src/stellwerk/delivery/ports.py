"""What deliveries ask of the world: somebody who sends, and somebody who knows the models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from stellwerk.delivery.model import Answer, Said


class Sender(Protocol):
    """Sends to addresses that strangers chose. Safe for many threads."""

    def check(self, url: str) -> None:
        """Raises `Invalid` or `Refused` where nothing would be sent to a URL now."""
        ...

    def send(self, url: str, body: bytes, headers: Mapping[str, str], *, most: int = 0) -> Answer:
        """POST once, only to an address that was checked, following nothing; `most` bytes of the answer are read.

        Raises `Invalid`, `Refused`, or `Unavailable` where no answer came.
        """
        ...


class Models(Protocol):
    """The registry as it stands."""

    def model(self, name: str) -> Said | None:
        """What is said of a model; None where there is none."""
        ...

    def version(self, name: str, number: int) -> Said | None:
        """What is said of a version; None where there is none."""
        ...
