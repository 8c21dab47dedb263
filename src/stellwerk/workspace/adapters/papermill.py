"""papermill, which executes notebooks, cell by cell, in a kernel of this interpreter."""

from __future__ import annotations

import json
import logging
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import papermill
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

START_SECONDS = 120
logging.getLogger("papermill").setLevel(logging.ERROR)


class _Silent(AsyncKernelManager):
    """Starts kernels whose own complaints nobody hears; what cells print comes another way."""

    async def _async_launch_kernel(self, kernel_cmd: list[str], **how: Any) -> None:
        await super()._async_launch_kernel(kernel_cmd, **{**how, "stderr": subprocess.DEVNULL})


class Failed(Exception):  # told by `workspace.notebooks` as what it is
    """A cell raised, took too long, or ended the kernel.

    Attributes:
        document: The notebook as far as it was executed.
    """

    def __init__(self, name: str, value: str, trace: list[str], document: Mapping[str, Any]) -> None:
        super().__init__(value)
        self.name, self.value, self.trace, self.document = name, value, trace, document


def execute(document: Mapping[str, Any], folder: Path, *, cwd: Path, timeout: float | None) -> dict[str, Any]:
    """Execute a notebook in a new kernel of this interpreter.

    Args:
        folder: For files on the way.
        cwd: Where the notebook runs.
        timeout: Seconds for each cell.

    Raises:
        Failed: with the notebook as far as it came.
    """
    before, after = folder / "before.ipynb", folder / "after.ipynb"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before.write_text(json.dumps(document), "utf-8")
        try:
            papermill.execute_notebook(
                str(before),
                str(after),
                kernel_name="python3",
                language="python",
                progress_bar=False,
                cwd=str(cwd),
                start_timeout=START_SECONDS,
                execution_timeout=timeout,
                kernel_manager_class=_Silent,
                # By sockets in a folder of ours, and not by ports that everybody on this machine can listen to.
                config=Config({"KernelManager": {"transport": "ipc", "ip": str(folder / "kernel")}}),
            )
        except PapermillExecutionError as error:
            raise Failed(error.ename, error.evalue, list(error.traceback), _read(after, before)) from error
        except CellTimeoutError as error:
            told = f"a cell took longer than {timeout:g} seconds" if timeout else "a cell took too long"
            raise Failed("Timeout", told, [], _read(after, before)) from error
        except DeadKernelError as error:
            raise Failed(
                "DeadKernel", "the kernel died, perhaps for lack of memory", [], _read(after, before)
            ) from error
        return _read(after, before)


def _read(*places: Path) -> dict[str, Any]:
    found = next(place for place in places if place.is_file())
    document: dict[str, Any] = json.loads(found.read_text("utf-8"))
    return document
