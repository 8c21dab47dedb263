"""A process that forks lives of an engine: each begins an execution of a graph in a folder, or goes on with it.

It reads one order a line, JSON with `folder` and `on`, prints `started <pid>`, and `ended <status>` when that life is
over. A life that has finished the execution prints its results into `done.json`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

PRELOADED = (
    "sqlalchemy", "pydantic", "stellwerk.workspace.facade", "stellwerk.workspace.rooms",
    "stellwerk.workspace.running", "stellwerk.pipelines.loading",
)  # fmt: skip


def live(order: dict[str, Any]) -> None:
    """Go on until the execution is done; what it waits for is decided at once."""
    import stellwerk as sw
    from stellwerk.pipelines.loading import find_pipelines, load
    from stellwerk.workspace.running import How

    folder = Path(order["folder"])
    plan = find_pipelines(load(folder / "pipeline.py"))["grid"].plan(str(folder))
    how = How(on=order["on"])
    with sw.connect(folder, actor="anna") as workspace:
        known = [one for one in workspace.executions(pipeline="grid") if one.status != "done"]
        ran = workspace.resume(known[-1].id, plan, how=how) if known else workspace.run(plan, how=how)
        while ran.status == "waiting":
            for case in workspace.inbox():
                workspace.decide(case.id, "approve")
            ran = workspace.resume(ran.run.id, plan, how=how)
        found = {name: [one.digest for one in stored] for name, stored in ran.report.results.items()}
    written = folder / "done.json.new"  # a life may be killed while it writes: half a file is not one that is done
    written.write_text(json.dumps({"status": ran.status, "run": ran.run.id, "results": found}))
    written.replace(folder / "done.json")


def main() -> None:
    for name in PRELOADED:
        importlib.import_module(name)
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os.setsid()
            try:
                live(json.loads(line))
            except BaseException as error:  # noqa: BLE001 - a life ends with a status, not with a traceback
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(f"started {child}", flush=True)
        _, status = os.waitpid(child, 0)
        print(f"ended {os.waitstatus_to_exitcode(status)}", flush=True)


if __name__ == "__main__":
    main()
