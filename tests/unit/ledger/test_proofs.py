"""Merkle trees, checkpoints and envelopes: published vectors, all small sizes, and every kind of tampering."""

from __future__ import annotations

import base64
import hashlib
import stat
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stellwerk.core import canonical
from stellwerk.core.errors import Corrupt, Invalid, StellwerkError, Unavailable
from stellwerk.ledger import rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier, FileSigner, create_key
from stellwerk.ledger.model import Entry

LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
# The roots of the first 0, 1, 2, … leaves, from the test vectors of Certificate Transparency.
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
    (6, 7): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
MOST = 70


class Tree:
    """The stored nodes of a book, in a dictionary."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        for size, data in enumerate(leaves):
            for level, index, value in rules.new_nodes(size, rules.leaf_hash(data), self.node):
                assert (level, index) not in self.nodes
                self.nodes[level, index] = value

    def node(self, level: int, index: int) -> bytes:
        return self.nodes[level, index]


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


numbered = [str(number).encode() for number in range(MOST)]
TREE = Tree(numbered)
HEADS = [rules.root(size, TREE.node) for size in range(MOST + 1)]
HASHES = [rules.leaf_hash(data) for data in numbered]


@pytest.mark.parametrize("size", range(9))
def test_roots_of_certificate_transparency(size: int) -> None:
    """The roots of the first leaves are those that every other implementation computes."""
    assert ROOTS[size] == rules.root(size, Tree(LEAVES[:size]).node).hex()
    assert ROOTS[size] == rules.root(size, Tree(LEAVES).node).hex()


def test_proofs_of_certificate_transparency() -> None:
    """The proofs are those that every other implementation makes, and are accepted."""
    tree = Tree(LEAVES)
    for (index, size), expected in INCLUSION.items():
        proof = rules.inclusion_proof(index, size, tree.node)
        assert expected == [value.hex() for value in proof]
        assert rules.verify_inclusion(rules.leaf_hash(LEAVES[index]), index, size, proof, bytes.fromhex(ROOTS[size]))
    for (old, new), expected in CONSISTENCY.items():
        proof = rules.consistency_proof(old, new, tree.node)
        assert expected == [value.hex() for value in proof]
        assert rules.verify_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), proof)


def test_roots_of_all_small_trees() -> None:
    """Roots computed from stored nodes are those of the recursive definition."""
    assert [naive_root(numbered[:size]) for size in range(MOST + 1)] == HEADS


def test_inclusion_in_all_small_trees() -> None:
    """Every entry of every tree up to 70 is proven; the proof convinces of no other leaf, position or root."""
    for size in range(1, MOST + 1):
        for index in range(size):
            proof = rules.inclusion_proof(index, size, TREE.node)
            assert rules.verify_inclusion(HASHES[index], index, size, proof, HEADS[size])
            assert not rules.verify_inclusion(HASHES[index - 1], index, size, proof, HEADS[size]) or size == 1
            assert not rules.verify_inclusion(HASHES[index], index, size, proof, HEADS[size - 1])
            if size > 1:
                assert not rules.verify_inclusion(HASHES[index], (index + 1) % size, size, proof, HEADS[size])
                assert not rules.verify_inclusion(HASHES[index], index, size, proof[:-1], HEADS[size])
            assert not rules.verify_inclusion(HASHES[index], index, size, [*proof, HEADS[1]], HEADS[size])


def test_consistency_of_all_small_trees() -> None:
    """Every tree up to 70 is proven to begin every later one; the proof convinces of no other pair of roots."""
    for new in range(1, MOST + 1):
        for old in range(1, new + 1):
            proof = rules.consistency_proof(old, new, TREE.node)
            assert rules.verify_consistency(old, new, HEADS[old], HEADS[new], proof)
            assert not rules.verify_consistency(old, new, HEADS[old - 1], HEADS[new], proof)
            assert not rules.verify_consistency(old, new, HEADS[old], HEADS[new - 1], proof)
            assert not rules.verify_consistency(old, new, HEADS[old], HEADS[new], [*proof, HEADS[1]])
            if proof:
                assert not rules.verify_consistency(old, new, HEADS[old], HEADS[new], proof[:-1])
                assert not rules.verify_consistency(old, new, HEADS[old], HEADS[new], proof[1:])


@given(data=st.data())
def test_a_flipped_bit_breaks_a_proof(data: st.DataObject) -> None:
    """No bit of a proof can be changed."""
    new = data.draw(st.integers(2, MOST))
    old = data.draw(st.integers(1, new - 1))
    proofs = {
        "inclusion": rules.inclusion_proof(old, new, TREE.node),
        "consistency": rules.consistency_proof(old, new, TREE.node),
    }
    for kind, proof in proofs.items():
        place, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
        value = bytearray(proof[place])
        value[bit // 8] ^= 1 << bit % 8
        wrong = [*proof[:place], bytes(value), *proof[place + 1 :]]
        if kind == "inclusion":
            assert not rules.verify_inclusion(HASHES[old], old, new, wrong, HEADS[new])
        else:
            assert not rules.verify_consistency(old, new, HEADS[old], HEADS[new], wrong)


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0), (0, -1)])
def test_no_inclusion_outside_the_tree(index: int, size: int) -> None:
    """There is no proof of what is not there, and none is accepted."""
    with pytest.raises(Invalid) as caught:
        rules.inclusion_proof(index, size, TREE.node)

    assert "invalid-proof" == caught.value.code
    assert not rules.verify_inclusion(HASHES[0], index, size, [], HEADS[1])


@pytest.mark.parametrize(("old", "new"), [(0, 5), (6, 5), (-1, 5), (0, 0)])
def test_no_consistency_outside_the_tree(old: int, new: int) -> None:
    """Trees shrink never; nothing is proven from the empty tree, which begins everything."""
    with pytest.raises(Invalid):
        rules.consistency_proof(old, new, TREE.node)

    assert not rules.verify_consistency(old, new, HEADS[1], HEADS[5], [HEADS[2]])


# entries


def entry(**changes: Any) -> Entry:
    values: dict[str, Any] = {
        "sequence": 7,
        "at": datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        "workspace": "default",
        "actor": "anna",
        "kind": "run.finished",
        "subject": "run:x",
        "body": {"b": 1, "a": [1.5, None]},
        **changes,
    }
    return Entry(**values)


def test_golden_entry() -> None:
    """An entry has these bytes in version 1, for ever."""
    expected = (
        b'{"actor":"anna","at":"2026-01-02T03:04:05.000678Z","body":{"a":[1.5,null],"b":1},'
        b'"format":"stellwerk-entry/1","kind":"run.finished","sequence":7,"subject":"run:x","workspace":"default"}'
    )

    assert expected == rules.entry_bytes(entry())
    assert entry() == rules.parse_entry(expected)


@given(
    body=st.dictionaries(
        st.text(max_size=3),
        st.none() | st.booleans() | st.text(max_size=3) | st.floats(allow_nan=False, allow_infinity=False),
        max_size=3,
    ),
    sequence=st.integers(0, 2**53 - 1),
    texts=st.lists(st.text(max_size=5), min_size=4, max_size=4),
    at=st.datetimes(timezones=st.timezones(), min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),
)
def test_entries_come_back(body: dict[str, Any], sequence: int, texts: list[str], at: datetime) -> None:
    """What was written is read as it was."""
    workspace, actor, kind, subject = texts
    texts_ = {"workspace": workspace, "actor": actor, "kind": kind, "subject": subject}
    made = entry(body=body, sequence=sequence, at=at, **texts_)

    # In UTC, as Python calls times unequal that another zone's change of clock makes ambiguous.
    expected = entry(body=body, sequence=sequence, at=at.astimezone(UTC), **texts_)
    assert expected == rules.parse_entry(rules.entry_bytes(made))


@pytest.mark.parametrize(
    "change",
    [
        {"sequence": "7"},
        {"sequence": -1},
        {"sequence": 7.5},
        {"sequence": True},
        {"at": "2026-01-02"},
        {"at": "2026-01-02T03:04:05.000678+00:00"},
        {"at": "2026-01-02T03:04:05Z"},
        {"at": 5},
        {"actor": None},
        {"kind": 5},
        {"subject": ["x"]},
        {"workspace": {}},
        {"body": None},
        {"body": []},
        {"format": "stellwerk-entry/2"},
        {"format": None},
        {"extra": 1},
        None,
    ],
    ids=str,
)
def test_other_entries_are_corrupt(change: dict[str, Any] | None) -> None:
    """A wrong type, an unknown or missing field, another version or spelling is `Corrupt`; nothing else escapes."""
    document = canonical.loads(rules.entry_bytes(entry()))
    changed = canonical.dumps({**document, **change}) if change else canonical.dumps({"format": document["format"]})

    with pytest.raises(Corrupt) as caught:
        rules.parse_entry(changed)

    assert "corrupt-entry" == caught.value.code


@given(data=st.binary(max_size=30) | st.text(max_size=30).map(str.encode) | st.sampled_from([b"5", b"[]", b'"x"']))
def test_no_other_bytes_are_entries(data: bytes) -> None:
    """Whatever they are."""
    with pytest.raises(Corrupt):
        rules.parse_entry(data)


def test_only_the_canonical_spelling_is_an_entry() -> None:
    """White space or another order of keys is damage, since nobody writes it."""
    data = rules.entry_bytes(entry())

    with pytest.raises(Corrupt):
        rules.parse_entry(data.replace(b",", b", ", 1))


# keys

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


# checkpoints


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
    note = rules.sign_checkpoint("example.com/book", 8, bytes.fromhex(ROOTS[8]), signer).note

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


NOTE = rules.sign_checkpoint("example.com/book", 8, bytes.fromhex(ROOTS[8]), _InMemory()).note


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


# envelopes


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
