"""The real SDK of Kubeflow Pipelines, in an environment of its own, because it pins much and wants an old protobuf.

`STELLWERK_TEST_KFP` names its interpreter: `python -m venv kfp && kfp/bin/pip install kfp pip`. Without it these tests
are skipped and say so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("in_kfp.py")
Kfp = Callable[..., Any]


@pytest.fixture(scope="session")
def kfp() -> Kfp:
    """Calls a function of `in_kfp.py` in the SDK's environment; its answer."""
    python = os.environ.get("STELLWERK_TEST_KFP")
    if not python:
        pytest.skip("STELLWERK_TEST_KFP names no interpreter with kfp")

    def call(function: str, *arguments: Any, cwd: Path) -> Any:
        # `stellwerk` is found beside the interpreter of the tests, as it is found in the image of a pod.
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        answer = cwd / "answer.json"
        ended = subprocess.run(
            [python, str(SCRIPT), function, str(answer), json.dumps(arguments)],
            cwd=cwd,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-4000:]
        return json.loads(answer.read_text("utf-8"))

    return call
