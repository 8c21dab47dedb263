"""Single steps, in Python: executed in pods and jobs, explained, fetched and run again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stellwerk.models.model import ModelVersion
    from stellwerk.pipelines.authoring import Pipeline
    from stellwerk.pipelines.model import Plan
    from stellwerk.workspace.ports import Caller
    from stellwerk.workspace.steps.again import Again
    from stellwerk.workspace.steps.emitting import Export, Wish
    from stellwerk.workspace.steps.entry import Request
    from stellwerk.workspace.steps.fetching import Fetched
    from stellwerk.workspace.steps.past import Account, Differences
    from stellwerk.workspace.steps.performing import Performed


class Steps:
    """Steps of a workspace by their keys."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def execute(self, request: Request) -> Performed:
        """Execute one step of a plan, unless its key is known; its result is committed once."""
        from stellwerk.workspace.steps import entry

        return entry.execute(self._caller, request)

    def register(self, plan: str, node: str, *, group: str, kubeflow: str) -> ModelVersion:
        """Register the model that an evaluation chose, in a pod of Kubeflow."""
        from stellwerk.workspace.steps import entry

        return entry.register(self._caller, plan, node, group, kubeflow)

    def close(self, group: str, *, failed: str = "", kubeflow: str = "") -> str:
        """End the run that holds the steps of several machines together; the status it has then."""
        from stellwerk.workspace.steps import entry

        return entry.close(self._caller, group, failed=failed, kubeflow=kubeflow)

    def show(self, subject: str) -> Account:
        """What a step key, or the step key of a run, is made of, and which runs had it."""
        from stellwerk.workspace.steps import past

        return past.account(self._caller, subject)

    def differences(self, account: Account, folder: Path) -> Differences:
        """What of the code in a folder and of this environment is different from what a key was made of."""
        from stellwerk.workspace.steps import past

        return past.differences(account, folder)

    def fetch(self, account: Account, folder: Path) -> Fetched:
        """Write a step into a folder: its inputs as ordinary files, its code, and a script that calls it."""
        from stellwerk.workspace.steps import fetching

        return fetching.fetch(self._caller, account, folder)

    def unpack(self, account: Account, folder: Path) -> Path:
        """Write the code that was kept with a step into an empty folder."""
        from stellwerk.workspace.steps import plans

        plans.unpack(self._caller.blobs, account.sources, folder)
        return folder

    def again(self, account: Account, folder: Path) -> Again:
        """Run a step again with the code in a folder, and compare how it ends. Nothing is recorded."""
        from stellwerk.workspace.steps import again

        return again.again(self._caller, account, folder)

    def export(self, plan: Plan, pipeline: Pipeline, wish: Wish) -> Export:
        """A plan as a pipeline for Kubeflow; what its pods need is kept in the workspace."""
        from stellwerk.workspace.steps import emitting

        return emitting.export(self._caller, plan, pipeline, wish)
