"""The ledger, in Python: its head, proofs, bundles and keys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stellwerk.workspace import operations as ops
from stellwerk.workspace.nouns.asking import call

if TYPE_CHECKING:
    from stellwerk.ledger.model import Head, KeyLink
    from stellwerk.workspace.bundling import Exported
    from stellwerk.workspace.ports import Caller


class Ledger:
    """The book of a workspace: what it proves, and the keys that sign it."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def checkpoint(self, *, since: int = 0) -> Head:
        """The newest signed checkpoint, with proof that the book of `since` entries begins it."""
        return call(self._caller, ops.newest_checkpoint, since=since)

    def entry(self, sequence: int) -> str:
        """The exact text of an entry."""
        return call(self._caller, ops.entry_text, sequence=sequence)

    def inclusion(self, sequence: int, size: int) -> tuple[str, ...]:
        """Proof, in hex, that an entry is among the first `size`."""
        return call(self._caller, ops.prove_inclusion, sequence=sequence, size=size)

    def consistency(self, old: int, new: int) -> tuple[str, ...]:
        """Proof, in hex, that the first `old` entries begin the first `new`."""
        return call(self._caller, ops.prove_consistency, old=old, new=new)

    def export(self, file: str | Path) -> Exported:
        """Write the whole book up to its newest checkpoint into one file that is verified without the workspace."""
        from stellwerk.workspace.bundling import export

        return export(self._caller, Path(file))

    def keys(self) -> tuple[KeyLink, ...]:
        """All signing keys, oldest first."""
        return call(self._caller, ops.list_keys)

    def rotate(self, *, why: str, compromised: bool = False) -> KeyLink:
        """Replace the signing key; with `compromised`, nothing that the old one signed shortly before counts."""
        return call(self._caller, ops.rotate_key, why=why, compromised=compromised)
