"""What the registry asks of the rooms beside it: models that runs logged, and the bytes that a source names."""

from __future__ import annotations

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.ledger.ports import Transaction
from stellwerk.models.ports import Logged
from stellwerk.store import service as trees
from stellwerk.store.ports import Blobs
from stellwerk.tracking import rules
from stellwerk.tracking.artifacts import Artifacts
from stellwerk.tracking.logbook import Logbook
from stellwerk.tracking.logged import LoggedModels

MOST_FILES = 10_000
"""Files of one version. What has more is registered without a digest, and so never proven."""
_HERE = "mlflow-artifacts:/"


class Beside:
    """Implements `models.ports.LoggedModels` and `models.ports.Files`."""

    def __init__(self, blobs: Blobs, logbook: Logbook, artifacts: Artifacts, models: LoggedModels) -> None:
        self._blobs, self._logbook, self._artifacts, self._models = blobs, logbook, artifacts, models

    def find(self, model_id: str) -> Logged | None:
        try:
            model = self._models.get(model_id)
        except (NotFound, Invalid):
            return None
        return Logged(location=model.home, run_id=model.source_run)

    def registered(self, tx: Transaction, model_id: str, name: str, version: int) -> None:
        self._models.became(tx, model_id, name, version)

    def tree(self, source: str) -> Digest | None:
        place = self._place(source)
        if not place.startswith(_HERE) or place.startswith(_HERE + "/"):  # a host: another server's
            return None
        try:
            files = self._files(place.removeprefix(_HERE).strip("/"))
            return trees.put_files(self._blobs, files) if files else None
        except Invalid:
            return None  # a path that no tree has: the version is kept, and cannot be proven

    def _place(self, source: str) -> str:
        if not source.startswith("runs:/"):
            return source
        run, _, path = source.removeprefix("runs:/").partition("/")
        try:
            return rules.below(rules.artifacts_of(self._logbook.get(run).run), path)
        except (NotFound, Invalid):
            return ""

    def _files(self, folder: str) -> dict[str, Digest]:
        found: dict[str, Digest] = {}
        waiting = [""]
        while waiting:
            inner = waiting.pop()
            where = f"{folder}/{inner}".rstrip("/")
            for one in self._artifacts.list(where, limit=MOST_FILES + 1 - len(found)):
                path = f"{inner}/{one.name}".lstrip("/")
                if one.digest is None:
                    waiting.append(path)
                else:
                    found[path] = one.digest
            if len(found) > MOST_FILES:
                return {}
        return found
