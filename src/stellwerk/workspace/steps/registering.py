"""Registering the model that an evaluation chose: at the end of `stellwerk run`, and of a pipeline that was exported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stellwerk.core import canonical
from stellwerk.core.digest import Digest
from stellwerk.core.errors import interrupt_behind
from stellwerk.ledger import documents
from stellwerk.models.model import ModelVersion, Signature
from stellwerk.store import service as trees
from stellwerk.tracking.model import Run
from stellwerk.tracking.service import REGISTER
from stellwerk.workspace import codecs
from stellwerk.workspace import operations as ops
from stellwerk.workspace.layout import this_process
from stellwerk.workspace.ports import Caller


def register(
    caller: Caller, name: str, evaluation: Digest, models: Sequence[Digest], *, parent: str, environment: Digest
) -> tuple[dict[str, Any], ModelVersion]:
    """Register the model that an evaluation chose among some, as the next version of a name, unpacked into its files.

    A run of its own says so, also where it could not be done.

    Args:
        name: The pipeline's, and so the model's.
        models: In the order in which they were evaluated, as steps pass them.
        parent: The run that it is a part of; empty for none.

    Returns:
        What the evaluation says, and the version.
    """
    said: dict[str, Any] = canonical.loads(caller.blobs.get(evaluation))
    archive = models[said["chosen"]]
    files = codecs.files(caller.blobs.get(archive))
    tree = trees.put_files(caller.blobs, files)
    described = canonical.loads(files["model.json"])
    run: Run = caller.call(
        ops.start_run,
        {
            "experiment": name,
            "name": REGISTER,
            "kind": REGISTER,
            "parent": parent or None,
            "inputs": {"model": archive, "evaluation": evaluation},
            "code": caller.blobs.put(canonical.dumps({"builtin": "register", "version": 1})),
            "environment": environment,
            "process": this_process() if caller.local else None,
        },
    )
    try:
        version: ModelVersion = caller.call(
            ops.register_model,
            {
                "name": name,
                "digest": tree,
                "signature": documents.load(Signature, described["signature"]),
                "layout": described["format"],
                "run": run.id,
                "seed": said["chosen"] if 1 < len(said["seeds"]) > said["chosen"] else None,
            },
        )
    except BaseException as error:
        caller.call(ops.finish_run, {"run": run.id, **_ending(error)})
        raise
    caller.call(ops.finish_run, {"run": run.id, "outputs": {"model": tree}})
    return said, version


def _ending(error: BaseException) -> dict[str, str]:
    interrupted = not isinstance(error, Exception) or interrupt_behind(error) is not None
    return {"status": "interrupted" if interrupted else "failed", "error": str(error) or type(error).__name__}
