"""The policies that ship with Stellwerk. A policy never changes under its name and version.

One that demands steps says in brackets of which kinds: `steps@1(clean, test)`. So its whole content is in its name, and
with it in every plan and declaration that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import Invalid, NotFound
from stellwerk.core.names import name as checked_name
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
    "steps@1": Policy(
        name="steps",
        version=1,
        requirements=(Requirement(evidence="steps", max_age=timedelta(days=180)),),
        lease_cap={"minimal": 180, "limited": 90, "high": 30},
    ),
}

_BRACKETS = re.compile(r"([^(]*)\(([^()]*)\)")


def find(names: tuple[str, ...]) -> tuple[Policy, ...]:
    """The policies of these names. An unknown one is an error, never an empty policy.

    Raises:
        NotFound: `unknown-policy`.
        Invalid: `invalid-policy`: kinds of steps where none belong, or none where they do.
    """
    split = [_split(name) for name in names]
    missing = [name for name, _ in split if name not in POLICIES]
    if missing:
        raise NotFound(
            f"no policy {', '.join(missing)} (known: {', '.join(sorted(POLICIES))})",
            code="unknown-policy",
            hint="correct `policy` in stellwerk.toml",
        )
    return tuple(_policy(name, kinds) for name, kinds in split)


def unsound(names: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with how policies are named; whether there are policies of these names is asked by `find`."""
    for name in names:
        try:
            plain, kinds = _split(name)
            if plain in POLICIES:
                _policy(plain, kinds)
        except Invalid as problem:
            yield str(problem)


def _split(name: str) -> tuple[str, tuple[str, ...]]:
    found = _BRACKETS.fullmatch(name)
    if found is None:
        return name, ()
    kinds = tuple(dict.fromkeys(one.strip() for one in found[2].split(",") if one.strip()))
    return found[1].strip(), tuple(checked_name(kind, what="kind of step") for kind in kinds)


def _policy(name: str, kinds: tuple[str, ...]) -> Policy:
    policy = POLICIES[name]
    takes = policy.demands("steps")
    if takes and not kinds:
        raise Invalid(
            f"policy {name} does not say which kinds of steps it demands (expected such as '{name}(clean, test)')",
            code="invalid-policy",
            hint="correct `policy` in stellwerk.toml",
        )
    if kinds and not takes:
        raise Invalid(
            f"policy {name} demands no steps, got {', '.join(kinds)} in brackets (expected {name!r})",
            code="invalid-policy",
            hint="correct `policy` in stellwerk.toml",
        )
    return replace(policy, steps=kinds)


def requirements(policies: tuple[Policy, ...]) -> dict[str, timedelta]:
    """All demanded kinds of evidence with the shortest validity that any policy allows."""
    result: dict[str, timedelta] = {}
    for policy in policies:
        for requirement in policy.requirements:
            known = result.get(requirement.evidence, requirement.max_age)
            result[requirement.evidence] = min(known, requirement.max_age)
    return result


def steps(policies: tuple[Policy, ...]) -> tuple[str, ...]:
    """All demanded kinds of steps, in the order in which they are named."""
    return tuple(dict.fromkeys(kind for policy in policies for kind in policy.steps))


def digest(policies: tuple[Policy, ...]) -> Digest:
    """The digest of these policies' content."""
    return canonical.digest([documents.dump(policy) for policy in policies])
