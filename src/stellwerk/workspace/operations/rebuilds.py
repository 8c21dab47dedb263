"""Rebuilds of models: recording what came of one, and what is known of them."""

from __future__ import annotations

from datetime import timedelta

from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid
from stellwerk.evidence import rebuilds as reports
from stellwerk.evidence import reproduction
from stellwerk.evidence.model import Evidence
from stellwerk.workspace.calls import operation
from stellwerk.workspace.operations.kept import must_be_kept
from stellwerk.workspace.rooms import Rooms

KIND = "rebuild"
MAX_AGE = timedelta(days=365)
"""A model is rebuilt at least once a year."""


@operation("rebuilds.record", "evidence:write", changes=True)
def record_rebuild(rooms: Rooms, model: str, report: Digest) -> Evidence:
    """Record a rebuild of a model version as a run, and its level, computed here, as signed evidence."""
    version = rooms.registry.find(model)
    must_be_kept(rooms, [report])
    facts = reports.read(rooms.blobs.get(report))
    made = rooms.runs.get(version.run_id)
    if facts.before != version.digest or facts.run not in (made.id, made.parent):
        raise Invalid(f"the report is about another model than {model!r}", code="invalid-report")
    must_be_kept(rooms, [facts.environment, facts.machine])
    grade = facts.grade
    run = rooms.runs.record(
        experiment=made.experiment,
        name=f"rebuild of {version.name}@{version.version}",
        kind=KIND,
        started_at=rooms.clock.now() - timedelta(seconds=max(0.0, facts.seconds)),
        params={"model": f"{version.name}@{version.version}", "fresh": facts.fresh, "repeats": facts.run},
        tags={"rebuild.level": grade.level, "rebuild.first": grade.first, "machine": facts.machine},
        inputs={"model": facts.before},
        outputs={"report": report},
        environment=facts.environment,
    )
    return rooms.notary.sign(
        KIND,
        facts.before,
        reproduction.checks(grade),
        max_age=MAX_AGE,
        facts={
            "level": grade.level,
            "model": f"{version.name}@{version.version}",
            "fresh": facts.fresh,
            "first": grade.first,
            "report": report,
            "run": run.id,
        },
    )


@operation("rebuilds.list", "models:read")
def list_rebuilds(rooms: Rooms, model: str) -> tuple[Evidence, ...]:
    """How often a model version was rebuilt, and at which level, oldest first."""
    digest = rooms.registry.find(model).bytes()
    return tuple(item for item in rooms.notary.about(digest) if item.kind == KIND)
