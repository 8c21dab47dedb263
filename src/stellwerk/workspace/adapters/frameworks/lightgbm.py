"""LightGBM: metrics of each round. Of several machines only the first of its list logs."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stellwerk.workspace.ports import Scribe


class LightGBMCallback:
    """Logs to a scribe, after each round."""

    order = 25
    """After metrics are printed and kept, before training is stopped early by an exception."""
    before_iteration = False

    def __init__(self, scribe: Scribe) -> None:
        self._scribe = scribe

    def __call__(self, env: Any) -> None:
        if not _first(env.params):
            return
        if env.iteration == env.begin_iteration:
            self._scribe.begin()
            self._scribe.params(env.params)
        self._scribe.log(dict(_named(env.evaluation_result_list or ())), env.iteration)


def _named(results: Sequence[Sequence[Any]]) -> Iterator[tuple[str, float]]:
    for data, metric, value, _, *deviation in results:
        # Before 4.6 a cross-validation called everything `cv_agg`, and the metric `valid auc`.
        name = metric.replace(" ", "/", 1) if data == "cv_agg" else f"{data}/{metric}"
        yield name, value
        if deviation and deviation[0] is not None:
            yield f"{name}_std", deviation[0]


def _first(params: Mapping[str, Any]) -> bool:
    """Whether this is the first of several machines. LightGBM does not say; its list of addresses does."""
    machines = str(params.get("machines") or "")
    if not machines:
        return True
    host, _, port = machines.split(",")[0].strip().rpartition(":")
    return port == str(params.get("local_listen_port", port)) and _here(host)


def _here(host: str) -> bool:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)  # only addresses of this machine can be
    except OSError:
        return False
    return True
