"""Ed25519 keys (RFC 8032) in files that only their owner can read, and verification."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from stellwerk.core.errors import Corrupt, Unavailable
from stellwerk.core.files import write_secret


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
    write_secret(path, Ed25519PrivateKey.generate().private_bytes_raw(), what="the signing key")
