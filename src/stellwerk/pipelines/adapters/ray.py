"""The executor that has attempts run on the nodes of a Ray cluster. What a node does is in `ray_worker`.

Ray decides where; on the node every attempt is a process of its own with its limits, and its code is verified there.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stellwerk.core import canonical, errors
from stellwerk.core.clock import monotonic
from stellwerk.core.errors import Corrupt, Refused, StellwerkError, Unavailable
from stellwerk.pipelines.adapters import endings, exchange, ray_worker
from stellwerk.pipelines.model import BUILTIN, Attempt, Encoded, Ended, Failure, Outcome, Resources

MAX_KEPT = 64
_STEP_SECONDS = 0.2
_LOOK_SECONDS = 2.0
_GRACE_SECONDS = 10.0
_KNOCK_SECONDS = 5.0
_NAMES = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}
_EXCLUDED = [".git", ".stellwerk", ".venv", "__pycache__", "node_modules"]


@dataclass(slots=True, kw_only=True, eq=False)
class _Sent:
    """An attempt that Ray has."""

    attempt: Attempt
    started: float
    stopped: bool = False


class Ray:
    """Runs steps on a Ray cluster.

    Args:
        address: Of a cluster that is there: `ray://host:10001`, `host:6379` or `auto`; empty for one on this machine.
        project: A folder that is sent to the nodes; None if they see the same files under the same paths.
        codecs: `module:name` of further codecs, asked before the standard ones; importable on the nodes.
        options: Further arguments of `ray.init`.
    """

    def __init__(
        self, address: str = "", *, project: Path | None = None, codecs: tuple[str, ...] = (), **options: Any
    ) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self._ray = _imported()
        self._codecs = codecs
        self._project = str(project.resolve()) if project else ""
        self._began = not self._ray.is_initialized()
        if self._began:
            self._connect(address, options)
        self._run = self._ray.remote(ray_worker.run)
        self._sent: dict[Any, _Sent] = {}
        self._ended: list[Ended] = []
        self._kept: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._looked = monotonic()

    def capacity(self) -> Resources:
        """What all nodes that are alive have together."""
        return _resources(self._ray.cluster_resources())

    def start(self, attempt: Attempt) -> None:
        if attempt.function.startswith(BUILTIN):
            raise Refused(f"built-in step {attempt.node!r} only runs in process", code="limits-not-kept")
        if attempt.environment is not None:
            raise Refused(
                f"step {attempt.node!r} names an environment of its own, which the nodes do not make",
                code="limits-not-kept",
            )
        if self._closed:
            raise Unavailable("the executor was closed", code="executor-closed")
        if attempt.function.startswith("__main__:"):
            self._ended.append(Ended(attempt=attempt.id, outcome=endings.without_file(attempt)))
            return
        wanted = self._share(attempt)
        values = [self._keep(value) for values in attempt.inputs.values() for value in values]
        task = self._run.options(
            num_cpus=wanted.pop("cpus", 0),
            num_gpus=wanted.pop("gpus", 0),
            memory=int(wanted.pop("memory", 0)) or None,
            resources=wanted or None,
            max_retries=0,
            name=attempt.task or attempt.node,
        ).remote(self._document(attempt), *values)
        with self._lock:
            self._sent[task] = _Sent(attempt=attempt, started=monotonic())

    def wait(self, timeout: float | None) -> Ended | None:
        until = None if timeout is None else monotonic() + timeout
        while True:
            with self._lock:
                if self._ended:
                    return self._ended.pop(0)
                tasks = list(self._sent)
            if not tasks:
                return None
            left = _STEP_SECONDS if until is None else min(_STEP_SECONDS, max(0.0, until - monotonic()))
            ready, _ = self._ray.wait(tasks, num_returns=1, timeout=left, fetch_local=False)
            for task in ready or self._homeless(tasks):
                with self._lock:
                    sent = self._sent.pop(task, None)
                if sent is not None:
                    return Ended(attempt=sent.attempt.id, outcome=self._outcome(task, sent))
            if until is not None and monotonic() >= until:
                return None

    def stop(self, attempt: str) -> None:
        with self._lock:
            found = [(task, sent) for task, sent in self._sent.items() if sent.attempt.id == attempt]
        for task, sent in found:
            sent.stopped = True
            self._ray.cancel(task, force=True)  # ends the worker, and with it the fork server and all below

    def close(self) -> None:
        with self._lock:
            tasks, self._sent, self._ended, self._closed = list(self._sent), {}, [], True
        self._kept.clear()
        until = monotonic() + _GRACE_SECONDS
        while tasks and monotonic() < until:
            for task in tasks:
                self._ray.cancel(task, force=True)
            _, tasks = self._ray.wait(tasks, num_returns=len(tasks), timeout=_LOOK_SECONDS, fetch_local=False)
        if self._began and self._ray.is_initialized():
            self._ray.shutdown()
            self._began = False

    def _connect(self, address: str, options: dict[str, Any]) -> None:
        if self._project:
            environment = {"working_dir": self._project, "excludes": _EXCLUDED, **options.pop("runtime_env", {})}
            options = {**options, "runtime_env": environment}
        if not address:
            options = {"include_dashboard": False, **options}
        try:
            _knock(address)
            self._ray.init(address=address or "local", logging_level=logging.ERROR, log_to_driver=False, **options)
        except Exception as cause:  # Ray, gRPC and the network each have their own
            raise Unavailable(
                f"no Ray cluster at {address or 'this machine'}: {cause}"[:300],
                code="no-ray-cluster",
                hint="`ray start --head` starts one; from another machine its address is ray://HOST:10001",
            ) from cause

    def _share(self, attempt: Attempt) -> dict[str, float]:
        """What to reserve, on one node: no more CPUs than the largest fitting node has, and everything else in full."""
        wanted = attempt.resources.amounts()
        nodes = [_resources(node["Resources"]).amounts() for node in self._ray.nodes() if node["Alive"]]
        hard = {name: amount for name, amount in wanted.items() if name != "cpus"}
        fitting = [node for node in nodes if all(node.get(name, 0.0) >= amount for name, amount in hard.items())]
        if not fitting:
            needs = ", ".join(f"{amount:g} of {name}" for name, amount in hard.items()) or "a node"
            raise Refused(
                f"step {attempt.node!r} needs {needs}, which no node of the cluster has",
                code="limits-not-kept",
                hint="lower its resources, or add such a node",
            )
        return {**hard, "cpus": min(wanted["cpus"], max(node.get("cpus", 0.0) for node in fitting))}

    def _homeless(self, tasks: list[Any]) -> list[Any]:
        """Attempts that Ray would keep waiting for a node that is gone; looked for now and then, and cancelled."""
        if monotonic() - self._looked < _LOOK_SECONDS:
            return []
        self._looked = monotonic()
        found = []
        for task in tasks:
            sent = self._sent.get(task)
            try:
                if sent is not None and sent.stopped:
                    self._ray.cancel(task, force=True)  # one that was on its way to a worker may have been missed
                elif sent is not None:
                    self._share(sent.attempt)
            except Refused:
                self._ray.cancel(task, force=True)
                found.append(task)
        return found

    def _keep(self, value: Encoded) -> Any:
        """Give Ray the bytes of an input, once where they are used by many."""
        if not value.digest:
            return self._ray.put(value.data)
        if value.digest not in self._kept:
            self._kept[value.digest] = self._ray.put(value.data)
        kept = self._kept[value.digest] = self._kept.pop(value.digest)
        for old in list(self._kept)[:-MAX_KEPT]:
            del self._kept[old]
        return kept

    def _document(self, attempt: Attempt) -> bytes:
        return canonical.dumps(
            {
                "attempt": exchange.described(attempt),
                "order": list(attempt.inputs),
                "path": [entry for entry in sys.path if isinstance(entry, str) and entry],
                "cwd": str(Path.cwd()),
                "project": self._project,
                "codecs": self._codecs,
            }
        )

    def _outcome(self, task: Any, sent: _Sent) -> Outcome | Failure:
        raised = self._ray.exceptions
        try:
            parts = self._ray.get(task)
        except Exception as error:  # Ray has an exception for each part of it that may be gone
            if sent.stopped:
                return self._timed(endings.cancelled(sent.attempt), sent)
            if isinstance(error, raised.RuntimeEnvSetupError):
                raise Unavailable(
                    f"the nodes cannot be given the project: {error}"[:300], code="no-ray-cluster"
                ) from error
            if isinstance(error, raised.RayTaskError):
                raise Unavailable(
                    f"a node cannot run steps: {error}"[-300:],
                    code="no-ray-cluster",
                    hint="the nodes need the same Stellwerk and the packages that the steps import",
                ) from error
            return self._timed(endings.lost(sent.attempt, f"the node ({type(error).__name__})"), sent)
        return _read(parts)

    def _timed(self, failed: Failure, sent: _Sent) -> Failure:
        return replace(failed, seconds=monotonic() - sent.started)


def _read(parts: Any) -> Outcome | Failure:
    try:
        document = canonical.loads(parts[0])
        if "error" in document:
            kind, message, code, hint = document["error"]
            known = getattr(errors, kind, None)
            raise (known if isinstance(known, type) and issubclass(known, StellwerkError) else Unavailable)(
                message, code=code, hint=hint
            )
        log, seconds = str(document["log"]), float(document["seconds"])
        if "failure" in document:
            return replace(exchange.failed_from(document["failure"]), log=log, seconds=seconds)
        outputs = {
            str(name): Encoded(media=str(media), data=bytes(data))
            for (name, media), data in zip(document["outputs"], parts[1:], strict=True)
        }
        cpu, memory = float(document["cpu_seconds"]), int(document["peak_memory"])
        return Outcome(outputs=outputs, log=log, seconds=seconds, cpu_seconds=cpu, peak_memory=memory)
    except (KeyError, TypeError, ValueError, IndexError) as cause:
        if isinstance(cause, StellwerkError):
            raise
        raise Corrupt("a node answered with something that is no answer", code="unreadable-answer") from cause


def _resources(amounts: dict[str, float]) -> Resources:
    """Ray's amounts in our words, without those by which Ray tells nodes apart."""
    own = {name: amount for name, amount in amounts.items() if name not in _NAMES and ":" not in name}
    own.pop("object_store_memory", None)
    memory = f"{int(amounts['memory']) >> 20}MiB" if amounts.get("memory", 0) >= 1 << 20 else ""
    return Resources(cpus=amounts.get("CPU", 0.0) or 1e-9, memory=memory, gpus=amounts.get("GPU", 0.0), custom=own)


def _knock(address: str) -> None:
    """Raise where nobody listens: Ray itself tries for minutes, and prints all the while."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()


def _imported() -> Any:
    try:
        import ray
    except ImportError as cause:
        raise Unavailable("Ray is not installed", code="no-ray", hint="pip install 'stellwerk[ray]'") from cause
    return ray
