"""Walls around the current process: resource limits, Landlock, no new privileges, seccomp. By system calls alone.

The process that runs other people's models calls `confine` once, on itself; there is no way back. Starting and
watching such a process is in `sandbox`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from stellwerk.core.errors import Unavailable
from stellwerk.evidence.adapters import syscalls
from stellwerk.evidence.ports import Layers, Limits

# Landlock: rights on files by the version of its interface that brought them.
_EXECUTE, _WRITE, _READ, _LIST, _REMOVE_FILE, _MAKE_FILE, _TRUNCATE = 1, 2, 4, 8, 32, 256, 1 << 14
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1, 5: (1 << 16) - 1}
_NET_RIGHTS, _SCOPES = 0b11, 0b11
_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446

_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 24, 38, 47
_SECCOMP_SET_FILTER, _SECCOMP_ACTION_AVAILABLE, _ALL_THREADS = 1, 2, 1
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_CLONE_THREAD = 0x00010000


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("yes", ctypes.c_ubyte), ("no", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def probe() -> Layers:
    """What the kernel of this machine offers."""
    if not sys.platform.startswith("linux"):
        return Layers(landlock_abi=0, seccomp=False, rlimits=sys.platform != "win32")
    version = _call(_CREATE, None, 0, 1)
    table = syscalls.TABLES.get(platform.machine())
    action = ctypes.c_uint(_ERRNO)
    seccomp = table is not None and _call(table.seccomp, _SECCOMP_ACTION_AVAILABLE, 0, ctypes.byref(action)) == 0
    return Layers(landlock_abi=max(version, 0), seccomp=seccomp, rlimits=True)


def confine(
    layers: Layers,
    limits: Limits,
    *,
    read: Iterable[Path],
    run: Iterable[Path],
    write: Path,
    see: Iterable[Path] = (),
) -> None:
    """Give up everything but reading `read`, loading code from `run`, names below `see`, and plain files in `write`.

    Raises:
        Unavailable: `no-sandbox`, if a layer that was promised cannot be had. The process must then stop.
    """
    _set_limits(limits, seccomp=layers.seccomp)
    if not sys.platform.startswith("linux"):
        return
    _prctl(_PR_SET_PDEATHSIG, 9)
    if layers.landlock_abi or layers.seccomp:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if layers.landlock_abi:
        _landlock(layers.landlock_abi, read, run, write, see)
    _drop_capabilities()
    if layers.seccomp:
        _seccomp()


def loaded_library_folders() -> set[Path]:
    """Where the shared libraries of this process came from: code loaded later may need their neighbours."""
    with contextlib.suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:  # noqa: PTH123
        paths = {line.split(maxsplit=5)[5].strip() for line in maps if line.count("/")}
        return {Path(path).parent for path in paths if path.startswith("/") and ".so" in path}
    return set()


def _set_limits(limits: Limits, *, seccomp: bool) -> None:
    if sys.platform == "win32":
        return
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime) + 1 + limits.cpu_seconds
    wanted = {
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_AS: _address_space() + limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.output_bytes,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_CORE: 0,
    }
    if not seccomp:
        # With seccomp, processes are forbidden and threads allowed; without it the kernel can only count both.
        wanted[resource.RLIMIT_NPROC] = 0
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # One more second of CPU time before SIGKILL, so that SIGXCPU can say what happened.
        last = value + 1 if kind == resource.RLIMIT_CPU and hard in {resource.RLIM_INFINITY, value + 1} else value
        resource.setrlimit(kind, (value, last))


def _address_space() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except (OSError, ValueError, IndexError):
        return 1 << 30
    return pages * os.sysconf("SC_PAGESIZE")


def _landlock(abi: int, read: Iterable[Path], run: Iterable[Path], write: Path, see: Iterable[Path]) -> None:
    handled = _FILE_RIGHTS[min(abi, max(_FILE_RIGHTS))]
    attributes = struct.pack("=QQQ", handled, _NET_RIGHTS if abi >= 4 else 0, _SCOPES if abi >= 6 else 0)
    size = 8 if abi < 4 else 16 if abi < 6 else 24
    ruleset = _demand(_call(_CREATE, attributes, size, 0), "create a Landlock ruleset")
    code = _EXECUTE | _READ | _LIST
    rules = [*((path, code) for path in run), *((path, _READ) for path in read), *((path, _LIST) for path in see)]
    rules.append((write, (_READ | _WRITE | _LIST | _MAKE_FILE | _REMOVE_FILE | _TRUNCATE) & handled))
    rules.append((Path("/dev/null"), _READ | _WRITE))
    for path, rights in rules:
        _allow(ruleset, path, rights)
    _demand(_call(_RESTRICT, ruleset, 0), "enter the Landlock ruleset")
    os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not path.is_dir():
            rights &= _EXECUTE | _WRITE | _READ | _TRUNCATE
        _demand(_call(_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, place), 0), "add a Landlock rule")
    finally:
        os.close(place)


def _drop_capabilities() -> None:
    """Root inside the walls is nobody: no capability now, and none to be had."""
    _prctl(_PR_CAP_AMBIENT, 4, needed=False)
    for capability in range(64):
        _prctl(_PR_CAPBSET_DROP, capability, needed=False)
    header = struct.pack("=Ii", 0x20080522, 0)
    _demand(_libc().capset(header, b"\0" * 24), "drop capabilities")


def _seccomp() -> None:
    table = syscalls.TABLES[platform.machine()]
    program = _filter(table, os.getpid())
    code = (_Instruction * len(program))(*program)
    pointer = _Program(len(program), ctypes.cast(code, ctypes.POINTER(_Instruction)))
    _demand(_call(table.seccomp, _SECCOMP_SET_FILTER, _ALL_THREADS, ctypes.byref(pointer)), "set the seccomp filter")


def _filter(table: syscalls.Table, own: int) -> Sequence[_Instruction]:
    """A filter that denies what is on the list, allows threads but no processes, and signals to itself only."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    deny = _Instruction(give, 0, 0, _ERRNO | errno.EPERM)
    allow = _Instruction(give, 0, 0, _ALLOW)
    number, first_argument = _Instruction(load, 0, 0, 0), _Instruction(load, 0, 0, 16)
    program = [
        _Instruction(load, 0, 0, 4),
        _Instruction(equal, 1, 0, table.architecture),
        _Instruction(give, 0, 0, _KILL),
        number,
    ]
    if table.foreign_from is not None:
        program += [_Instruction(at_least, 0, 1, table.foreign_from), deny]
    # The newer way to make threads hides its flags from filters; libraries fall back to the older one.
    program += [_Instruction(equal, 0, 1, table.clone3), _Instruction(give, 0, 0, _ERRNO | errno.ENOSYS)]
    program += [_Instruction(equal, 0, 4, table.clone), first_argument, _Instruction(any_bit, 0, 1, _CLONE_THREAD)]
    program += [allow, deny]
    program += [_Instruction(equal, 0, 4, table.tgkill), first_argument, _Instruction(equal, 0, 1, own), allow, deny]
    program += [_Instruction(equal, 0, 5, table.prlimit), first_argument, _Instruction(equal, 1, 0, 0)]
    program += [_Instruction(equal, 0, 1, own), allow, deny]
    for denied in table.denied:
        program += [_Instruction(equal, 0, 1, denied), deny]
    return [*program, allow]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(number: int, *arguments: object) -> int:
    """A raw system call: its result, or -1 with errno set."""
    libc = _libc()
    libc.syscall.restype = ctypes.c_long
    plain = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return int(libc.syscall(ctypes.c_long(number), *plain))


def _prctl(option: int, value: int, *, needed: bool = True) -> None:
    zero = ctypes.c_ulong(0)
    result = _libc().prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero)
    if needed:
        _demand(result, f"set process option {option}")


def _demand(result: int, what: str) -> int:
    if result < 0:
        raise Unavailable(
            f"the sandbox could not {what}: {os.strerror(ctypes.get_errno())}",
            code="no-sandbox",
            hint="run on Linux 5.13 or later, or set STELLWERK_ALLOW_UNSANDBOXED=1 and answer for it",
        )
    return result
