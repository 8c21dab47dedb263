"""Merkle tree (RFC 6962 section 2.1), checkpoints (C2SP tlog-checkpoint) and DSSE envelopes, as pure functions."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.clock import format_instant, parse_instant
from stellwerk.core.errors import Corrupt, Invalid
from stellwerk.ledger.model import Checkpoint, Entry
from stellwerk.ledger.ports import Signer, Verifier

ENTRY_FORMAT = "stellwerk-entry/1"
EMPTY_ROOT = hashlib.sha256(b"").digest()

Node = Callable[[int, int], bytes]
"""Looks up the hash of the full subtree at (level, index)."""


def entry_bytes(entry: Entry) -> bytes:
    """The canonical bytes of an entry: what is stored, hashed and proven."""
    return canonical.dumps(
        {
            "format": ENTRY_FORMAT,
            "sequence": entry.sequence,
            "at": format_instant(entry.at),
            "workspace": entry.workspace,
            "actor": entry.actor,
            "kind": entry.kind,
            "subject": entry.subject,
            "body": entry.body,
        }
    )


def parse_entry(data: bytes) -> Entry:
    """Read an entry; anything else, and any but the canonical spelling, is `Corrupt`."""
    entry = stored_entry(data)
    if entry_bytes(entry) != data:
        raise Corrupt("a ledger entry is not in canonical form", code="corrupt-entry")
    return entry


def stored_entry(data: bytes) -> Entry:
    """Read an entry from the book's own table, whose spelling the tree proves; half the work of `parse_entry`."""
    try:
        document = canonical.loads(data)
        kind = document.pop("format")
        entry = Entry(**{**document, "at": parse_instant(document["at"])}) if kind == ENTRY_FORMAT else None
    except (AttributeError, KeyError, TypeError, Invalid) as cause:
        raise Corrupt(f"a ledger entry cannot be read: {cause}", code="corrupt-entry") from cause
    if entry is None:
        raise Corrupt("a ledger entry has an unknown format", code="corrupt-entry")
    if not _typed(entry) or "body" not in document:
        raise Corrupt("a ledger entry has fields of a wrong type", code="corrupt-entry")
    return entry


def _typed(entry: Entry) -> bool:
    texts = (entry.workspace, entry.actor, entry.kind, entry.subject)
    return (
        type(entry.sequence) is int
        and entry.sequence >= 0
        and isinstance(entry.body, dict)
        and all(isinstance(text, str) for text in texts)
    )


def leaf_hash(data: bytes) -> bytes:
    """RFC 6962: SHA-256(0x00 ‖ entry)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962: SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def new_nodes(size: int, leaf: bytes, node: Node) -> list[tuple[int, int, bytes]]:
    """The full-subtree nodes (level, index, hash) that appending leaf number `size` completes."""
    level, index, value = 0, size, leaf
    result = [(level, index, value)]
    while index & 1:
        value = node_hash(node(level, index - 1), value)
        level, index = level + 1, index >> 1
        result.append((level, index, value))
    return result


def subtree(start: int, end: int, node: Node) -> bytes:
    """The Merkle hash of leaves start..end-1, where start is aligned to the next power of two ≥ the width."""
    width = end - start
    if width & (width - 1) == 0:
        level = width.bit_length() - 1
        return node(level, start >> level)
    split = 1 << (width - 1).bit_length() - 1
    return node_hash(subtree(start, start + split, node), subtree(start + split, end, node))


def root(size: int, node: Node) -> bytes:
    """The tree head of the first `size` leaves; the empty tree's is SHA-256 of nothing."""
    return subtree(0, size, node) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: Node) -> list[bytes]:
    """RFC 6962 section 2.1.1: sibling hashes from the leaf up."""

    def path(m: int, start: int, end: int) -> list[bytes]:
        width = end - start
        if width == 1:
            return []
        split = 1 << (width - 1).bit_length() - 1
        if m < start + split:
            return [*path(m, start, start + split), subtree(start + split, end, node)]
        return [*path(m, start + split, end), subtree(start, start + split, node)]

    if not 0 <= index < size:
        raise Invalid(f"no entry {index} in a book of {size}", code="invalid-proof")
    return path(index, 0, size)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected: bytes) -> bool:
    """RFC 9162 section 2.1.3.2."""
    if not 0 <= index < size:
        return False
    fn, sn, value = index, size - 1, leaf
    for sibling in proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            value = node_hash(sibling, value)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            value = node_hash(value, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and value == expected


def consistency_proof(old: int, new: int, node: Node) -> list[bytes]:
    """RFC 6962 section 2.1.2: that the first `old` leaves are a prefix of the first `new`."""

    def proof(m: int, start: int, end: int, whole: bool) -> list[bytes]:
        if m == end - start:
            return [] if whole else [subtree(start, end, node)]
        split = 1 << (end - start - 1).bit_length() - 1
        if m <= split:
            return [*proof(m, start, start + split, whole), subtree(start + split, end, node)]
        return [*proof(m - split, start + split, end, False), subtree(start, start + split, node)]

    if not 0 < old <= new:
        raise Invalid(f"no consistency proof from {old} to {new} entries", code="invalid-proof")
    return proof(old, 0, new, True)


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2."""
    if old == new:
        return old_root == new_root and not proof
    if not 0 < old < new or not proof:
        return False
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    first = second = path[0]
    for sibling in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            second = node_hash(second, sibling)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and first == old_root and second == new_root


_NAME = r"[^\s+\x00-\x1f\x7f\ud800-\udfff]{1,255}"
_NOTE = re.compile(
    rf"(?P<text>(?P<origin>{_NAME})\n(?P<size>0|[1-9][0-9]{{0,15}})\n(?P<root>[A-Za-z0-9+/]{{43}}=)\n)"
    rf"\n(?P<signatures>(?:— {_NAME} [A-Za-z0-9+/]{{8,8192}}={{0,2}}\n){{1,100}})"
)


def check_origin(origin: str) -> str:
    """Check the name of a book, which is also the name of its key in C2SP notes: no spaces, no `+`."""
    if not re.fullmatch(_NAME, origin):
        raise Invalid(
            f"{origin[:60]!r} cannot name a book (expected 1 to 255 characters without spaces and '+')",
            code="invalid-origin",
        )
    return origin


def sign_checkpoint(origin: str, size: int, head: bytes, signer: Signer) -> Checkpoint:
    """A C2SP tlog-checkpoint: origin, size, root, and one Ed25519 note signature."""
    check_origin(origin)
    text = f"{origin}\n{size}\n{base64.b64encode(head).decode()}\n"
    signature = base64.b64encode(_note_key(origin, signer.public_key) + signer.sign(text.encode())).decode()
    return Checkpoint(origin=origin, size=size, root=head, note=f"{text}\n— {origin} {signature}\n")


def open_checkpoint(note: str, public_key: bytes, verifier: Verifier) -> Checkpoint:
    """Read a checkpoint and check its signature. Raises `Corrupt`.

    Further signatures, such as those of witnesses, are allowed and not looked at.
    """
    result = read_checkpoint(note)
    text, _, signatures = note.partition("\n\n")
    for line in signatures.removesuffix("\n").split("\n"):
        _, name, encoded = line.split(" ")
        blob = _unbase64(encoded, "corrupt-checkpoint")
        if name == result.origin and blob[:4] == _note_key(name, public_key):
            if verifier.verify(public_key, blob[4:], f"{text}\n".encode()):
                return result
            break
    raise Corrupt("a checkpoint's signature is not valid", code="corrupt-checkpoint")


def read_checkpoint(note: str) -> Checkpoint:
    """What a checkpoint says, without checking who says it. Raises `Corrupt`."""
    match = _NOTE.fullmatch(note)
    if match is None:
        raise Corrupt("a checkpoint cannot be read", code="corrupt-checkpoint")
    head = _unbase64(match["root"], "corrupt-checkpoint")
    return Checkpoint(origin=match["origin"], size=int(match["size"]), root=head, note=note)


def _unbase64(text: str, code: str) -> bytes:
    """Standard base64 in its one canonical spelling, so that no bit of a signed text can be changed unseen."""
    try:
        data = base64.b64decode(text, validate=True)
        exact = base64.b64encode(data).decode() == text
    except (TypeError, ValueError) as cause:
        raise Corrupt("a signed text is not base64", code=code) from cause
    if not exact:
        raise Corrupt("a signed text is not canonical base64", code=code)
    return data


def _note_key(name: str, public_key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n\x01" + public_key).digest()[:4]


STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"


def statement(subjects: Mapping[str, str], predicate_type: str, predicate: Mapping[str, Any]) -> dict[str, Any]:
    """An in-toto Statement v1 about named digests (`sha256:…`)."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
            for name, digest in sorted(subjects.items())
        ],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(document: Mapping[str, Any], signer: Signer, payload_type: str = PAYLOAD_TYPE) -> dict[str, Any]:
    """Sign a document into a DSSE envelope (JSON form)."""
    payload = canonical.dumps(dict(document))
    signature = signer.sign(pae(payload_type, payload))
    return {
        "payloadType": payload_type,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": signer.key_id, "sig": base64.b64encode(signature).decode()}],
    }


def unseal(
    envelope: Mapping[str, Any], public_key: bytes, verifier: Verifier, payload_type: str | None = None
) -> dict[str, Any]:
    """The document of a DSSE envelope, after its signature was checked. Raises `Corrupt`.

    With `payload_type`, an envelope that was signed to mean something else is refused as well.
    """
    try:
        kind = str(envelope["payloadType"])
        payload = _unbase64(envelope["payload"], "corrupt-envelope")
        signatures = [_unbase64(item["sig"], "corrupt-envelope") for item in envelope["signatures"]]
    except (KeyError, TypeError) as cause:
        raise Corrupt("a signed envelope cannot be read", code="corrupt-envelope") from cause
    if not any(verifier.verify(public_key, signature, pae(kind, payload)) for signature in signatures):
        raise Corrupt("a signed envelope has no valid signature", code="corrupt-envelope")
    if payload_type not in (None, kind):
        raise Corrupt(f"a signed envelope holds {kind[:80]!r}, not {payload_type!r}", code="corrupt-envelope")
    try:
        document = canonical.loads(payload)
    except Invalid as cause:
        raise Corrupt(f"a signed envelope's payload cannot be read: {cause}", code="corrupt-envelope") from cause
    if not isinstance(document, dict):
        raise Corrupt("a signed envelope's payload is not a document", code="corrupt-envelope")
    return document
