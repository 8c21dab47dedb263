"""Failpoints are off in production, fire exactly once where asked, and are all declared."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import stellwerk
from stellwerk.core import failpoints

SOURCE = Path(stellwerk.__file__).parent


def test_off_unless_asked_for() -> None:
    """Without `STELLWERK_FAIL` passing a failpoint does nothing."""
    failpoints.hit("no such failpoint")

    assert "no such failpoint" not in failpoints.NAMES


def test_every_failpoint_is_declared() -> None:
    """Each name that the code passes was declared, so that a test can demand that each was hit; and no other was."""
    passed, declared = set(), set()
    for file in SOURCE.rglob("*.py"):
        text = file.read_text("utf-8")
        passed |= set(re.findall(r"""\b(?:failpoints\.hit|_?failpoint|publish)\((?:[^")]*, )?"([^"]+)"\)""", text))
        for names in re.findall(r"failpoints\.declare\(([^)]*)\)", text):
            declared |= set(re.findall(r'"([^"]+)"', names))

    assert passed == declared
    assert {"blob.link", "ledger.commit"} <= passed


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ("a:full:2", ["ok", "ENOSPC", "ok"]),
        ("a:eio:1,a:full:3", ["EIO", "ok", "ENOSPC"]),
        ("b:full:1", ["ok", "ok", "ok"]),
        ("", ["ok", "ok", "ok"]),
    ],
)
def test_fires_at_the_nth_passing(plan: str, expected: list[str]) -> None:
    """The plan names which passing fails, and how; the others are untouched."""
    code = (
        "import errno\n"
        "from stellwerk.core import failpoints\n"
        "for _ in range(3):\n"
        "    try:\n"
        "        failpoints.hit('a'); print('ok')\n"
        "    except OSError as error:\n"
        "        print(errno.errorcode[error.errno])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"STELLWERK_FAIL": plan, "PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert expected == done.stdout.split()
