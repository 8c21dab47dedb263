"""Large files can be kept by linking them: no second copy, and still versions that share what did not change."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from stellwerk.testing import worlds

LARGE = random.Random(11).randbytes(20 << 20)


@pytest.mark.parametrize("alone", [True, False])
def test_an_adopted_file_is_the_stores_own(tmp_path: Path, alone: bool) -> None:
    """It takes no room of its own and reads as unchanged; a later version costs what changed; the old one comes back."""
    file = tmp_path / "weights.bin" if alone else tmp_path / "model" / "weights.bin"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(LARGE)
    file.chmod(0o755)
    tracked = file if alone else file.parent
    with worlds.workspace(tmp_path) as house:
        packs = tmp_path / ".stellwerk" / "blobs" / "packs"
        blobs: Any = house._caller.blobs

        first = house.data.add_files(tracked, name="weights", adopt=True).version
        assert 2 == file.stat().st_nlink
        assert 0o555 == file.stat().st_mode & 0o777
        assert [] == list(packs.iterdir())
        assert [("same", 0)] == [(found.state, found.changed) for found in house.data.status(tracked)]

        shutil.copyfile(file, tmp_path / "copy")
        file.unlink()
        file.write_bytes((tmp_path / "copy").read_bytes()[: 15 << 20] + b"changed" + LARGE[15 << 20 :])
        second = house.data.add_files(tracked, name="weights").version
        assert sum(path.stat().st_size for path in packs.iterdir()) < 4 << 20

        house.data.checkout_version(f"weights@{first.version}", tracked, force=True)
        assert LARGE == file.read_bytes()
        assert first.digest != second.digest
        assert [] == [damage for damage in house.fsck() if damage.severity == "error"]
        assert blobs.sweep() == 0
