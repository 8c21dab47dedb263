"""What can be seen of a workspace, and what is said of its models."""

from __future__ import annotations

import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Refused
from stellwerk.governance.dossier import markdown
from stellwerk.testing import worlds
from stellwerk.testing.workspaces.life import Life
from stellwerk.testing.workspaces.releases import Releases
from stellwerk.testing.worlds import DATASET, ENDPOINT
from stellwerk.workspace.facade import Workspace


class Views(Releases):
    """Board, traces, story and dossier tell the same life."""

    def test_the_board(self, life: Life, data: Workspace) -> None:
        """Signal, lease, release, counts and the next step of the endpoint; runs and events."""
        board = data.board()
        (card,) = board.endpoints

        assert (worlds.OWNER, "clear", 60) == (board.actor, card.signal, card.predictions)
        assert card.release is not None
        assert life.release.id == card.release.id
        assert card.lease_left_days is not None
        assert 29.9 < card.lease_left_days <= 30
        assert card.open_cases == len(data.inbox(endpoint=ENDPOINT, limit=200))
        assert card.next_step
        assert life.first.run.id in {run.id for run in board.runs}
        sequences = [event.sequence for event in board.events]
        assert sorted(sequences, reverse=True) == sequences
        assert "release.granted" in {event.kind for event in board.events}
        assert board.entries > 30

    def test_a_trace_reaches_the_raw_bytes(self, life: Life, data: Workspace) -> None:
        """From one answer to code, environment and dataset, every digest re-verified, nothing failed."""
        up = data.trace(life.prediction)
        kinds = {node.kind for node in up.graph.nodes}

        assert () == up.failed
        assert () == up.unproven
        assert {"prediction", "segment", "release", "verdict", "plan", "evidence", "gate", "model", "run", "code",
                "environment", "dataset", "file"} <= kinds  # fmt: skip
        assert up.verified > 15
        assert data.data.get(DATASET).digest in {node.digest for node in up.graph.nodes}

    def test_a_trace_reaches_what_was_made(self, life: Life, data: Workspace) -> None:
        """From the dataset on to model, release and answers; from the first version also to the second."""
        down = data.trace(data.data.get(DATASET).digest, down=True)
        older = data.trace(data.data.get(DATASET, 1).digest, down=True)
        ids = {node.id for node in down.graph.nodes}

        assert {life.release.model, f"release:{life.release.id}"} <= ids
        assert "segment" in {node.kind for node in down.graph.nodes}
        assert ids <= {node.id for node in older.graph.nodes}
        assert () == down.failed

    @pytest.mark.parametrize("subject", ["run", "release", "model"])
    def test_traces_begin_anywhere(self, life: Life, data: Workspace, subject: str) -> None:
        """From a run, a release, or a model, up and down."""
        begin = {"run": life.first.run.id, "release": life.release.id, "model": life.release.model}[subject]

        unknown = data.trace(of_bytes(b"nothing"))

        assert (1, 1) == (len(unknown.failed), len(unknown.unproven))
        assert data.trace(begin).graph.nodes
        assert data.trace(begin, down=True).graph.nodes

    def test_story_and_dossier(self, life: Life, data: Workspace) -> None:
        """What happened, in order, with numbers; and a document that names the evidence."""
        story = data.story(ENDPOINT)
        document = data.dossier(life.release.id)
        text = markdown(document)

        assert sorted(line.sequence for line in story) == [line.sequence for line in story]
        assert any("release" in line.what for line in story)
        assert life.release.model in text
        assert life.verdict.plan in text
        assert "floor:auroc" in text
        assert f"{DATASET}@2" in text

    def test_the_book_and_the_store_are_whole(self, life: Life, data: Workspace) -> None:
        """Independent code finds nothing; what is verified is signed."""
        report = data.verify()

        assert () == report.findings
        assert report.entries == data.board().entries
        assert report.root in report.checkpoint
        assert () == data.fsck()

    def test_a_protected_alias_follows_the_release(self, life: Life, data: Workspace) -> None:
        """It moves to what may run and nowhere else, and what was released does not go away."""
        guarded = data.models.protect("production")
        data.models.alias(ENDPOINT, "production", 1)

        assert (guarded,) == data.models.protected()
        for code, act in (
            ("protected-alias", lambda: data.models.alias(ENDPOINT, "production", 2)),
            ("protected-alias", lambda: data.models.unalias(ENDPOINT, "production")),
            ("released-version", lambda: data.models.delete(ENDPOINT, 1)),
        ):
            with pytest.raises(Refused) as caught:
                act()
            assert code == caught.value.code
        assert life.release.model == data.models.get(f"{ENDPOINT}@production").digest
        assert guarded == data.models.unprotect("production")
        data.models.unalias(ENDPOINT, "production")

    def test_what_is_said_of_models(self, life: Life, data: Workspace) -> None:
        """Descriptions and tags change, of a model and of a version; what the version is stays."""
        before = data.models.get(f"{ENDPOINT}@2")
        data.models.describe(ENDPOINT, description="Late?", tags={"team": "risk", "old": ""})
        data.models.describe(ENDPOINT, untag=["old"])
        data.models.describe(ENDPOINT, 2, description="weaker", tags={"kind": "linear"})
        about, version = data.models.about(ENDPOINT), data.models.get(f"{ENDPOINT}@2")

        assert ("Late?", {"team": "risk"}, 2) == (about.description, about.tags, about.last)
        assert ("weaker", {"kind": "linear"}) == (version.description, version.tags)
        assert (before.digest, before.created_at) == (version.digest, version.created_at)
