"""Keys, checkpoints and envelopes: published vectors, round trips, and every kind of tampering."""

from __future__ import annotations

import base64
import hashlib
import stat
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core import canonical
from stellwerk.core.errors import Corrupt, Invalid, StellwerkError, Unavailable
from stellwerk.ledger import rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key

ROOT = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"

# RFC 8032, section 7.1, test 1.
SECRET = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)


@pytest.fixture
def signer(tmp_path: Path) -> FileSigner:
    (tmp_path / "key").write_bytes(SECRET)
    return FileSigner(tmp_path / "key")


VERIFIER = Ed25519Verifier()


def test_the_vector_of_rfc_8032(signer: FileSigner) -> None:
    """Keys and signatures are those of every other implementation."""
    assert PUBLIC == signer.public_key
    assert hashlib.sha256(PUBLIC).hexdigest() == signer.key_id
    assert SIGNATURE == signer.sign(b"")
    assert VERIFIER.verify(PUBLIC, SIGNATURE, b"")


@pytest.mark.parametrize(
    ("key", "signature", "message"),
    [
        (PUBLIC, SIGNATURE, b"x"),
        (PUBLIC, SIGNATURE[:-1], b""),
        (PUBLIC, b"", b""),
        (PUBLIC, SIGNATURE[:-1] + b"\x00", b""),
        (PUBLIC[:-1], SIGNATURE, b""),
        (b"", SIGNATURE, b""),
        (bytes(32), SIGNATURE, b""),
    ],
)
def test_malformed_is_simply_not_valid(key: bytes, signature: bytes, message: bytes) -> None:
    """No key or signature makes the verifier raise."""
    assert not VERIFIER.verify(key, signature, message)


def test_a_new_key_is_private_and_stays(tmp_path: Path) -> None:
    """The file is readable by its owner only; many that create it at once agree on one whole key."""
    path, seen, start = tmp_path / "key", set(), threading.Barrier(8)

    def create() -> None:
        start.wait()
        create_key(path)
        seen.add(FileSigner(path).key_id)

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 1 == len(seen)
    assert (32, 0o600) == (path.stat().st_size, stat.S_IMODE(path.stat().st_mode))
    assert [path] == list(tmp_path.iterdir())


def test_bad_keys_are_told_apart(tmp_path: Path) -> None:
    """A missing key may come back, a damaged one will not; neither message shows a path."""
    (tmp_path / "short").write_bytes(SECRET[:-1])
    (tmp_path / "long").write_bytes(SECRET + b"\n")
    errors: dict[str, StellwerkError] = {}
    for name in ("missing", "short", "long"):
        with pytest.raises(StellwerkError) as caught:
            FileSigner(tmp_path / name)
        errors[name] = caught.value
    with pytest.raises(Unavailable) as unwritable:
        create_key(tmp_path / "no" / "folder" / "key")

    expected = {"missing": "key-unreadable", "short": "corrupt-key", "long": "corrupt-key"}
    assert expected == {name: error.code for name, error in errors.items()}
    assert "key-unwritable" == unwritable.value.code
    assert not any(str(tmp_path) in str(error) for error in [*errors.values(), unwritable.value])


def test_the_key_hash_of_c2sp() -> None:
    """The example key of the signed-note specification has the hash and the signature given there."""
    key = base64.b64decode("AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
    line = base64.b64decode(
        "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM="
    )

    assert 1 == key[0]
    assert "530d903a" == rules._note_key("example.com/foo", key[1:]).hex() == line[:4].hex()
    assert VERIFIER.verify(key[1:], line[4:], b"This is an example message.\n")


def test_golden_checkpoint(signer: FileSigner) -> None:
    """A checkpoint of a known key has this text in version 1, for ever."""
    note = rules.sign_checkpoint("example.com/book", 8, bytes.fromhex(ROOT), signer).note

    expected = (
        "example.com/book\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\n— example.com/book "
        "0GSiEjpnYc3+LFJLKMpaGqlb3tUB03hDVmWzfZLfNnDZllxkOZ5JuPVbN79IOTAGTRGRfI/i3FBt8gm6+DDqEpHq9Qs=\n"
    )
    assert expected == note


origins = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters="+"), min_size=1, max_size=20
)


@given(origin=origins, size=st.integers(0, 10**15), head=st.binary(min_size=32, max_size=32))
def test_checkpoints_come_back(origin: str, size: int, head: bytes) -> None:
    """What was signed is read as it was, by the holder of the public key."""
    signer = _InMemory()
    made = rules.sign_checkpoint(origin, size, head, signer)

    assert (origin, size, head) == (made.origin, made.size, made.root)
    assert made == rules.open_checkpoint(made.note, signer.public_key, VERIFIER)
    assert made == rules.read_checkpoint(made.note)


class _InMemory(FileSigner):
    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(SECRET)
        self.public_key, self.key_id = PUBLIC, hashlib.sha256(PUBLIC).hexdigest()


NOTE = rules.sign_checkpoint("example.com/book", 8, bytes.fromhex(ROOT), _InMemory()).note


@settings(max_examples=300)
@given(
    where=st.integers(0, len(NOTE) - 1),
    character=st.characters(exclude_categories=["Cs"]) | st.sampled_from("—+/= \n0A"),
)
def test_no_character_of_a_checkpoint_can_be_changed(where: int, character: str) -> None:
    """Text, signature and key hash: any other character makes it `Corrupt`."""
    changed = NOTE[:where] + character + NOTE[where + 1 :]
    if changed == NOTE:
        assert 8 == rules.open_checkpoint(changed, PUBLIC, VERIFIER).size
        return

    with pytest.raises(Corrupt) as caught:
        rules.open_checkpoint(changed, PUBLIC, VERIFIER)
    assert "corrupt-checkpoint" == caught.value.code


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n\n",
        NOTE[:-1],
        NOTE + "\n",
        " " + NOTE,
        NOTE + NOTE,
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("8\n", "08\n", 1),
        NOTE.replace("8\n", "+8\n", 1),
        NOTE.replace("8\n", "٨\n", 1),
        NOTE.replace("— ", "- ", 1),
        NOTE.partition("\n\n")[0] + "\n",
        NOTE.replace("\n\n", "\nextension\n\n", 1),
    ],
    ids=ascii,
)
def test_other_texts_are_no_checkpoints(note: str) -> None:
    """A checkpoint has one spelling."""
    with pytest.raises(Corrupt):
        rules.open_checkpoint(note, PUBLIC, VERIFIER)


def test_another_key_or_name_does_not_open_a_checkpoint(tmp_path: Path) -> None:
    """A signature counts under its own key, for its own book."""
    create_key(tmp_path / "other")
    other = FileSigner(tmp_path / "other")
    text, _, _ = NOTE.partition("\n\n")
    theirs = base64.b64encode(rules._note_key("example.com/book", PUBLIC) + other.sign((text + "\n").encode()))

    with pytest.raises(Corrupt):
        rules.open_checkpoint(NOTE, other.public_key, VERIFIER)
    with pytest.raises(Corrupt):
        rules.open_checkpoint(f"{text}\n\n— example.com/book {theirs.decode()}\n", PUBLIC, VERIFIER)


def test_witnesses_may_sign_too() -> None:
    """Further signatures before or after ours are allowed, and do not stand in for it."""
    text, _, ours = NOTE.partition("\n\n")
    witness = "— witness.example/w " + base64.b64encode(bytes(76)).decode() + "\n"

    for signatures in (ours + witness, witness + ours, witness + ours + witness):
        assert 8 == rules.open_checkpoint(f"{text}\n\n{signatures}", PUBLIC, VERIFIER).size
    with pytest.raises(Corrupt):
        rules.open_checkpoint(f"{text}\n\n{witness}", PUBLIC, VERIFIER)


@pytest.mark.parametrize("origin", ["", "a b", "a+b", "a\nb", "a\x00"])
def test_a_name_that_breaks_notes_is_not_signed(signer: FileSigner, origin: str) -> None:
    """An origin cannot smuggle lines or names into a checkpoint."""
    with pytest.raises(Invalid):
        rules.sign_checkpoint(origin, 1, bytes(32), signer)


def test_the_vectors_of_dsse() -> None:
    """The encoding that is signed is that of the DSSE specification; lengths count bytes."""
    assert b"DSSEv1 29 http://example.com/HelloWorld 11 hello world" == rules.pae(
        "http://example.com/HelloWorld", b"hello world"
    )
    assert b"DSSEv1 0  0 " == rules.pae("", b"")
    assert "DSSEv1 2 é 3 ".encode() + b"\xe2\x82\xac" == rules.pae("é", "€".encode())


def test_a_statement() -> None:
    """Subjects are sorted, and named by digests without the algorithm in front."""
    made = rules.statement({"b": "sha256:" + "2" * 64, "a": "sha256:" + "1" * 64}, "https://x/y", {"k": 1})

    assert "https://in-toto.io/Statement/v1" == made["_type"]
    assert [("a", "1" * 64), ("b", "2" * 64)] == [(s["name"], s["digest"]["sha256"]) for s in made["subject"]]
    assert ("https://x/y", {"k": 1}) == (made["predicateType"], made["predicate"])


documents_ = st.dictionaries(st.text(max_size=5), st.integers(-9, 9) | st.text(max_size=5), max_size=4)


@given(document=documents_)
def test_what_was_sealed_is_unsealed(document: dict[str, Any]) -> None:
    """The document comes back to the holder of the public key, in the JSON form of DSSE."""
    signer = _InMemory()
    envelope = rules.seal(document, signer)

    assert document == rules.unseal(envelope, PUBLIC, VERIFIER)
    assert document == rules.unseal(envelope, PUBLIC, VERIFIER, rules.PAYLOAD_TYPE)
    assert envelope == canonical.loads(canonical.dumps(envelope))
    assert {"payloadType", "payload", "signatures"} == set(envelope)
    assert [signer.key_id] == [signature["keyid"] for signature in envelope["signatures"]]


@settings(max_examples=300)
@given(data=st.data())
def test_no_character_of_an_envelope_can_be_changed(data: st.DataObject) -> None:
    """Type, payload and signature: any other character makes it `Corrupt`."""
    envelope = rules.seal({"a": 1, "b": "x"}, _InMemory())
    field = data.draw(st.sampled_from(["payloadType", "payload", "sig"]))
    text = envelope["signatures"][0]["sig"] if field == "sig" else envelope[field]
    where = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters(exclude_categories=["Cs"]) | st.sampled_from("ABab01+/=-_ \n"))
    changed = text[:where] + character + text[where + 1 :]
    if changed == text:
        return
    if field == "sig":
        envelope["signatures"] = [{**envelope["signatures"][0], "sig": changed}]
    else:
        envelope[field] = changed

    with pytest.raises(Corrupt) as caught:
        rules.unseal(envelope, PUBLIC, VERIFIER)
    assert "corrupt-envelope" == caught.value.code


@pytest.mark.parametrize(
    "change",
    [
        {"payload": None},
        {"payload": 5},
        {"payload": "ä"},
        {"payloadType": None},
        {"payloadType": 5},
        {"signatures": None},
        {"signatures": []},
        {"signatures": [None]},
        {"signatures": [{}]},
        {"signatures": [{"sig": None}]},
        {"signatures": [{"sig": ""}]},
        {"signatures": {"sig": "x"}},
    ],
    ids=str,
)
def test_malformed_envelopes_are_corrupt(change: dict[str, Any]) -> None:
    """Whatever stands in an envelope, no other error escapes."""
    envelope = {**rules.seal({"a": 1}, _InMemory()), **change}

    with pytest.raises(Corrupt):
        rules.unseal(envelope, PUBLIC, VERIFIER)
    with pytest.raises(Corrupt):
        rules.unseal({}, PUBLIC, VERIFIER)


def test_an_envelope_means_one_thing() -> None:
    """A document signed as one type is not accepted as another; one valid signature of several is enough."""
    signer = _InMemory()
    envelope = rules.seal({"a": 1}, signer, "application/vnd.example+json")
    both = {**envelope, "signatures": [{"keyid": "x", "sig": "AAAA"}, *envelope["signatures"]]}

    assert {"a": 1} == rules.unseal(both, PUBLIC, VERIFIER, "application/vnd.example+json")
    with pytest.raises(Corrupt):
        rules.unseal(envelope, PUBLIC, VERIFIER, rules.PAYLOAD_TYPE)


@pytest.mark.parametrize("payload", [b"", b"not json", b"5", b"[1]", b'{"a":1,"a":2}', b'{"a":NaN}', b"\xff"])
def test_a_signed_payload_must_be_a_document(payload: bytes) -> None:
    """A valid signature over something else is still `Corrupt`."""
    signer = _InMemory()
    signature = base64.b64encode(signer.sign(rules.pae(rules.PAYLOAD_TYPE, payload))).decode()
    envelope = {
        "payloadType": rules.PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": signer.key_id, "sig": signature}],
    }

    with pytest.raises(Corrupt):
        rules.unseal(envelope, PUBLIC, VERIFIER)
