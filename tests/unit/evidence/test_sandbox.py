"""The sandbox: whatever a task tries, the machine and the parent are unharmed, and the answer is data."""

from __future__ import annotations

import errno
import io
import os
import pickle
import re
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stellwerk.core.errors import Invalid, NotFound, Refused, StellwerkError, Unavailable
from stellwerk.evidence.adapters import confinement
from stellwerk.evidence.adapters.sandbox import Sandbox
from stellwerk.evidence.ports import Layers, Limits

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the walls are Linux system calls")

HERE = Path(__file__).parent
LIMITS = Limits(wall_seconds=20.0, cpu_seconds=10, memory_bytes=512 << 20, output_bytes=1 << 20)
LAYERS = confinement.probe()
needs_landlock = pytest.mark.skipif(not LAYERS.landlock_abi, reason="this kernel has no Landlock")
needs_seccomp = pytest.mark.skipif(not LAYERS.seccomp, reason="this kernel has no seccomp")


TASKS = {
    name: f"sandbox_tasks:{name}" for name in re.findall(r"^def (\w+)", (HERE / "sandbox_tasks.py").read_text(), re.M)
}


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(tasks=TASKS, paths=(HERE,))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(autouse=True)
def leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every task runs in a folder of its own, and that is gone afterwards."""
    rooms = tmp_path / "rooms"
    rooms.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(rooms))
    before = descriptors()

    yield

    assert [] == list(rooms.iterdir())
    assert before >= descriptors()


def refusal(sandbox: Sandbox, task: str, request: dict[str, Any] | None = None, **limits: Any) -> StellwerkError:
    with pytest.raises(StellwerkError) as caught:
        sandbox.run(task, request or {}, {}, Limits(**{**_FIELDS, **limits}))
    return caught.value


_FIELDS = {"wall_seconds": 20.0, "cpu_seconds": 10, "memory_bytes": 512 << 20, "output_bytes": 1 << 20}


def test_a_task_reads_its_files_and_answers(sandbox: Sandbox, tmp_path: Path) -> None:
    """What was asked and what may be read gets through, and comes back."""
    (tmp_path / "a.txt").write_text("hello")

    answer = sandbox.run("echo", {"n": [1, 2.5, None, "ü"]}, {"greeting": tmp_path / "a.txt"}, LIMITS)

    assert {"request": {"n": [1, 2.5, None, "ü"]}, "files": {"greeting": "hello"}} == answer


def test_arrays_come_back_as_arrays(sandbox: Sandbox) -> None:
    """Arrays anywhere in the answer keep type and shape; numpy scalars become numbers."""
    answer = sandbox.run("arrays", {}, {}, LIMITS)

    np.testing.assert_array_equal(np.arange(6).reshape(2, 3), answer["a"])
    assert np.int64 == answer["a"].dtype
    assert [{"b": 1.5}] == answer["deep"]


def test_the_environment_is_cleared(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret of the parent is in the child's environment; home and temporary files are its own folder."""
    monkeypatch.setenv("API_TOKEN", "canary")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")

    answer = sandbox.run("environment", {}, {}, LIMITS)

    allowed = {
        "LC_CTYPE",
        "HOME",
        "TMPDIR",
        "PYTHONPATH",
        "LANG",
        "MALLOC_ARENA_MAX",
        "JE_ARROW_MALLOC_CONF",
        "LOKY_MAX_CPU_COUNT",
    }
    allowed |= {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "JOBLIB_MULTIPROCESSING"}
    allowed |= {"LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PWD"}
    assert set() == set(answer["names"]) - allowed
    assert answer["folder"] == answer["cwd"]


def test_a_memory_hog_is_told_no(sandbox: Sandbox) -> None:
    """Four gigabytes are not there."""
    assert "sandbox-memory" == refusal(sandbox, "memory").code


@pytest.mark.parametrize("task", ["endless", "asleep", "closes_and_stays"])
def test_what_takes_too_long_is_killed(task: str, sandbox: Sandbox) -> None:
    """Also when it ignores signals, or closes its pipes and stays."""
    assert "sandbox-time" == refusal(sandbox, task, wall_seconds=3.0).code


def test_cpu_time_is_limited(sandbox: Sandbox) -> None:
    """A busy loop ends by its own limit long before the wall clock."""
    assert "sandbox-time" == refusal(sandbox, "busy", cpu_seconds=1, wall_seconds=60.0).code


@needs_seccomp
def test_a_fork_bomb_does_not_go_off(sandbox: Sandbox) -> None:
    """The first fork fails, also for root."""
    error = refusal(sandbox, "fork")

    assert "task-failed" == error.code
    assert "Operation not permitted" in error.message


def test_threads_are_allowed(sandbox: Sandbox) -> None:
    """Numerical libraries need them."""
    assert {"done": 1} == sandbox.run("threads", {}, {}, LIMITS)


@needs_landlock
@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/etc/hostname", f"/proc/{os.getpid()}/environ", "/proc/self/environ", __file__ + "x"],
    ids=["passwd", "hostname", "parent", "self", "beside"],
)
def test_other_files_cannot_be_read(path: str, sandbox: Sandbox) -> None:
    """Nothing but the interpreter, its libraries and the given files."""
    error = refusal(sandbox, "open_file", {"path": path})

    assert "task-failed" == error.code
    assert "PermissionError" in error.message or not Path(path).exists()


@needs_landlock
def test_a_neighbour_of_a_given_file_cannot_be_read(sandbox: Sandbox, tmp_path: Path) -> None:
    """A right to one file is no right to its folder."""
    (tmp_path / "given").write_text("mine")
    (tmp_path / "other").write_text("yours")

    with pytest.raises(Invalid, match="PermissionError"):
        sandbox.run("open_file", {"path": str(tmp_path / "other")}, {"given": tmp_path / "given"}, LIMITS)
    assert "PermissionError" in refusal(sandbox, "list_folder", {"path": str(tmp_path)}).message


@needs_landlock
def test_nothing_is_written_outside_its_folder(sandbox: Sandbox, tmp_path: Path) -> None:
    """Not beside it, not in the temporary folder, not over a given file, not in the library."""
    given = tmp_path / "given"
    given.write_text("before")

    for path in (tmp_path / "new", Path("/tmp/stellwerk-escape"), given, HERE / "new.py"):
        with pytest.raises(Invalid, match="PermissionError"):
            sandbox.run("write_file", {"path": str(path)}, {"given": given}, LIMITS)

    assert "before" == given.read_text()
    assert not Path("/tmp/stellwerk-escape").exists()


def test_its_own_folder_can_be_written(sandbox: Sandbox) -> None:
    """Libraries that need a scratch file have one."""
    assert {"text": "x"} == sandbox.run("write_own", {}, {}, LIMITS)


@needs_seccomp
def test_modes_of_files_stay(sandbox: Sandbox, tmp_path: Path) -> None:
    """Landlock does not watch modes, so the filter does."""
    given = tmp_path / "given"
    given.write_text("x")
    given.chmod(0o600)

    with pytest.raises(Invalid, match="PermissionError"):
        sandbox.run("change_mode", {"path": str(given)}, {"given": given}, LIMITS)

    assert 0o600 == given.stat().st_mode & 0o777


@needs_landlock
def test_links_cannot_be_made(sandbox: Sandbox) -> None:
    """The folder holds plain files only, so the parent can never be led elsewhere."""
    assert "PermissionError" in refusal(sandbox, "make_link").message


def test_there_is_no_network(sandbox: Sandbox) -> None:
    """Neither TCP to a port that listens nor an abstract socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        error = refusal(sandbox, "connect", {"port": server.getsockname()[1]})

    assert "PermissionError" in error.message
    assert "PermissionError" in refusal(sandbox, "unix_socket").message


@pytest.mark.parametrize("task", ["execute", "shell"])
def test_no_other_program_is_run(task: str, sandbox: Sandbox) -> None:
    """Neither instead of the task nor beside it."""
    assert "PermissionError" in refusal(sandbox, task).message


@needs_seccomp
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="numbers of this machine")
@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ([101, 0, 0, 0, 0], errno.EPERM),  # ptrace
        ([165, 0, 0, 0, 0, 0], errno.EPERM),  # mount
        ([272, 0x10000000], errno.EPERM),  # unshare
        ([321, 0, 0, 0], errno.EPERM),  # bpf
        ([425, 1, 0], errno.EPERM),  # io_uring_setup
        ([323, 0], errno.EPERM),  # userfaultfd
        ([310, 1, 0, 0, 0, 0, 0], errno.EPERM),  # process_vm_readv
        ([250, 0, 0, 0], errno.EPERM),  # keyctl
        ([298, 0, 0, 0, 0, 0], errno.EPERM),  # perf_event_open
        ([308, 0, 0], errno.EPERM),  # setns
        ([302, 1, 0, 0, 0], errno.EPERM),  # prlimit of another process
        ([234, 1, 1, 0], errno.EPERM),  # tgkill of another process
        ([56, 17, 0, 0, 0, 0], errno.EPERM),  # clone without a shared address space
        ([435, 0, 0], errno.ENOSYS),  # clone3
        ([0x40000000 + 39], errno.EPERM),  # getpid of the x32 interface
    ],
)
def test_dangerous_system_calls_fail(call: list[int], expected: int, sandbox: Sandbox) -> None:
    """The filter answers, not the kernel's own rights: root gets the same."""
    answer = sandbox.run("system_call", {"call": call}, {}, LIMITS)

    assert {"result": -1, "errno": expected} == answer


def test_the_parent_cannot_be_signalled(sandbox: Sandbox) -> None:
    """A test run that survives is the proof."""
    assert "PermissionError" in refusal(sandbox, "kill_parent").message


def test_printing_a_lot_changes_nothing(sandbox: Sandbox) -> None:
    """Twenty megabytes of talk are read and forgotten."""
    assert {"done": 1} == sandbox.run("talk", {}, {}, LIMITS)


@pytest.mark.parametrize("task", ["large_answer", "large_array"])
def test_a_huge_answer_is_refused(task: str, sandbox: Sandbox) -> None:
    """More than allowed is not read, in JSON and in arrays."""
    assert "sandbox-output" == refusal(sandbox, task, {"bytes": 5 << 20}).code


@pytest.mark.parametrize("task", ["fill_disk", "many_files"])
def test_the_disk_is_not_filled(task: str, sandbox: Sandbox) -> None:
    """Neither by bytes nor by names."""
    assert "sandbox-output" == refusal(sandbox, task).code


def objects() -> str:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}], dtype=object), allow_pickle=True)
    return buffer.getvalue().hex()


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"name": "../job.json"}, "sandbox-output"),
        ({"name": "/etc/passwd"}, "sandbox-output"),
        ({"name": ".."}, "sandbox-output"),
        ({"name": "none.npy"}, "sandbox-output"),
        ({"name": "f.npy", "write": objects()}, "unreadable-array"),
        ({"name": "f.npy", "write": pickle.dumps({}).hex()}, "unreadable-array"),
    ],
)
def test_a_forged_answer_is_only_data(request_: dict[str, Any], code: str, sandbox: Sandbox) -> None:
    """The parent opens plain files of the child's folder, and unpickles nothing."""
    assert code == refusal(sandbox, "forged_array", request_).code


@pytest.mark.parametrize(("task", "how"), [("dies", "signal 11"), ("leaves", "exit code 3")])
def test_a_child_that_dies_is_an_error(task: str, how: str, sandbox: Sandbox) -> None:
    """No answer is never an empty answer."""
    error = refusal(sandbox, task)

    assert "sandbox-died" == error.code
    assert how in error.message


def test_errors_come_back_as_what_they_were(sandbox: Sandbox) -> None:
    """Our own keep class, code and hint; others become text without control characters."""
    own, other = refusal(sandbox, "refuses"), refusal(sandbox, "raises")

    assert (Refused, "some-rule", "not this", "do that") == (type(own), own.code, own.message, own.hint)
    assert (Invalid, "task-failed") == (type(other), other.code)
    assert "the task 'raises' failed: ValueError: no  [31msuch thing" == other.message
    assert "invalid-json" == refusal(sandbox, "not_json").code


@pytest.mark.parametrize("name", ["model.pkl", "model.skops"])
def test_an_executable_file_never_reaches_a_process(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle is refused before anything is started, whatever it is called."""
    (tmp_path / name).write_bytes(pickle.dumps({"a": 1}))
    monkeypatch.setattr(Sandbox, "_start", lambda *_: pytest.fail("a process was started"))

    with pytest.raises(Refused) as caught:
        Sandbox(tasks={"echo": "sandbox_tasks:echo"}).run("echo", {}, {name: tmp_path / name}, LIMITS)

    assert caught.value.code in {"executable-format", "unreadable-format"}


def test_a_task_for_looking_at_files_gets_any(tmp_path: Path) -> None:
    """Scanning a pickle is what a scanner is for."""
    (tmp_path / "a").write_bytes(b"I1\n.")
    worker = Sandbox(tasks={"echo": "sandbox_tasks:echo"}, unscreened=("echo",), paths=(HERE,))

    assert "I1\n." == worker.run("echo", {}, {"a": tmp_path / "a"}, LIMITS)["files"]["a"]


def test_without_walls_nothing_runs(sandbox: Sandbox) -> None:
    """Fail closed, unless somebody answered for it."""
    sandbox.layers = Layers(landlock_abi=0, seccomp=False, rlimits=True)

    with pytest.raises(Unavailable) as caught:
        sandbox.run("echo", {}, {}, LIMITS)
    assert "no-sandbox" == caught.value.code

    sandbox._allow_unsandboxed = True
    assert {"request": {}, "files": {}} == sandbox.run("echo", {}, {}, LIMITS)


@needs_seccomp
def test_one_wall_is_enough_to_run(sandbox: Sandbox) -> None:
    """With seccomp alone there is still no network and no other program."""
    sandbox.layers = Layers(landlock_abi=0, seccomp=True, rlimits=True)

    assert "PermissionError" in refusal(sandbox, "shell").message
    assert "PermissionError" in refusal(sandbox, "unix_socket").message


@needs_landlock
def test_landlock_alone_keeps_files_and_ports(sandbox: Sandbox) -> None:
    """Without seccomp, files stay closed and TCP too where Landlock knows ports."""
    sandbox.layers = Layers(landlock_abi=LAYERS.landlock_abi, seccomp=False, rlimits=True)

    assert "PermissionError" in refusal(sandbox, "open_file", {"path": "/etc/passwd"}).message
    if LAYERS.landlock_abi >= 4:
        assert "PermissionError" in refusal(sandbox, "connect", {"port": 9}).message


def test_a_promised_wall_that_is_not_there_stops_the_task(sandbox: Sandbox) -> None:
    """A kernel that offers less than was probed ends in an error, not in fewer walls."""
    sandbox.layers = Layers(landlock_abi=LAYERS.landlock_abi, seccomp=True, rlimits=True)
    threaded = Sandbox(tasks={"echo": "sandbox_threads:echo"}, paths=(HERE,))

    if LAYERS.landlock_abi:
        assert "no-sandbox" == refusal(threaded, "echo").code


def test_unknown_tasks_and_files_are_named(tmp_path: Path) -> None:
    """Mistakes of the caller are told before anything starts."""
    worker = Sandbox(tasks={"echo": "sandbox_tasks:echo"}, paths=(HERE,))

    with pytest.raises(Invalid) as caught:
        worker.run("other", {}, {}, LIMITS)
    assert "unknown-task" == caught.value.code
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(NotFound):
            worker.run("echo", {}, {"a": path}, LIMITS)
