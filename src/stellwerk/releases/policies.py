"""The policies that ship with Stellwerk. A policy never changes under its name and version."""

from __future__ import annotations

from datetime import timedelta

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import NotFound
from stellwerk.ledger import documents
from stellwerk.releases.model import Policy, Requirement

POLICIES: dict[str, Policy] = {
    "base@1": Policy(
        name="base",
        version=1,
        requirements=(
            Requirement(evidence="quality", max_age=timedelta(days=30)),
            Requirement(evidence="file-scan", max_age=timedelta(days=30)),
            Requirement(evidence="contract", max_age=timedelta(days=30)),
            Requirement(evidence="provenance", max_age=timedelta(days=180)),
        ),
        lease_cap={"minimal": 180, "limited": 90, "high": 30},
    ),
    "leakage@1": Policy(
        name="leakage",
        version=1,
        requirements=(Requirement(evidence="leakage", max_age=timedelta(days=180)),),
        lease_cap={"minimal": 180, "limited": 90, "high": 30},
    ),
    "own@1": Policy(
        name="own",
        version=1,
        requirements=(Requirement(evidence="own-results", max_age=timedelta(days=180)),),
        lease_cap={"minimal": 180, "limited": 90, "high": 30},
    ),
    "rebuild@1": Policy(
        name="rebuild",
        version=1,
        requirements=(Requirement(evidence="rebuild", max_age=timedelta(days=365)),),
        lease_cap={"minimal": 180, "limited": 90, "high": 30},
    ),
}


def find(names: tuple[str, ...]) -> tuple[Policy, ...]:
    """The policies of these names. An unknown one is an error, never an empty policy."""
    missing = [name for name in names if name not in POLICIES]
    if missing:
        raise NotFound(
            f"no policy {', '.join(missing)} (known: {', '.join(sorted(POLICIES))})",
            code="unknown-policy",
            hint="correct `policy` in stellwerk.toml",
        )
    return tuple(POLICIES[name] for name in names)


def requirements(policies: tuple[Policy, ...]) -> dict[str, timedelta]:
    """All demanded kinds of evidence with the shortest validity that any policy allows."""
    result: dict[str, timedelta] = {}
    for policy in policies:
        for requirement in policy.requirements:
            known = result.get(requirement.evidence, requirement.max_age)
            result[requirement.evidence] = min(known, requirement.max_age)
    return result


def digest(policies: tuple[Policy, ...]) -> Digest:
    """The digest of these policies' content."""
    return canonical.digest([documents.dump(policy) for policy in policies])
