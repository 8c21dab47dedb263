"""The book of a workspace: proofs, keys, and the end of its life."""

from __future__ import annotations

import pytest

from stellwerk.core.errors import Invalid, NotFound, Refused
from stellwerk.ledger import keys, rules
from stellwerk.ledger.adapters.ed25519 import Ed25519Verifier
from stellwerk.testing import worlds
from stellwerk.testing.workspaces.life import WORLD, Life
from stellwerk.testing.workspaces.mistakes import Mistakes
from stellwerk.testing.worlds import ENDPOINT, Ask
from stellwerk.workspace.facade import Workspace


class Book(Mistakes):
    """The book proves itself, whoever asks, to the end."""

    def test_the_book_proves_itself(self, data: Workspace) -> None:
        """An entry is proven to be in the signed book, and an earlier book to begin it, without trusting the server."""
        data.verify()
        head = data.ledger.checkpoint(since=2)
        signed = keys.open_checkpoint(head.note, head.keys, Ed25519Verifier())
        leaf = rules.leaf_hash(data.ledger.entry(1).encode())
        path = [bytes.fromhex(node) for node in data.ledger.inclusion(1, signed.size)]
        two = rules.node_hash(rules.leaf_hash(data.ledger.entry(0).encode()), leaf)
        proof = [bytes.fromhex(node) for node in head.consistency]

        assert rules.verify_inclusion(leaf, 1, signed.size, path, signed.root)
        assert rules.verify_consistency(2, signed.size, two, signed.root, proof)
        assert head.consistency == data.ledger.consistency(2, signed.size)
        for asked in (lambda: data.ledger.entry(10**9), lambda: data.ledger.entry(-1),
                      lambda: data.ledger.inclusion(1, 10**9), lambda: data.ledger.inclusion(5, 5),
                      lambda: data.ledger.consistency(5, 10**9), lambda: data.ledger.consistency(0, 5)):  # fmt: skip
            with pytest.raises((Invalid, NotFound)):
                asked()

    def test_a_checkpoint_kept_elsewhere_is_compared(self, data: Workspace) -> None:
        """`verify` finds that the book begins as an honest copy says, and not as a forged one does."""
        data.verify()
        kept = data.ledger.checkpoint().note
        forged = kept.replace("\n", "\n1", 1)

        assert () == data.verify(against=[kept]).findings
        assert [] != list(data.verify(against=[forged]).findings)
        assert [] != list(data.verify(against=["no checkpoint"]).findings)

    def test_the_key_is_rotated_while_callers_ask(self, life: Life, data: Workspace, ask: Ask) -> None:
        """The signal stays clear, answers go on, what the old key signed is verified still, the book stays whole."""
        before = data.ledger.keys()
        new = data.ledger.rotate(why="a drill")
        ask(worlds.questions(WORLD.parcels(1, 11)))
        trace = data.trace(life.release.id)

        assert (1, before[0].key, False) == (new.number, new.previous, new.compromised)
        assert (*before, new) == data.ledger.keys()
        assert "clear" == data.signal(ENDPOINT).signal
        assert () == trace.failed
        assert (new.key, ()) == (data.verify().key, data.verify().findings)

    def test_a_compromised_key_is_replaced(self, life: Life, data: Workspace, ask: Ask) -> None:
        """Answers go on under the newest key; statements from before the change still count."""
        new = data.ledger.rotate(why="the key was seen on a desk", compromised=True)
        ask(worlds.questions(WORLD.parcels(1, 12)))

        assert (2, True) == (new.number, new.compromised)
        assert "clear" == data.signal(ENDPOINT).signal
        assert () == data.trace(life.release.id).failed
        with pytest.raises(Invalid):
            data.ledger.rotate(why=" ")

    def test_a_stop_is_at_once(self, life: Life, data: Workspace, ask: Ask) -> None:
        """The signal falls, callers are refused, a second stop has nothing to stop; the book tells why."""
        (stopped,) = data.stop(ENDPOINT, why="a drill")
        with pytest.raises(NotFound) as caught:
            data.stop(ENDPOINT, why="again")

        assert ("stopped", "a drill") == (stopped.status, stopped.ended_why)
        assert "no-release" == caught.value.code
        assert "stop" == data.signal(ENDPOINT).signal
        assert any("a drill" in line.numbers for line in data.story(ENDPOINT))
        self.wait_for_stop(ask)

    def wait_for_stop(self, ask: Ask) -> None:
        """Within the time for which servers keep a token, no caller gets an answer any more."""
        for _ in range(200):
            try:
                ask(worlds.questions(WORLD.parcels(1, 9)))
            except (Refused, AssertionError) as refusal:
                assert "stop" in str(refusal)
                return
        raise AssertionError("a stopped endpoint still answers")

    def test_a_person_may_undo_a_stop(self, life: Life, data: Workspace) -> None:
        """The verdict still holds, because no harm was proven."""
        release = data.release(ENDPOINT)

        assert (life.verdict.id, "clear") == (release.verdict, data.signal(ENDPOINT).signal)
        assert ["stopped", "active"] == [item.status for item in data.releases(ENDPOINT)]

    def test_everything_is_still_whole(self, data: Workspace) -> None:
        """At the end of this life nothing is damaged, and no run is left open."""
        assert ((), ()) == (data.verify().findings, data.fsck())
        assert {"finished"} == {run.status for run in data.runs(limit=1000)}
