"""The other end of `sw.report`: a socket in a private folder, on which trials in any process of this machine report."""

from __future__ import annotations

import json
import socketserver
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from stellwerk.pipelines.tuning.ports import Report

MAX_LINE = 4096


class Line:
    """Listens while it is open. Trials are known by names, which say who may be answered."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stellwerk-tune-", ignore_cleanup_errors=True)
        self.folder = Path(self._folder.name)
        self.address = str(self.folder / "line")
        self._reports: dict[str, Report] = {}
        self._server = _Server(self.address, _Handler)
        self._server.reports = self._reports
        threading.Thread(target=self._server.serve_forever, args=(0.1,), name="tune line", daemon=True).start()

    def listen(self, name: str, report: Report) -> None:
        """Answer the trial of this name."""
        self._reports[name] = report

    def forget(self, name: str) -> None:
        """Answer it no more."""
        self._reports.pop(name, None)

    def __enter__(self) -> Line:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False
    reports: dict[str, Report]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The trial sees that nobody answers."""


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        while line := self.rfile.readline(MAX_LINE):
            said = json.loads(line)
            report = self.server.reports.get(said["trial"])
            # A trial that nobody knows any more is somebody else's by now.
            prune = True if report is None else report(int(said["step"]), float(said["value"]))
            self.wfile.write(json.dumps({"prune": prune}).encode() + b"\n")
