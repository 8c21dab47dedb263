"""Reading lock files: what is pinned is read, whatever is not pinned or holds a secret is refused with its line."""

import pytest

from stellwerk.core.errors import Invalid, Refused
from stellwerk.pipelines import locks

ONE, TWO = "a" * 64, "b" * 64
REQUIREMENTS = f"""\
# made by a tool
--index-url https://pypi.example/simple
polars==1.30.0 ; python_version < '3.14' \\
    --hash=sha256:{TWO} \\
    --hash=sha256:{ONE}
    # via -r requirements.in
Scikit_Learn[extra] == 1.7.1 --hash=sha256:{ONE}  # a comment
"""
PYLOCK = f"""\
lock-version = "1.0"
created-by = "uv"

[[packages]]
name = "polars"
version = "1.30.0"
marker = "python_version < '3.14'"
sdist = {{ url = "https://x/p.tar.gz", hashes = {{ sha256 = "{ONE}" }} }}
wheels = [{{ url = "https://x/p.whl", hashes = {{ sha256 = "{TWO}" }} }}]
"""
UV = f"""\
version = 1

[[package]]
name = "polars"
version = "1.30.0"
source = {{ registry = "https://pypi.org/simple" }}
sdist = {{ url = "https://x/p.tar.gz", hash = "sha256:{ONE}" }}

[[package]]
name = "mine"
version = "0.1"
source = {{ editable = "." }}
"""


def test_a_requirements_file_in_normal_form() -> None:
    """Comments, order and continuation lines do not matter; names and hashes have one spelling."""
    lock = locks.read("requirements.txt", REQUIREMENTS.encode())

    assert lock.hashed
    assert (
        "--index-url https://pypi.example/simple\n"
        f"polars==1.30.0 ; python_version < '3.14' --hash=sha256:{ONE} --hash=sha256:{TWO}\n"
        f"scikit-learn[extra]==1.7.1 --hash=sha256:{ONE}\n"
    ) == lock.text
    assert ["polars", "scikit-learn"] == [pin.name for pin in lock.pins]
    assert lock.digest == locks.read("x.txt", lock.text.encode()).digest


def test_a_pylock() -> None:
    """PEP 751: name, version, marker and all hashes."""
    lock = locks.read("pylock.gpu.toml", PYLOCK.encode())

    assert ("polars==1.30.0 ; python_version < '3.14'", {f"sha256:{ONE}", f"sha256:{TWO}"}) == (
        lock.pins[0].text, set(lock.pins[0].hashes),
    )  # fmt: skip


def test_a_uv_lock_knows_hashes() -> None:
    """Of published packages; the project itself has none."""
    known = locks.known_hashes([locks.read("uv.lock", UV.encode())])

    assert {("polars", "1.30.0"): (f"sha256:{ONE}",)} == known
    assert locks.exactly(["polars==1.30.0"]).with_hashes(known).hashed
    assert not locks.exactly(["polars==1.30.1"]).with_hashes(known).hashed


def test_a_lock_without_some_packages() -> None:
    """However their names are written."""
    lock = locks.exactly(["a-b==1", "c==2"]).without(["A_B"])

    assert "c==2\n" == lock.text


@pytest.mark.parametrize(
    "line",
    [
        "polars",
        "polars>=1.30",
        "polars==1.*",
        "-e .",
        "-r other.txt",
        "--hash=sha256:00",
        "./folder",
        "x @ https://y/z.whl",
    ],
)
def test_what_is_not_pinned_is_refused(line: str) -> None:
    """With its line."""
    with pytest.raises(Invalid) as caught:
        locks.read("lock.txt", f"good==1\n{line}\n".encode())

    assert "not-a-lock" == caught.value.code
    assert "line 2 of lock.txt" in caught.value.message


@pytest.mark.parametrize(
    "text", ["--index-url https://me:secret@host/simple\n", "x @ https://t@h/x.whl --hash=sha256:00"]
)
def test_a_secret_is_refused(text: str) -> None:
    """A lock is kept with every run, so no password may be in it; the message does not repeat it."""
    with pytest.raises(Refused) as caught:
        locks.read("lock.txt", text.encode())

    assert "secret-in-lock" == caught.value.code
    assert "secret@" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "data"), [("x.txt", b"\xff\xfe"), ("pylock.toml", b"[["), ("pylock.toml", b"a = 1")]
)
def test_what_is_no_lock_is_refused(name: str, data: bytes) -> None:
    """Other bytes, other TOML."""
    with pytest.raises(Invalid) as caught:
        locks.read(name, data)

    assert "not-a-lock" == caught.value.code
