"""Pictures, told by their bytes: which of four formats, and how large they become. Nothing is ever unpacked here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

HEAD = 1 << 18
"""Bytes that are enough to know a picture by: some carry a profile or a thumbnail first."""
MAX_PIXELS = 50_000_000
"""A small file may become a large picture, which whoever looks at it pays for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a file is, by its first bytes."""

    media: str
    width: int
    height: int


def read(head: bytes) -> Picture | None:
    """The picture that these bytes begin; None for everything else, and for sizes that nobody should unpack."""
    for begins, media, sized in _FORMATS:
        if begins(head):
            width, height = sized(head) or (0, 0)
            good = width > 0 and height > 0 and width * height <= MAX_PIXELS
            return Picture(media=media, width=width, height=height) if good else None
    return None


_Size = tuple[int, int] | None


def _png(head: bytes) -> _Size:
    if head[8:16] != b"\x00\x00\x00\rIHDR" or len(head) < 24:
        return None
    return int.from_bytes(head[16:20]), int.from_bytes(head[20:24])


def _gif(head: bytes) -> _Size:
    return (int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")) if len(head) >= 10 else None


def _jpeg(head: bytes) -> _Size:
    """From segment to segment until the one that says the size."""
    place = 2
    while place + 9 <= len(head) and head[place] == 0xFF:
        kind = head[place + 1]
        if kind == 0xFF:
            place += 1
        elif 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            return int.from_bytes(head[place + 7 : place + 9]), int.from_bytes(head[place + 5 : place + 7])
        else:
            place += 2 + max(int.from_bytes(head[place + 2 : place + 4]), 2)
    return None


def _webp(head: bytes) -> _Size:
    if len(head) < 30:
        return None
    kind, body = head[12:16], head[20:30]
    if kind == b"VP8X":
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    if kind == b"VP8L" and body[:1] == b"\x2f":
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return None


_FORMATS: tuple[tuple[Callable[[bytes], bool], str, Callable[[bytes], _Size]], ...] = (
    (lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), "image/png", _png),
    (lambda head: head[:6] in (b"GIF87a", b"GIF89a"), "image/gif", _gif),
    (lambda head: head.startswith(b"\xff\xd8\xff"), "image/jpeg", _jpeg),
    (lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP", "image/webp", _webp),
)
