"""A simulator of executions: the product's own state machine, driven by one seeded source of chance.

A schedule chooses at every point which answer comes next. Answers come late, twice, or for attempts that are long over;
workers and whole engines are lost; somebody pauses, resumes and cancels. The same seed gives the same schedule on every
machine, so that a broken law is found again by its number.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from stellwerk.pipelines import rules
from stellwerk.pipelines.model import EITHER, WAIT, Branch, Loop, Node, Plan, Ref, Resources

LIMIT = 20_000
"""Steps after which a schedule that has not ended never will."""


@dataclass
class Faults:
    """How often things go wrong, as probabilities."""

    fails: float = 0.1
    lost: float = 0.05
    repeats: float = 0.1
    engine: float = 0.01
    """That the engine is lost between two events; another one goes on with the step cache and the history."""
    pauses: float = 0.01
    cancels: float = 0.0005


@dataclass
class Simulation:
    """One schedule. After `run`, the state and everything that was done."""

    plan: Plan
    seed: int
    faults: Faults = field(default_factory=Faults)
    state: rules.State = field(init=False)
    committed: Counter[str] = field(default_factory=Counter)
    """How often each task was committed, by all engines together: the step cache keeps the first."""
    cache: set[str] = field(default_factory=set)
    taken: dict[str, bool] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    begun: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    engines: int = 1
    peak: dict[str, float] = field(default_factory=dict)

    def run(self) -> rules.State:
        """Play the schedule to its end."""
        self._chance = random.Random(self.seed)
        cpus = self._chance.choice([1, 2, 5])
        self._capacity = Resources(cpus=cpus, memory="4GB", gpus=1, custom={"licence": 2})
        self._history: dict[str, tuple[int, int]] = {}
        self._start()
        for _ in range(LIMIT):
            if self.state.over:
                break
            self._turn()
        else:
            raise AssertionError(f"seed {self.seed}: it does not end")
        self._law_of_the_end()
        return self.state

    def _start(self) -> None:
        self._waiting: list[rules.Command] = []
        self._past: list[rules.Event] = []
        self.state, first = rules.begin(rules.Shape(self.plan), self._capacity, history=self._history)
        self._take(first)

    def _turn(self) -> None:
        chance = self._chance
        if chance.random() < self.faults.engine:
            self._lose_the_engine()
            return
        if chance.random() < self.faults.cancels:
            self._hear(rules.Cancelled())
            return
        if chance.random() < self.faults.pauses:
            self._hear(rules.Paused())
        if self.state.paused and chance.random() < 0.3:
            self._hear(rules.Resumed())
        if self._past and chance.random() < self.faults.repeats:
            self._hear(chance.choice(self._past))
        if self._waiting:
            command = self._waiting.pop(chance.randrange(len(self._waiting)))
            for event in self._answers(command):
                self._past.append(event)
                self._hear(event)
        elif self.state.paused:
            self._hear(rules.Resumed())
        elif not self.state.over:
            raise AssertionError(f"seed {self.seed}: nothing is under way, and it is not over")

    def _lose_the_engine(self) -> None:
        self.engines += 1
        self._history = {
            task.id: (task.attempts, task.lost + (task.status == "running"))
            for task in self.state.tasks.values()
            if task.attempts
        }
        self._start()

    def _hear(self, event: rules.Event) -> None:
        self._take(rules.decide(self.state, event))

    def _take(self, decision: rules.Decision) -> None:
        self.state.apply(decision.changes)
        for name, amount in self.state.used.items():
            self.peak[name] = max(amount, self.peak.get(name, 0.0))
            if amount > self.state.capacity.get(name, 0.0) + 1e-6:
                raise AssertionError(f"seed {self.seed}: {amount} of {name} are used, more than there is")
        for command in decision.commands:
            match command:
                case rules.Commit():
                    self.committed[command.task] += command.task not in self.cache
                    self.cache.add(command.task)
                case rules.Fail():
                    self.failed[command.task] += 1
                case rules.Skip() | rules.Omit() | rules.Stop():
                    pass
                case _:
                    self._waiting.append(command)

    def _answers(self, command: rules.Command) -> list[rules.Event]:
        chance, task = self._chance, command.task
        match command:
            case rules.Lookup():
                self._law_of_needs(task)
                return [rules.Found(task=task) if task in self.cache else rules.Missed(task=task)]
            case rules.Judge():
                taken = self.taken.setdefault(task, chance.random() < 0.6)
                return (
                    [rules.Judged(task=task, taken=taken)] if chance.random() > 0.02 else [rules.Rejected(task=task)]
                )
            case rules.Count():
                return [rules.Counted(task=task, count=self.counts.setdefault(task, chance.randrange(4)))]
            case rules.Run():
                self.begun[task] += 1
                self._law_of_needs(task)
                if chance.random() < self.faults.lost:
                    return [rules.Failed(task=task, attempt=command.attempt, lost=True)]
                if chance.random() < self.faults.fails:
                    retryable, jitter = chance.random() < 0.9, chance.random()
                    return [rules.Failed(task=task, attempt=command.attempt, retryable=retryable, chance=jitter)]
                return [rules.Finished(task=task, attempt=command.attempt)]
            case rules.Delay():
                return [rules.Due(task=task)]
            case rules.Open():
                return [rules.Decided(task=task, well=chance.random() < 0.9)]
        return []

    def _law_of_needs(self, name: str) -> None:
        """Nothing is looked up or run before what it uses is there."""
        task = self.state.tasks[name]
        if task.status in rules.OVER:
            return
        node = self.state.shape.nodes[task.of]
        for ref in node.inputs.values():
            if ref.node in self.state.shape.groups:
                continue
            names, listed = self.state.instances(ref.node, task.of, task.at)
            lenient = listed or node.function == EITHER
            for other in names:
                status = self.state.tasks[other].status
                if status not in rules.GOOD and not (lenient and status == "omitted"):
                    raise AssertionError(f"seed {self.seed}: {name} is begun, but {other} is {status}")

    def _law_of_the_end(self) -> None:
        """Each task has one end; what is done was committed, once; nothing is left reserved.

        Each new engine may try once more what had failed for good.
        """
        if any(self.state.used.values()) or any(self.state.busy.values()):
            raise AssertionError(f"seed {self.seed}: something is still reserved")
        twice = [task for task, times in self.committed.items() if times > 1]
        if twice:
            raise AssertionError(f"seed {self.seed}: {twice} were committed twice")
        for task in self.state.tasks.values():
            node = self.state.shape.nodes.get(task.of)
            if task.status == "done" and node is not None and task.id not in self.cache:
                raise AssertionError(f"seed {self.seed}: {task.id} is done, but was never committed")
            if node is not None and task.attempts - task.lost > node.retries + self.engines:
                raise AssertionError(f"seed {self.seed}: {task.id} was tried {task.attempts} times")


def random_plan(seed: int, size: int = 12) -> Plan:
    """Some plan with branches, loops, waits and limits, the same for the same seed."""
    chance = random.Random(seed)
    groups: list[Branch | Loop] = []
    nodes: list[Node] = []
    inside: dict[str, tuple[str, ...]] = {"": ()}

    def seen_from(scope: str) -> list[Node]:
        return [node for node in nodes if set(inside[node.within]) <= set(inside[scope]) and not node.seeds]

    for number in range(size):
        scope = chance.choice(list(inside)[-4:])
        usable = seen_from(scope)
        if usable and len(inside[scope]) < 3 and chance.random() < 0.3:
            subject = Ref(node=chance.choice(usable).id)
            name = f"g{number}"
            groups.append(
                Branch(id=name, within=scope, subject=subject, negated=chance.random() < 0.5)
                if chance.random() < 0.5
                else Loop(id=name, within=scope, items=subject, at_once=chance.choice([0, 0, 1]))
            )
            inside[name] = (*inside[scope], name)
            scope = name
        nodes.append(_node(f"n{number}", scope, nodes, chance))
    return Plan(name="random", nodes=tuple(nodes), groups=tuple(groups))


def _node(name: str, scope: str, before: list[Node], chance: random.Random) -> Node:
    used = chance.sample(before, min(len(before), chance.randrange(4)))
    function = "m:f"
    if len(used) > 1 and chance.random() < 0.2:
        function = EITHER
    elif chance.random() < 0.08:
        function = WAIT
    return Node(
        id=name,
        step=name,
        kind="step",
        function=function,
        inputs={f"a{n}": Ref(node=node.id) for n, node in enumerate(used)},
        within=scope,
        seeds=chance.choice([0, 0, 0, 2]) if function == "m:f" else 0,
        retries=chance.randrange(3),
        priority=chance.randrange(3),
        resources=Resources(
            cpus=chance.choice([0.5, 1, 3]),
            memory=chance.choice(["", "3GB"]),
            custom=chance.choice([{}, {}, {"licence": 1}]),
        ),
    )
