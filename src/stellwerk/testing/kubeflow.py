"""A small runner of Kubeflow pipelines, in this process: it follows the specification and calls what pods would call.

It knows what our emitter writes, and nothing else. That the real Kubeflow reads the same is tested with its own SDK.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CONDITION = re.compile(r"inputs\.parameter_values\['([^']+)'\] == '(true|false)'")

Pod = Callable[[list[str]], None]
"""Performs the command line of a pod."""


class PodFailed(Exception):
    """A pod ended with an error, which is the cause."""


@dataclass
class Runner:
    """Runs one pipeline.

    Args:
        spec: Its specification.
        pod: What is called for each pod, with its arguments.
        folder: Where pods write their outputs.
    """

    spec: Mapping[str, Any]
    pod: Pod
    folder: Path
    ran: list[str] = field(default_factory=list)
    """The tasks whose pods were called, in order."""
    identity: str = "0123abcd"

    def run(self, **arguments: Any) -> dict[str, Any]:
        """Run the pipeline with some parameters; the outputs by name. Raises `PodFailed` after the last task."""
        root = self.spec["root"]
        declared = root.get("inputDefinitions", {}).get("parameters", {})
        given = {name: arguments.get(name, one["defaultValue"]) for name, one in declared.items()}
        return self._dag(root, given)

    def _dag(self, component: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        tasks = dict(component["dag"]["tasks"])
        made: dict[str, dict[str, Any]] = {}
        failed: PodFailed | None = None
        while tasks:
            name = next(one for one in tasks if not set(tasks[one].get("dependentTasks", ())) & set(tasks))
            task = tasks.pop(name)
            last = task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
            if failed is not None and not last:
                continue
            status = {"state": "SUCCEEDED" if failed is None else "FAILED", "error": {"message": str(failed or "")}}
            inputs = {
                key: self._source(source, given, made, status)
                for key, source in task.get("inputs", {}).get("parameters", {}).items()
            }
            if not _taken(task, inputs):
                continue
            try:
                made[name] = self._task(name, task, inputs)
            except PodFailed as problem:
                failed = problem
        if failed is not None:
            raise failed
        outputs = component["dag"].get("outputs", {}).get("parameters", {})
        return {key: _chosen(output, made) for key, output in outputs.items()}

    def _task(self, name: str, task: Mapping[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
        component = self.spec["components"][task["componentRef"]["name"]]
        iterator = task.get("parameterIterator")
        if iterator is None:
            return self._once(name, component, inputs)
        items = iterator["items"]
        listed = json.loads(items["raw"]) if "raw" in items else inputs[items["inputParameter"]]
        rounds = [self._once(name, component, {**inputs, iterator["itemInput"]: item}) for item in listed]
        keys = component.get("outputDefinitions", {}).get("parameters", {})
        return {key: [one[key] for one in rounds] for key in keys}

    def _once(self, name: str, component: Mapping[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
        if "dag" in component:
            return self._dag(component, inputs)
        wanted = component.get("outputDefinitions", {}).get("parameters", {})
        place = self.folder / f"{len(self.ran):04}"
        self.ran.append(name)
        envelope = {
            "inputs": {"parameterValues": inputs},
            "outputs": {"parameters": {key: {"outputFile": str(place / key)} for key in wanted}},
        }
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
        words = [
            word.replace("{{$}}", json.dumps(envelope)).replace("{{$.pipeline_job_uuid}}", self.identity)
            for word in container["args"]
        ]
        try:
            self.pod(words)
        except Exception as error:
            raise PodFailed(str(error)) from error
        return {
            key: text if one["parameterType"] == "STRING" else json.loads(text)
            for key, one in wanted.items()
            for text in [(place / key).read_text("utf-8")]
        }

    def _source(
        self, source: Mapping[str, Any], given: Mapping[str, Any], made: Mapping[str, Any], status: Any
    ) -> Any:
        if "componentInputParameter" in source:
            return given[source["componentInputParameter"]]
        if "taskFinalStatus" in source:
            return status
        output = source["taskOutputParameter"]
        return made[output["producerTask"]][output["outputParameterKey"]]


def _taken(task: Mapping[str, Any], inputs: Mapping[str, Any]) -> bool:
    condition = task.get("triggerPolicy", {}).get("condition")
    if condition is None:
        return True
    match = _CONDITION.fullmatch(condition)
    assert match is not None, condition
    return bool(inputs[match[1]] == match[2])


def _chosen(output: Mapping[str, Any], made: Mapping[str, Any]) -> Any:
    if "valueFromParameter" in output:
        one = output["valueFromParameter"]
        return made[one["producerSubtask"]][one["outputParameterKey"]]
    there = [one for one in output["valueFromOneof"]["parameterSelectors"] if one["producerSubtask"] in made]
    assert 1 == len(there), there
    return made[there[0]["producerSubtask"]][there[0]["outputParameterKey"]]
