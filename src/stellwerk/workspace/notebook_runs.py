"""What runs of notebook steps show: the parameters that people gave, and the executed copy among their files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.pipelines.authoring.notebooks import NOTEBOOK
from stellwerk.pipelines.model import BUILTIN, Node
from stellwerk.tracking.model import Run
from stellwerk.tracking.rules import artifacts_of
from stellwerk.workspace import operations as ops
from stellwerk.workspace.ports import Caller

FUNCTIONS = (BUILTIN + "notebook", BUILTIN + "marimo")
HERE = "mlflow-artifacts:/"


def params(node: Node, given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as people gave them. For the code of a notebook, which is in the plan, stands a digest."""
    if node.function not in FUNCTIONS:
        return dict(given)
    code = {"code": canonical.digest([given["cells"], given["modules"]])} if "cells" in given else {}
    return {NOTEBOOK: given.get("path", ""), **code, **(given.get("params") or {})}


def keep(caller: Caller, runs: Iterable[tuple[Node, Run]]) -> None:
    """Put the executed copies of notebooks that finished among the files of their runs."""
    for node, run in runs:
        copy = run.outputs.get(NOTEBOOK)
        if node.function in FUNCTIONS and copy is not None and run.status == "finished":
            home = artifacts_of(caller.call(ops.get_run, {"run": run.id}))
            if home.startswith(HERE):
                name = str(node.params["path"]).rpartition("/")[2]
                path = f"{home.removeprefix(HERE)}/notebook/{name}"
                caller.call(ops.log_artifact, {"path": path, "digest": Digest(copy)})
