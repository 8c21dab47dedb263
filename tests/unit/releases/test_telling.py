"""A row of a release that is not what the ledger tells permits nothing, and `verify` finds it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from stellwerk.core.errors import Corrupt
from stellwerk.releases.model import Release
from stellwerk.releases.shelves import ENDPOINTS, RELEASES
from stellwerk.testing.releases import Box, an_endpoint

DAY = timedelta(days=1)


def put(box: Box, *releases: Release) -> None:
    """Change rows behind the ledger's back."""
    with box.book.write() as tx:
        for release in releases:
            RELEASES.put(tx, release)
        tx.record("test.tampered", "test:1")


def test_what_the_rooms_write_is_what_the_ledger_tells(box: Box) -> None:
    """Through every step of a release's life, rows and entries say the same."""
    with box.book.write() as tx:
        ENDPOINTS.put(tx, replace(an_endpoint(), fallback="previous"))
        tx.record("test.declared", "test:1")
    steps = [
        lambda: box.grant(1),
        lambda: box.interlocking.caution("delay", "drift"),
        lambda: box.interlocking.renew("delay", 20 * DAY, "fit", {}),
        lambda: box.interlocking.not_renewed("delay", ["nothing to see"]),
        lambda: box.interlocking.caution("delay", "drift again"),
        lambda: box.grant(2),
        lambda: box.interlocking.stop("delay", "a drill"),
        lambda: box.interlocking.stop("delay", "harm", harmful=True),
        lambda: box.grant(3),
    ]
    for step in steps:
        step()
        assert [] == box.interlocking.untold()
        box.clock.advance(timedelta(hours=1))

    first = box.interlocking.history("delay")[0]
    box.interlocking.stop("delay", "harm", harmful=True, release=first.id)
    assert [] == box.interlocking.untold()
    assert "superseded" not in {box.interlocking.active("delay").status}  # type: ignore[union-attr]


TAMPERED: dict[str, dict[str, Any]] = {
    "expires_at": {"expires_at": None},
    "model": {"model": "sha256:" + "0" * 64},
    "audit_share": {"audit_share": 0.0001},
    "routed": {"routed": ()},
    "verdict": {"verdict": "another"},
    "statement": {"statement": "sha256:" + "0" * 64},
    "lease_method": {"lease_method": "another"},
    "harmful": {"harmful": True},
}


@pytest.mark.parametrize("field", TAMPERED)
def test_an_edited_release_permits_nothing(box: Box, field: str) -> None:
    """Whichever field it is: no token is minted, and the row is named."""
    release = box.grant()
    assert box.interlocking.token("delay", "w") is not None
    changes = {"expires_at": release.expires_at + 365 * DAY} if field == "expires_at" else TAMPERED[field]
    put(box, replace(release, **changes))

    with pytest.raises(Corrupt) as caught:
        box.interlocking.token("delay", "w")

    assert ("corrupt-release", True) == (caught.value.code, field in caught.value.message)
    assert [(release.id, field)] == box.interlocking.untold()


def test_a_stopped_release_that_was_made_active_again(box: Box) -> None:
    """What a person stopped stays stopped, whatever the row says."""
    release = box.grant()
    box.interlocking.stop("delay", "a drill")
    put(box, release)

    with pytest.raises(Corrupt):
        box.interlocking.token("delay", "w")
    assert [(release.id, "status")] == box.interlocking.untold()


def test_a_warning_that_was_removed(box: Box) -> None:
    """A signal that the ledger says is at caution does not show clear."""
    release = box.grant()
    box.interlocking.caution("delay", "drift")
    put(box, release)

    with pytest.raises(Corrupt):
        box.interlocking.token("delay", "w")
    assert [(release.id, "caution")] == box.interlocking.untold()


def test_a_release_that_nobody_granted(box: Box) -> None:
    """A row that no entry tells of permits nothing; one that is gone is missed."""
    release = box.grant()
    put(box, replace(release, id="invented", granted_at=release.granted_at + DAY))

    with pytest.raises(Corrupt):
        box.interlocking.token("delay", "w")
    assert [("invented", "everything: no entry grants it")] == box.interlocking.untold()

    with box.book.write() as tx:
        RELEASES.remove(tx, "invented")
        RELEASES.remove(tx, release.id)
        tx.record("test.tampered", "test:1")
    assert [(release.id, "it was granted, and is gone")] == box.interlocking.untold()
