"""Record this notebook or script: `import stellwerk.auto`, and nothing else.

From here on parameters, files that are read, the environment, what scikit-learn is asked for and the notebook itself
become a run of the workspace of this folder. `python -m stellwerk.auto script.py` records a script as it is.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import TracebackType

from stellwerk.workspace.recording import starting

RECORDING = None if __name__ == "__main__" else starting.begin()
if RECORDING is not None and RECORDING.shell is not None:
    # The commands are heavy, and are loaded when the first is given.
    RECORDING.shell.register_magic_function(lambda line, cell=None: _magic(line, cell), "line_cell", "stellwerk")


def _magic(line: str, cell: str | None) -> None:
    from stellwerk.cli import magics

    magics.magic(RECORDING.shell if RECORDING is not None else None, line, cell)


def run() -> str:
    """The id of the run that is recorded at this moment; empty where nothing is."""
    return RECORDING.session.run if RECORDING is not None and RECORDING.session.on else ""


def stop() -> None:
    """End the run and record nothing more."""
    if RECORDING is not None:
        RECORDING.end()


def main() -> int:
    """Run the script that is named, recorded, as Python would run it; answers its exit code."""
    global RECORDING
    if len(sys.argv) < 2 or not Path(sys.argv[1]).is_file():
        print("usage: python -m stellwerk.auto SCRIPT [ARGUMENT...]", file=sys.stderr)
        return 2
    script = Path(sys.argv[1]).absolute()
    del sys.argv[0]
    sys.path[0] = str(script.parent)
    sys.modules["stellwerk.auto"] = sys.modules["__main__"]  # the script may ask for it as well
    RECORDING = starting.begin(script)
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as leaving:
        if RECORDING is not None:
            RECORDING.end("failed" if leaving.code else "finished")
        raise
    except BaseException as error:  # noqa: BLE001 - told as Python tells it
        error = error.with_traceback(_own(error.__traceback__, str(script)))
        sys.excepthook(type(error), error, error.__traceback__)
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


def _own(trace: TracebackType | None, script: str) -> TracebackType | None:
    """A traceback from where the script begins."""
    inner = trace
    while inner is not None and inner.tb_frame.f_code.co_filename != script:
        inner = inner.tb_next
    return inner or trace


if __name__ == "__main__":
    sys.exit(main())
