"""What names in plans mean in a workspace, and what its built-in steps read there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stellwerk.core.errors import NotFound
from stellwerk.pipelines.model import Stored
from stellwerk.pipelines.values import PARQUET, STANDARD
from stellwerk.workspace import builtins, here
from stellwerk.workspace import operations as ops

if TYPE_CHECKING:
    from stellwerk.workspace.ports import Caller


@dataclass
class Names:
    """The resolver of the engine, on the operations of a workspace.

    Args:
        project: The folder that the paths of files are relative to.
        tuned: Where the functions were loaded from that nodes tune.
    """

    caller: Caller
    project: Path
    tuned: Mapping[str, str] = field(default_factory=dict)

    def dataset(self, name: str, version: int | None, as_of: datetime | None) -> Stored:
        blob = self.caller.call(ops.table_of_data, {"name": name, "version": version, "as_of": as_of})
        return Stored(digest=blob, media=PARQUET)

    def file(self, path: str) -> Stored:
        place = self.project / path
        inside = place.resolve().is_relative_to(self.project.resolve())
        if not inside or not place.is_file():
            raise NotFound(
                f"there is no file {path!r} in {self.project.name or 'the project'}",
                code="no-such-file",
                hint="paths of a pipeline's files are relative to the folder of the pipeline file",
            )
        encoded = STANDARD.encode(place)
        return Stored(digest=self.caller.blobs.put(encoded.data), media=encoded.media)

    def pin(self, builtin: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if builtin == "tune":
            return here.pinned(params, self.tuned)
        if builtin != "contract":
            return dict(params)
        changes = {name: dict(rule) for name, rule in (params.get("changes") or {}).items()}
        confirmed = self.caller.call(ops.confirm_contract, {"name": params["name"], "changes": changes})
        return {**params, "version": confirmed.version}

    # For built-in steps

    def contract(self, name: str) -> Any:
        """The contract of a name."""
        found = self.caller.call(ops.get_contract, {"name": name})
        if found is None:
            raise NotFound(f"no contract for {name!r}", code="no-contract", hint="`stellwerk data add` drafts one")
        return found

    def seal(self, *, features: bytes, labels: bytes, **facts: Any) -> Any:
        """Seal a gate set."""
        plain = {"features": builtins.encode_bytes(features), "labels": builtins.encode_bytes(labels)}
        return self.caller.call(ops.seal_gate, {**plain, **facts})
