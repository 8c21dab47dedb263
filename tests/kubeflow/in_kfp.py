"""Runs in the environment of the SDK of Kubeflow Pipelines, without Stellwerk: `in_kfp.py FUNCTION ANSWER ARGUMENTS`.

One thing of the SDK is replaced: its subprocess runner refuses containers, because what they need may not be there.
Here it is there, so that check is taken out. All else (loading, types, order, conditions, loops, retries, placeholders,
the processes and their outputs) is the SDK's own.
"""

import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")


def check(folder):
    """Parse every file of a folder as the messages they should be, and load it as a pipeline; the problems."""
    import yaml
    from google.protobuf import json_format
    from kfp import components
    from kfp.pipeline_spec import pipeline_spec_pb2 as messages

    problems = []
    for file in sorted(Path(folder).glob("*.yaml")):
        spec, *others = yaml.safe_load_all(file.read_text("utf-8"))
        try:
            json_format.ParseDict(spec, messages.PipelineSpec())
            for one in spec["deploymentSpec"]["executors"].values():
                json_format.ParseDict(one, messages.PipelineDeploymentConfig.ExecutorSpec())
            for one in others:
                json_format.ParseDict(one, messages.PlatformSpec())
            components.load_component_from_file(str(file))
        except Exception as error:  # noqa: BLE001  # whatever the SDK raises
            problems.append(f"{file.name}: {type(error).__name__}: {error}")
    return problems


def run(file, root, arguments):
    """Run a pipeline by the SDK's local runner; what it gives."""
    from kfp import components, local
    from kfp.local import subprocess_task_handler

    handler = subprocess_task_handler.SubprocessTaskHandler
    handler.validate_not_container_component = lambda self, full_command: None
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=False)
    return components.load_component_from_file(file)(**arguments).outputs


if __name__ == "__main__":
    answer = {"check": check, "run": run}[sys.argv[1]](*json.loads(sys.argv[3]))
    Path(sys.argv[2]).write_text(json.dumps(answer), "utf-8")
