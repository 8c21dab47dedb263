"""What is made: executions of pipelines, datasets, models, and what of these may run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stellwerk.core.errors import NotFound
from stellwerk.workspace.rooms.built import built
from stellwerk.workspace.rooms.tracked import Tracked

if TYPE_CHECKING:
    from stellwerk.core.digest import Digest
    from stellwerk.data.foreign import ForeignDigests
    from stellwerk.data.service import Datasets
    from stellwerk.models.adopting import Adoption as ModelAdoption
    from stellwerk.models.catalogue import Catalogue
    from stellwerk.models.ports import Releases
    from stellwerk.models.service import Registry
    from stellwerk.pipelines.executions import Executions, Waits
    from stellwerk.pipelines.lending import Lending
    from stellwerk.pipelines.offers import Offers
    from stellwerk.releases.service import Interlocking
    from stellwerk.workspace.registering import Beside


class Made(Tracked):
    """The rooms in which something is made."""

    @built
    def interlocking(self) -> Interlocking:
        from stellwerk.releases.service import Interlocking

        return Interlocking(self.book, self.blobs, self.clock, self.signer)

    @built
    def releases(self) -> Releases:
        return _Releases(self)

    @built
    def executions(self) -> Executions:
        from stellwerk.pipelines.executions import Executions

        return Executions(self.book, self.clock, self.runs)

    @built
    def waits(self) -> Waits:
        from stellwerk.pipelines.executions import Waits

        return Waits(self.book)

    @built
    def offers(self) -> Offers:
        from stellwerk.pipelines.offers import Offers

        return Offers(self.book, self.clock)

    @built
    def lending(self) -> Lending:
        from stellwerk.pipelines.lending import Lending

        return Lending(self.book, self.blobs, self.clock, self.layout.identity)

    @built
    def datasets(self) -> Datasets:
        from stellwerk.data.service import Datasets

        return Datasets(self.book, self.blobs, self.clock)

    @built
    def foreign(self) -> ForeignDigests:
        from stellwerk.data.foreign import ForeignDigests

        return ForeignDigests(self.book, self.blobs)

    @built
    def registry(self) -> Registry:
        from stellwerk.models.service import Registry

        return Registry(self.book, self.clock, self.releases)

    @built
    def beside(self) -> Beside:
        from stellwerk.workspace.registering import Beside

        return Beside(self.blobs, self.logbook, self.artifacts, self.logged_models)

    @built
    def catalogue(self) -> Catalogue:
        from stellwerk.models.adapters.finder import SqlModels
        from stellwerk.models.catalogue import Catalogue

        return Catalogue(
            self.book,
            self.clock,
            SqlModels(),
            releases=self.releases,
            knows_run=self._knows_run,
            logged=self.beside,
            files=self.beside,
        )

    @built
    def model_adoption(self) -> ModelAdoption:
        from stellwerk.models.adopting import Adoption as ModelAdoption

        return ModelAdoption(self.book, self.releases)

    def _knows_run(self, run_id: str) -> bool:
        try:
            self.runs.get(run_id)
        except NotFound:
            return False
        return True


class _Releases:
    """Releases as the registry asks about them: their room is only built where an alias is protected."""

    def __init__(self, rooms: Made) -> None:
        self._rooms = rooms

    def clear(self, digest: Digest) -> bool:
        return self._rooms.interlocking.clear(digest)

    def named(self, digest: Digest) -> bool:
        return self._rooms.interlocking.named(digest)
