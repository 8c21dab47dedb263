"""How people write pipelines: `@step`, `@pipeline`, and what is called inside. Standard library only.

Inside a pipeline, calling a step notes a node and gives a `Ref`; everywhere else it calls the function. Calling a
pipeline gives a `Plan`. Arguments are checked in `parameters`, plans are executed by `service`.
"""

from stellwerk.pipelines.authoring.building import builtin
from stellwerk.pipelines.authoring.flow import (
    after,
    each,
    otherwise,
    wait_for_event,
    wait_for_person,
    wait_until,
    when,
)
from stellwerk.pipelines.authoring.shipped import (
    command,
    contract,
    dataset,
    either,
    evaluate,
    file,
    gate,
    split,
)
from stellwerk.pipelines.authoring.steps import Options, Pipeline, Step, label, pipeline, reference, step

__all__ = [
    "Options",
    "Pipeline",
    "Step",
    "after",
    "builtin",
    "command",
    "contract",
    "dataset",
    "each",
    "either",
    "evaluate",
    "file",
    "gate",
    "label",
    "otherwise",
    "pipeline",
    "reference",
    "split",
    "step",
    "wait_for_event",
    "wait_for_person",
    "wait_until",
    "when",
]
