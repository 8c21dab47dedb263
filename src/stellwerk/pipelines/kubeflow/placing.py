"""In which DAG everything stands, before the first task is made."""

from __future__ import annotations

from stellwerk.core.errors import Invalid
from stellwerk.pipelines.kubeflow import writing
from stellwerk.pipelines.kubeflow.branches import Meeting, Meetings
from stellwerk.pipelines.kubeflow.dags import PARAM, Dag, Wiring
from stellwerk.pipelines.kubeflow.naming import Channel, Names
from stellwerk.pipelines.model import EITHER, ITEM, WAIT, Branch, Group, Node, Plan, Ref


class Places:
    """The DAGs of a pipeline: `steps` around everything, one for each branch, two for each loop, one where branches
    meet. Who makes what is known when this is made."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.names, self.wiring = plan, Names(plan), Wiring()
        self.meetings = Meetings(self.names)
        self.root = Dag("")
        self.main = Dag("steps", self.root)
        self.dags: dict[str, Dag] = {"": self.main}
        """By group the DAG in which its nodes stand."""
        self._joints: dict[str, Dag] = {}
        for group in sorted(plan.groups, key=lambda one: len(self.names.scope(one.id))):
            self._group(group)
        for channel in self.params():
            self.wiring.makes(self.root, channel, writing.kind(plan.params[channel.key]))
            self.root.own.add(channel.name)
        for node in plan.nodes:
            self._node(node)

    def params(self) -> tuple[Channel, ...]:
        """The parameters that a run in Kubeflow can change; it has no type for one that is nothing."""
        return tuple(Channel(PARAM, name) for name, value in self.plan.params.items() if value is not None)

    def meeting(self, meeting: Meeting) -> Dag:
        """The DAG in which the branches of an `either` stand."""
        return self._joint(meeting.branches[0])

    def all(self) -> list[Dag]:
        """Every DAG."""
        found = [one for dag in (*self.dags.values(), *self._joints.values()) for one in dag.path()]
        return list(dict.fromkeys(found))

    def _joint(self, branch: Branch) -> Dag:
        first = self.meetings.cluster(branch.id)
        if first not in self._joints:
            self._joints[first] = Dag(self.names.aside("either", first), self.dags[branch.within])
        return self._joints[first]

    def _group(self, group: Group) -> None:
        task, around = self.names.of(group.id), self.dags[group.within]
        if isinstance(group, Branch):
            around = self._joint(group) if self.meetings.cluster(group.id) else around
            self.dags[group.id] = Dag(task, around, perhaps=True)
            return
        rounds = self.dags[group.id] = Dag(f"{task}-each", Dag(task, around), turns=True)
        item = Channel(task, ITEM)
        rounds.own.add(item.name)
        self.wiring.makes(rounds, item, "STRUCT")

    def _node(self, node: Node) -> None:
        if node.function == WAIT:
            raise Invalid(
                f"{node.id!r} waits for a {node.params.get('for', 'decision')}, and Kubeflow cannot wait without "
                "holding a machine",
                code="not-in-kubeflow",
                hint="end the pipeline before it and begin another one after it, or use `stellwerk run`",
            )
        if node.function == EITHER:
            self._either(self.meetings.by_node[node.id])
            return
        dag = self.dags[node.within]
        for output in node.outputs:
            for channel in self.names.channels(Ref(node=node.id, output=output)):
                self.wiring.makes(dag, channel, "STRUCT")
        for key, group in self.names.told(node):
            kind = "STRING" if isinstance(group, Branch) else "LIST"
            self.wiring.makes(dag, Channel(self.names.of(node.id), key), kind)

    def _either(self, meeting: Meeting) -> None:
        if meeting.branches:
            channel, dag = self.meetings.channel(meeting)[0], self.meeting(meeting)
            self.wiring.makes(dag.parent or self.main, channel, "STRUCT", task=dag.task, key=channel.name)
