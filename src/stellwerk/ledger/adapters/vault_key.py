"""The vault's own key in a file, and what is derived from it: AES-256-GCM (NIST SP 800-38D) and HMAC-SHA-256."""

from __future__ import annotations

import base64
import hmac
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from stellwerk.core.errors import Corrupt, Unavailable
from stellwerk.core.files import write_secret

KEY_BYTES = 32
NONCE_BYTES = 12


class FileKeyCipher:
    """A 32-byte key in a file with mode 0600, outside of the database.

    Args:
        fresh: Make the key where there is none.
    """

    def __init__(self, path: Path, *, fresh: bool) -> None:
        if fresh and not path.is_file():
            write_secret(path, secrets.token_bytes(KEY_BYTES), what="the vault's key")
        try:
            secret = path.read_bytes()
        except OSError as cause:
            raise Unavailable(
                "the vault's key cannot be read", code="key-unreadable", hint="restore keys/vault.key from the backup"
            ) from cause
        if len(secret) != KEY_BYTES:
            raise Corrupt("the vault's key is damaged", code="corrupt-key")
        self._wrapping = AESGCM(hmac.digest(secret, b"stellwerk-vault/1 wrap", "sha256"))
        self._naming = hmac.digest(secret, b"stellwerk-vault/1 name", "sha256")

    def pseudonym(self, subject: str) -> str:
        return hmac.digest(self._naming, subject.encode(), "sha256").hex()

    def wrapped(self, name: str) -> str:
        return _text(_encrypt(self._wrapping, secrets.token_bytes(KEY_BYTES), name.encode()))

    def unwrapped(self, name: str, wrapped: str) -> bytes:
        return _decrypt(self._wrapping, wrapped, name.encode())

    def seal(self, key: bytes, data: bytes, about: str) -> str:
        return _text(_encrypt(AESGCM(key), data, about.encode()))

    def open(self, key: bytes, sealed: str, about: str) -> bytes:
        return _decrypt(AESGCM(key), sealed, about.encode())


def _encrypt(cipher: AESGCM, data: bytes, about: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, data, about)


def _decrypt(cipher: AESGCM, sealed: str, about: bytes) -> bytes:
    try:
        data = base64.b64decode(sealed, validate=True)
        return cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], about)
    except (InvalidTag, ValueError) as cause:
        raise Corrupt(
            "what the vault sealed was changed, or belongs to another vault", code="corrupt-seal"
        ) from cause


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
