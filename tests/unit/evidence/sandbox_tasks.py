"""Tasks that misbehave, run behind the walls by test_sandbox.py."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

Files = dict[str, Path]


def echo(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    return {"request": request, "files": {name: path.read_text() for name, path in files.items()}}


def arrays(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    import numpy as np

    return {"a": np.arange(6).reshape(2, 3), "deep": [{"b": np.float64(1.5)}]}


def environment(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    return {"names": sorted(os.environ), "folder": str(folder), "cwd": str(Path.cwd())}


def memory(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    return {"length": len(bytearray(4 << 30))}


def endless(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass


def asleep(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Event().wait()
    return {}


def closes_and_stays(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    os.closerange(0, 256)
    threading.Event().wait()
    return {}


def fork(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    while True:
        os.fork()


def open_file(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    return {"text": Path(request["path"]).read_text()}


def list_folder(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    return {"names": [path.name for path in Path(request["path"]).iterdir()]}


def write_file(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    Path(request["path"]).write_text("x")
    return {}


def change_mode(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    Path(request["path"]).chmod(0o777)
    return {}


def write_own(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    (folder / "note").write_text("x")
    return {"text": (folder / "note").read_text()}


def make_link(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    (folder / "link").symlink_to("/etc/passwd")
    return {}


def connect(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    socket.create_connection(("127.0.0.1", request["port"]), timeout=5)
    return {}


def unix_socket(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    socket.socket(socket.AF_UNIX, socket.SOCK_STREAM).connect("\0stellwerk")
    return {}


def execute(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    os.execv("/bin/true", ["true"])


def shell(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    return {"code": subprocess.run(["/bin/true"], check=False).returncode}


def system_call(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    libc = ctypes.CDLL(None, use_errno=True)
    result = libc.syscall(*(ctypes.c_long(n) for n in request["call"]))
    return {"result": result, "errno": ctypes.get_errno()}


def kill_parent(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    os.kill(os.getppid(), signal.SIGTERM)
    return {}


def threads(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(1))
    thread.start()
    thread.join()
    return {"done": len(done)}


def talk(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    for _ in range(200):
        print("x" * 100_000)
    return {"done": 1}


def large_answer(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    return {"text": "x" * request["bytes"]}


def large_array(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    import numpy as np

    return {"a": np.zeros(request["bytes"], dtype=np.uint8)}


def fill_disk(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    number = 0
    while True:
        (folder / str(number)).write_bytes(b"x" * 100_000)
        number += 1


def many_files(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    number = 0
    while True:
        (folder / str(number)).touch()
        number += 1


def forged_array(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    if "write" in request:
        (folder / "f.npy").write_bytes(bytes.fromhex(request["write"]))
    return {"a": {"$array": request["name"]}}


def dies(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    ctypes.string_at(0)
    return {}


def leaves(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    os._exit(3)


def raises(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    raise ValueError("no \x1b[31msuch thing")


def refuses(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    from stellwerk.core.errors import Refused

    raise Refused("not this", code="some-rule", hint="do that")


def not_json(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    return {"a": float("nan")}


def busy(request: dict[str, Any], files: Files, folder: Path) -> dict[str, Any]:
    end = time.process_time() + 60
    while time.process_time() < end:
        pass
    return {}
