"""What goes wrong: errors, and bytes that were never put."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from stellwerk.core.digest import of_bytes
from stellwerk.core.errors import Invalid, NotFound, StellwerkError
from stellwerk.monitoring.model import Outcome
from stellwerk.testing.workspaces.life import WORLD, Life
from stellwerk.testing.workspaces.views import Views
from stellwerk.testing.worlds import DATASET, ENDPOINT
from stellwerk.workspace.facade import Workspace


class Mistakes(Views):
    """Class and code of an error do not depend on where the workspace is."""

    @pytest.mark.parametrize(
        ("kind", "code", "act"),
        [
            (NotFound, "not-found", lambda w: w.data.get("nothing")),
            (NotFound, "not-found", lambda w: w.data.get(DATASET, 99)),
            (NotFound, "not-found", lambda w: w.data.frame("nothing")),
            (NotFound, "not-found", lambda w: w.models.get("nothing")),
            (NotFound, "not-found", lambda w: w.models.alias(ENDPOINT, "x", 99)),
            (NotFound, "not-found", lambda w: w.models.unalias(ENDPOINT, "nobody")),
            (NotFound, "not-found", lambda w: w.models.get(f"{ENDPOINT}@99")),
            (NotFound, "not-found", lambda w: w.models.about("nothing")),
            (NotFound, "not-found", lambda w: w.models.delete(ENDPOINT, 99)),
            (NotFound, "not-found", lambda w: w.models.describe(ENDPOINT, 99, description="x")),
            (NotFound, "not-found", lambda w: w.models.unprotect("nobody")),
            (Invalid, "invalid-tag", lambda w: w.models.describe(ENDPOINT, tags={"../x": "y"})),
            (NotFound, "not-found", lambda w: w.signal("nothing")),
            (NotFound, "not-found", lambda w: w.prove("nothing")),
            (NotFound, "no-verdict", lambda w: w.release("nothing")),
            (NotFound, "no-release", lambda w: w.assess("nothing")),
            (NotFound, "not-found", lambda w: w.run_page("nothing")),
            (NotFound, "not-found", lambda w: w.dossier("nothing")),
            (NotFound, "not-found", lambda w: w.decide("nothing", "late")),
            (NotFound, "not-found", lambda w: w.trace("nothing")),
            (Invalid, "invalid-digest", lambda w: w.trace("sha256:abc")),
            (Invalid, "missing-reason", lambda w: w.stop(ENDPOINT, why=" ")),
            (Invalid, "invalid-name", lambda w: w.models.alias(ENDPOINT, "no good name", 1)),
            (Invalid, "invalid-name", lambda w: w.data.add("../x", WORLD.parcels(40, 1))),
            (Invalid, "schema-changed", lambda w: w.data.add("from-file", pl.DataFrame({"a": [1]}), partition="b")),
            (Invalid, "unknown-column", lambda w: w.data.confirm(DATASET, {"dipot": {"minimum": 1}})),
            (Invalid, "invalid-project", lambda w: w.declare(evolved(w, goals=()))),
            (Invalid, "invalid-outcome", lambda w: w.outcomes(ENDPOINT, [labelled(w, "")])),
        ],
    )
    def test_errors_are_the_same_everywhere(
        self, life: Life, data: Workspace, kind: type[StellwerkError], code: str, act: Callable[[Workspace], Any]
    ) -> None:
        """Class, code and the book after it: an error is the same here and at the other end of a URL."""
        before = data.board().entries
        with pytest.raises(kind) as caught:
            act(data)

        assert (kind, code) == (type(caught.value), caught.value.code)
        assert caught.value.message
        assert before == data.board().entries

    def test_blobs_are_what_their_name_says(self, workspace: Workspace) -> None:
        """What was put comes back; what was not is not found."""
        blobs = workspace._caller.blobs
        digest = blobs.put(b"some bytes")

        assert (of_bytes(b"some bytes"), b"some bytes", True, 10) == (
            digest,
            blobs.get(digest),
            blobs.has(digest),
            blobs.size(digest),
        )
        assert not blobs.has(of_bytes(b"never put"))
        with pytest.raises(NotFound):
            blobs.get(of_bytes(b"never put"))


def evolved(workspace: Workspace, **changes: Any) -> Any:
    """The endpoint's declaration with changes."""
    return replace(workspace.endpoints()[0], **changes)


def labelled(workspace: Workspace, prediction: str) -> Outcome:
    """A label for something."""
    return Outcome(prediction=prediction, label=True, observed_at=workspace.now())
