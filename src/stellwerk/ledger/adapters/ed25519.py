"""Ed25519 keys (RFC 8032) in files that only their owner can read, and verification."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stellwerk.core.errors import Corrupt, Unavailable


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


class Ed25519Verifier:
    """Checks signatures."""

    def verify(self, public_key: bytes, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


def create_key(path: Path) -> None:
    """Make a new key file, mode 0600, durable and never half-written. An existing one is kept."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(Ed25519PrivateKey.generate().private_bytes_raw())
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
        finally:
            temporary.unlink()
        # What the key signs must not outlive the key in a power cut.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as cause:
        reason = os.strerror(cause.errno or 0)
        raise Unavailable(f"the signing key cannot be written: {reason}", code="key-unwritable") from cause
