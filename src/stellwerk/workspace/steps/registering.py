"""The last task of a pipeline that evaluates a model: it registers the one that was chosen, as `stellwerk run` does."""

from __future__ import annotations

from collections.abc import Sequence

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.ledger import documents
from stellwerk.models.model import ModelVersion, Signature
from stellwerk.pipelines.environment import current
from stellwerk.pipelines.model import Plan, Stored
from stellwerk.store import service as trees
from stellwerk.tracking.model import Run
from stellwerk.workspace import codecs
from stellwerk.workspace import operations as ops
from stellwerk.workspace.layout import this_process
from stellwerk.workspace.ports import Caller


def register(caller: Caller, plan: Plan, evaluation: Stored, models: Sequence[Stored], parent: str) -> ModelVersion:
    """Register the model that an evaluation chose among some, under the pipeline's name, unpacked into its files."""
    said = canonical.loads(caller.blobs.get(evaluation.digest))
    archive = models[said["chosen"]].digest
    files = codecs.files(caller.blobs.get(archive))
    tree = trees.put_files(caller.blobs, files)
    described = canonical.loads(files["model.json"])
    run: Run = caller.call(
        ops.start_run,
        {
            "experiment": plan.name,
            "name": "register",
            "kind": "register",
            "parent": parent or None,
            "inputs": {"model": archive, "evaluation": evaluation.digest},
            "code": caller.blobs.put(canonical.dumps({"builtin": "register", "version": 1})),
            "environment": caller.blobs.put(current().document),
            "process": this_process() if caller.local else None,
        },
    )
    outputs: dict[str, Digest] = {}
    try:
        version: ModelVersion = caller.call(
            ops.register_model,
            {
                "name": plan.name,
                "digest": tree,
                "signature": documents.load(Signature, described["signature"]),
                "layout": described["format"],
                "run": run.id,
                "seed": said["chosen"] if 1 < len(said["seeds"]) > said["chosen"] else None,
            },
        )
        outputs = {"model": tree}
    finally:
        caller.call(
            ops.finish_run,
            {"run": run.id, "outputs": outputs, "status": "finished" if outputs else "failed"},
        )
    return version
