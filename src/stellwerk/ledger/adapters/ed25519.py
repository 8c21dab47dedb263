"""Ed25519 keys (RFC 8032) in files that only their owner can read, and verification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stellwerk.core.errors import Corrupt, Unavailable
from stellwerk.core.files import sync_folder, write_secret


class FileSigner:
    """A raw 32-byte private key in a file with mode 0600."""

    def __init__(self, path: Path) -> None:
        try:
            self._key = Ed25519PrivateKey.from_private_bytes(path.read_bytes())
        except OSError as cause:
            raise Unavailable("the signing key of this workspace cannot be read", code="key-unreadable") from cause
        except ValueError as cause:
            raise Corrupt("the signing key of this workspace is damaged", code="corrupt-key") from cause
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = hashlib.sha256(self.public_key).hexdigest()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class CurrentSigner:
    """The one of a folder's keys that the book says is in force, whoever rotated it and when.

    Args:
        path: The key file. The key that is to follow it lies beside it (`next_key`) until the book names it.
        current: The public key in force, in hex; empty where the book does not say.
    """

    def __init__(self, path: Path, current: Callable[[], str]) -> None:
        self._path, self._current = path, current
        self._kept: FileSigner | None = None

    def now(self) -> FileSigner:
        """The signer of this moment. A rotation that was cut off after the book knew of it is completed."""
        wanted = self._current()
        if self._kept is not None and wanted in ("", self._kept.public_key.hex()):
            return self._kept
        found = FileSigner(self._path)
        if wanted not in ("", found.public_key.hex()):
            found = self._follow(wanted)
        self._kept = found
        return found

    def _follow(self, wanted: str) -> FileSigner:
        following = next_key(self._path)
        if following.is_file():
            found = FileSigner(following)
            if found.public_key.hex() == wanted:
                # Another process was first, or nothing can be written here: then the next one does it.
                with suppress(OSError):
                    following.replace(self._path)
                    sync_folder(self._path.parent)
                return found
        found = FileSigner(self._path)  # another process may have completed the rotation meanwhile
        if found.public_key.hex() != wanted:
            raise Corrupt(
                "the signing key of this workspace is not the one that its book names",
                code="foreign-key",
                hint="restore keys/signing.key from the backup that the book is from",
            )
        return found

    @property
    def key_id(self) -> str:
        return self.now().key_id

    @property
    def public_key(self) -> bytes:
        return self.now().public_key

    def sign(self, message: bytes) -> bytes:
        return self.now().sign(message)


class Ed25519Verifier:
    """Checks signatures."""

    def verify(self, public_key: bytes, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def next_key(path: Path) -> Path:
    """Where the key lies that is to follow the one of a path."""
    return path.with_name(f"{path.name}.next")


def create_key(path: Path) -> None:
    """Make a new key file, mode 0600, durable and never half-written. An existing one is kept."""
    write_secret(path, Ed25519PrivateKey.generate().private_bytes_raw(), what="the signing key")
