"""Names of Weights & Biases where only some signs may be in a name: others become `_`, and that is said."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

from stellwerk.core.errors import Invalid
from stellwerk.tracking import rules

_UNFIT = re.compile(r"[^/\w.\- :]")
_RUN = "wandb-"


class Names:
    """Gives names to keys of one kind, each key always the same and no two keys one.

    Args:
        keys: Those that need a name. What fits keeps its own.
    """

    def __init__(self, keys: Iterable[str]) -> None:
        found = sorted(set(keys))
        self._names = {key: key for key in found if fits(key)}
        self.renamed: dict[str, str] = {}
        self.unfit: list[str] = []
        taken = set(self._names)
        for key in found:
            if key in self._names:
                continue
            name = _UNFIT.sub("_", key)
            if not fits(name) or name in taken:
                self.unfit.append(key)
            else:
                taken.add(name)
                self._names[key] = self.renamed[key] = name

    def of(self, key: str) -> str | None:
        """The name of a key; None where it can have none."""
        return self._names.get(key)


def fits(key: str) -> bool:
    """Whether a key may be a name here."""
    try:
        rules.check_key(key, "")
    except Invalid:
        return False
    return 0 < len(key) <= rules.MAX_KEY


def run_id(project: str, said: str, *, taken: bool) -> str:
    """The id of a run here: its own, if it may be one and no run of another project has it."""
    try:
        rules.check_run_id(said)
    except Invalid:
        taken = True
    return _RUN + sha256(f"{project}\0{said}".encode("utf-8", "replace")).hexdigest()[:24] if taken else said
