"""Endpoint servers of a workspace: tokens from the interlocking, models from the store, the log in its spool."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

from stellwerk.core.clock import monotonic
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Refused
from stellwerk.evidence.scan import scan_files
from stellwerk.models.model import Signature
from stellwerk.serving.service import EndpointServer
from stellwerk.store import service as trees

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from stellwerk.models.tabular import TabularModel
    from stellwerk.workspace.rooms import Rooms

TOKEN_SECONDS = 0.25
"""A minted token is reused this long; how late a revocation in this process can be seen."""
TOKEN_REUSE = timedelta(seconds=5)


class RoomTokens:
    """Implements `serving.ports.Tokens`: asks the interlocking of the same workspace."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._kept: dict[str, tuple[float, datetime, Any]] = {}

    def current(self, endpoint: str) -> Mapping[str, Any] | None:
        now = self._rooms.clock.now()
        kept = self._kept.get(endpoint)
        # Both clocks are asked, because simulated time jumps.
        if kept is not None and monotonic() - kept[0] < TOKEN_SECONDS and abs(now - kept[1]) < TOKEN_REUSE:
            return kept[2]  # type: ignore[no-any-return]
        token = self._rooms.interlocking.token(endpoint, self._rooms.layout.workspace)
        self._kept[endpoint] = (monotonic(), now, token)
        return token


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """Implements `serving.ports.Loaded`."""

    digest: Digest
    model: TabularModel

    @property
    def signature(self) -> Signature:
        return self.model.signature

    def predict(self, columns: Mapping[str, Sequence[Any]]) -> NDArray[np.float64]:
        from stellwerk.models.encoding import encode_columns  # needs numpy, as every model that was loaded does

        rows = encode_columns(self.signature, columns)
        return self.model.values(rows) if self.signature.task == "regression" else self.model.probabilities(rows)


class StoreModels:
    """Implements `serving.ports.Models`: verified bytes, and only completely parsed plain data."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms

    def load(self, digest: Digest) -> LoadedModel:
        blobs = self._rooms.blobs
        files = {name: blobs.get(part) for name, part in trees.files(blobs, digest).items()}
        report = scan_files(files)
        if not report.clean:
            raise Refused("the model's files are not plain data; they are not loaded", code="executable-format")
        return LoadedModel(digest=digest, model=_reader()(files))


def _reader() -> Callable[[dict[str, bytes]], TabularModel]:
    """What reads models: 170 MB of libraries, which a server that only tracks does without."""
    from stellwerk.models.adapters import skops_format

    return skops_format.load


class Servers(Mapping[str, EndpointServer]):
    """The servers of all declared endpoints; one that is declared later is found when it is first asked for."""

    def __init__(self, rooms: Rooms, only: str = "") -> None:
        self._rooms, self._only = rooms, only
        self._tokens, self._models = RoomTokens(rooms), StoreModels(rooms)
        self._servers: dict[str, EndpointServer] = {}
        self._lock = Lock()
        if self._names():
            _reader()  # now, and not while the first caller waits

    def __getitem__(self, endpoint: str) -> EndpointServer:
        with self._lock:
            if endpoint not in self._servers:
                if endpoint not in self._names():
                    raise KeyError(endpoint)
                self._servers[endpoint] = self._server(endpoint)
            return self._servers[endpoint]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> list[str]:
        names = [endpoint.name for endpoint in self._rooms.interlocking.endpoints()]
        return [name for name in names if not self._only or name == self._only]

    def _server(self, endpoint: str) -> EndpointServer:
        rooms = self._rooms
        declared = rooms.interlocking.endpoint(endpoint)
        return EndpointServer(
            endpoint=endpoint,
            environment=declared.environment,
            workspace=rooms.layout.workspace,
            tokens=self._tokens,
            models=self._models,
            log=rooms.predictions.log(endpoint, declared.subject),
            clock=rooms.clock,
            verifier=rooms.verifier,
            keys=lambda: rooms.token_keys(),
            fallback=declared.fallback,
            queue=declared.steering.review_queue,
            context=(*declared.slices.by, *filter(None, [declared.subject])),
        )
