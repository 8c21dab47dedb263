"""Making, naming and finding experiments."""

from __future__ import annotations

from collections.abc import Sequence

from stellwerk.core.clock import Clock
from stellwerk.core.errors import Conflict, Invalid, NotFound
from stellwerk.core.search import (
    ATTRIBUTES,
    TAGS,
    Grammar,
    Subject,
    Value,
    arranged,
    matches,
    parse_filter,
    parse_order,
)
from stellwerk.ledger.ports import Book, Reader, Transaction
from stellwerk.ledger.shelf import evolve
from stellwerk.tracking import rules
from stellwerk.tracking.model import Experiment
from stellwerk.tracking.shelves import EXPERIMENTS

DEFAULT = "0"
DEFAULT_NAME = "Default"
"""There from the start, for runs of clients that named none. It is kept once something about it was changed."""
GRAMMAR = Grammar(
    of="an experiment",
    entities={**TAGS, **ATTRIBUTES},
    texts=("name", "experiment_id"),
    numbers=("creation_time", "last_update_time"),
    listed=("name", "experiment_id"),
)


class Experiments:
    """Experiments of one workspace."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book, self._clock = book, clock

    def create(self, name: str, *, tags: Sequence[tuple[str, str]] = (), location: str = "") -> Experiment:
        """Make an experiment. Raises `Conflict` (`already-exists`), also for a name in the bin."""
        rules.check_experiment_name(name)
        rules.check_tags(tags, path="", most=rules.MAX_EXPERIMENT_TAG)
        now = self._clock.now()
        with self._book.write() as tx:
            self._must_be_free(tx, name)
            made = Experiment(
                id=next_id(tx),
                name=name,
                created_at=now,
                changed_at=now,
                tags=dict(tags),
                location=location,
            )
            EXPERIMENTS.insert(tx, made)
            tx.record("experiment.created", f"experiment:{made.id}", {"name": name})
        return made

    def ensure(self, name: str) -> Experiment:
        """The experiment of a name, which is made if need be."""
        with self._book.read() as reader:
            found = by_name(reader, name)
        if found is not None:
            return found
        try:
            return self.create(name)
        except Conflict:  # somebody else made it meanwhile
            return self.named(name)

    def get(self, experiment: str) -> Experiment:
        """One experiment, also one in the bin. Raises `NotFound`."""
        with self._book.read() as reader:
            return find(reader, experiment)

    def named(self, name: str) -> Experiment:
        """The experiment of a name, also one in the bin. Raises `NotFound`."""
        with self._book.read() as reader:
            found = by_name(reader, name)
        if found is None:
            raise NotFound(f"Could not find experiment with name '{name[:200]}'")
        return found

    def search(
        self,
        *,
        where: str = "",
        order: Sequence[str] = (),
        deleted: bool | None = False,
        limit: int = 1000,
        offset: int = 0,
    ) -> list[Experiment]:
        """Experiments that meet all conditions, in the order asked for, and then the newest first."""
        clauses, criteria = parse_filter(where, GRAMMAR), parse_order(order, GRAMMAR)
        with self._book.read() as reader:
            known = EXPERIMENTS.select(reader)
            if all(one.id != DEFAULT for one in known):
                known.append(_default(reader))
        found = [
            one
            for one in sorted(known, key=lambda one: (one.created_at, one.id), reverse=True)
            if deleted in (None, one.stage == "deleted") and matches(one, clauses, _read)
        ]
        return arranged(found, criteria, _read)[offset : offset + limit]

    def rename(self, experiment: str, name: str) -> Experiment:
        """Give an experiment another name. Raises `Conflict` where it is taken, `Invalid` for one in the bin."""
        rules.check_experiment_name(name)
        with self._book.write() as tx:
            known = self._living(tx, experiment)
            if name == known.name:
                return known
            self._must_be_free(tx, name)
            changed = evolve(known, name=name, changed_at=self._clock.now())
            EXPERIMENTS.put(tx, changed)
            tx.record("experiment.renamed", f"experiment:{experiment}", {"name": name, "before": known.name})
        return changed

    def tag(self, experiment: str, key: str, value: str | None) -> Experiment:
        """Set a tag, or take it away with None. Raises `NotFound` where there is none to take away."""
        rules.check_tags([(key, value or "")], path="", most=rules.MAX_EXPERIMENT_TAG)
        with self._book.write() as tx:
            known = self._living(tx, experiment)
            tags = dict(known.tags)
            if value is None and key not in tags:
                raise NotFound(f"No tag with name: {key} in experiment with id {experiment}")
            if value is not None:
                tags[key] = value
            else:
                del tags[key]
            if tags == known.tags:
                return known
            changed = evolve(known, tags=tags, changed_at=self._clock.now())
            EXPERIMENTS.put(tx, changed)
            tx.record("experiment.tagged", f"experiment:{experiment}", {"key": key, "set": value is not None})
        return changed

    def delete(self, experiment: str) -> None:
        """Put an experiment into the bin, and all of its runs with it."""
        with self._book.write() as tx:
            known = self._living(tx, experiment)
            EXPERIMENTS.put(tx, evolve(known, stage="deleted", changed_at=self._clock.now()))
            tx.record("experiment.deleted", f"experiment:{experiment}", {"name": known.name})

    def restore(self, experiment: str) -> None:
        """Take an experiment out of the bin. Raises `NotFound` where it is not in there."""
        with self._book.write() as tx:
            known = find(tx, experiment)
            if known.stage == "active":
                raise NotFound(f"No deleted experiment with id={experiment} exists")
            EXPERIMENTS.put(tx, evolve(known, stage="active", changed_at=self._clock.now()))
            tx.record("experiment.restored", f"experiment:{experiment}", {"name": known.name})

    def _living(self, tx: Transaction, experiment: str) -> Experiment:
        known = find(tx, experiment)
        if known.stage == "deleted":
            raise Invalid(
                f"The experiment {experiment} must be in the 'active' state. Current state is deleted.",
                code="deleted-experiment",
            )
        return known

    def _must_be_free(self, tx: Transaction, name: str) -> None:
        known = by_name(tx, name)
        if known is None:
            return
        hint = "it is in the bin: restore it, or take another name" if known.stage == "deleted" else ""
        raise Conflict(f"Experiment(name={name[:200]}) already exists.", code="already-exists", hint=hint)


def find(reader: Reader, experiment: str) -> Experiment:
    """The experiment of an id. Raises `NotFound`."""
    found = EXPERIMENTS.find(reader, experiment) if rules.is_experiment_id(experiment) else None
    if found is None and experiment == DEFAULT:
        return _default(reader)
    if found is None:
        raise NotFound(f"No Experiment with id={experiment[:100]} exists")
    return found


def by_name(reader: Reader, name: str) -> Experiment | None:
    """The experiment that has a name."""
    found = EXPERIMENTS.select(reader, name=name, limit=1)
    if found:
        return found[0]
    if name == DEFAULT_NAME and EXPERIMENTS.find(reader, DEFAULT) is None:
        return _default(reader)
    return None


def enter(tx: Transaction, name: str, clock: Clock) -> str:
    """The id of the experiment of a name, which is made if need be: what a pipeline says by its name.

    Its id is the name, unless that could be taken for a number, or is another one's id. Recording is up to the caller:
    that the run began says it all.
    """
    known = by_name(tx, name)
    if known is not None:
        return known.id
    if not rules.is_experiment_id(name):
        raise Invalid(f"Invalid experiment ID: '{name[:100]}'", code="invalid-name")
    now = clock.now()
    identity = next_id(tx) if name.isdecimal() or EXPERIMENTS.find(tx, name) is not None else name
    EXPERIMENTS.insert(tx, Experiment(id=identity, name=name, created_at=now, changed_at=now))
    return identity


def deleted(reader: Reader) -> list[str]:
    """Ids of the experiments in the bin."""
    return [one.id for one in EXPERIMENTS.select(reader, stage="deleted")]


def is_deleted(reader: Reader, experiment: str) -> bool:
    """Whether an experiment is in the bin."""
    return bool(EXPERIMENTS.count(reader, id=experiment, stage="deleted"))


def next_id(tx: Transaction) -> str:
    """The next number. Pipelines' experiments have names as ids, so there may be more rows than numbers."""
    number = EXPERIMENTS.count(tx) + 1
    while EXPERIMENTS.find(tx, str(number)) is not None:
        number += 1
    return str(number)


def _default(_reader: Reader) -> Experiment:
    return Experiment(id=DEFAULT, name=DEFAULT_NAME, created_at=rules.instant(0), changed_at=rules.instant(0))


def _read(one: Experiment, subject: Subject) -> Value:
    if subject.entity == "tag":
        return one.tags.get(subject.key)
    match subject.key:
        case "name":
            return one.name
        case "experiment_id":
            return one.id
        case "creation_time":
            return rules.milliseconds(one.created_at)
        case _:
            return rules.milliseconds(one.changed_at)
