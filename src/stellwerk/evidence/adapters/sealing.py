"""Gate labels encrypted with AES-256-GCM under a key of the workspace (NIST SP 800-38D)."""

from __future__ import annotations

import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stellwerk.core.errors import Corrupt, Unavailable
from stellwerk.core.files import write_secret

MAGIC = b"STWSEAL1"
NONCE_BYTES = 12


class FileSealer:
    """A 32-byte key in a file with mode 0600. Each seal has its own random nonce."""

    def __init__(self, path: Path) -> None:
        try:
            self._cipher = AESGCM(path.read_bytes())
        except OSError as cause:
            raise Unavailable("the sealing key of this workspace cannot be read", code="key-unreadable") from cause
        except ValueError as cause:
            raise Corrupt("the sealing key of this workspace is damaged", code="corrupt-key") from cause

    def seal(self, data: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return MAGIC + nonce + self._cipher.encrypt(nonce, data, MAGIC)

    def open(self, sealed: bytes) -> bytes:
        nonce, body = sealed[len(MAGIC) : len(MAGIC) + NONCE_BYTES], sealed[len(MAGIC) + NONCE_BYTES :]
        try:
            if not sealed.startswith(MAGIC):
                raise InvalidTag
            return self._cipher.decrypt(nonce, body, MAGIC)
        except (InvalidTag, ValueError) as cause:
            raise Corrupt("sealed bytes were changed, or belong to another workspace", code="corrupt-seal") from cause


def create_sealing_key(path: Path) -> None:
    """Make a new key file, mode 0600, durable and never half-written. An existing one is kept."""
    write_secret(path, AESGCM.generate_key(bit_length=256), what="the sealing key")
