"""What is judged, and what may run: evidence, releases, what is seen in production, cases for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stellwerk.workspace.rooms.built import built
from stellwerk.workspace.rooms.made import Made

if TYPE_CHECKING:
    from stellwerk.evidence.service import Gates, Notary
    from stellwerk.monitoring.service import Monitoring
    from stellwerk.releases.proving import Prover
    from stellwerk.reviews.service import Inbox
    from stellwerk.workspace.examining import SandboxExaminer
    from stellwerk.workspace.predictions import Predictions


class Judged(Made):
    """The rooms in which is judged."""

    @built
    def inbox(self) -> Inbox:
        from stellwerk.reviews.service import Inbox

        return Inbox(self.book, self.clock)

    @built
    def gates(self) -> Gates:
        from stellwerk.evidence.adapters.sealing import FileSealer
        from stellwerk.evidence.service import Gates

        return Gates(self.book, self.blobs, self.clock, FileSealer(self.layout.sealing_key))

    @built
    def notary(self) -> Notary:
        from stellwerk.evidence.service import Notary

        return Notary(self.book, self.blobs, self.clock, self.signer)

    @built
    def examiner(self) -> SandboxExaminer:
        from stellwerk.workspace.examining import SandboxExaminer

        return SandboxExaminer(
            blobs=self.blobs,
            registry=self.registry,
            datasets=self.datasets,
            runs=self.runs,
            allow_unsandboxed=self.settings.allow_unsandboxed,
        )

    @built
    def prover(self) -> Prover:
        from stellwerk.releases.proving import Prover

        return Prover(self.book, self.blobs, self.clock, self.gates, self.notary, self.examiner, self.say)

    @built
    def predictions(self) -> Predictions:
        from stellwerk.workspace.predictions import Predictions

        return Predictions(
            folder=self.layout.predictions,
            book=self.book,
            blobs=self.blobs,
            clock=self.clock,
            inbox=self.inbox,
            interlocking=self.interlocking,
            vault=self.vault,
        )

    @built
    def monitoring(self) -> Monitoring:
        from stellwerk.monitoring.service import Monitoring

        return Monitoring(self.book, self.blobs, self.clock, self.predictions)
