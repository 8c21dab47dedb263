"""What a machine does: its processors, memory, disk and network by psutil, its GPUs by NVIDIA's library where both are.

Names and units are those of MLflow's client, less its `system/`, so that curves of both can be compared.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import psutil

MEGABYTE = 1e6


class LocalMachine:
    """The machine that this process runs on, all of it. What cannot be read is left out."""

    def __init__(self) -> None:
        psutil.cpu_percent()  # says how busy it was since it was asked the last time
        self._before = psutil.net_io_counters()
        self._cards = Cards.found()

    def look(self) -> dict[str, float]:
        """Readings by name; the network's since this object was made, the processors' since the last look."""
        readings: dict[str, float] = {}
        for part in (_processors, _memory, _disk, self._network, self._cards.look):
            try:
                readings.update(part())
            except (psutil.Error, OSError):
                continue
        return readings

    def _network(self) -> Iterator[tuple[str, float]]:
        now, before = psutil.net_io_counters(), self._before
        if now is not None and before is not None:  # there is a card
            yield "network_receive_megabytes", (now.bytes_recv - before.bytes_recv) / MEGABYTE
            yield "network_transmit_megabytes", (now.bytes_sent - before.bytes_sent) / MEGABYTE


def _processors() -> Iterator[tuple[str, float]]:
    yield "cpu_utilization_percentage", psutil.cpu_percent()


def _memory() -> Iterator[tuple[str, float]]:
    memory = psutil.virtual_memory()
    yield "system_memory_usage_megabytes", memory.used / MEGABYTE
    yield "system_memory_usage_percentage", 100 * memory.used / memory.total


def _disk() -> Iterator[tuple[str, float]]:
    disk = psutil.disk_usage(os.sep)
    yield "disk_usage_percentage", disk.percent
    yield "disk_usage_megabytes", disk.used / MEGABYTE
    yield "disk_available_megabytes", disk.free / MEGABYTE


class Cards:
    """GPUs that NVIDIA's library knows.

    Args:
        library: `pynvml`, begun; None where there is none.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        count = library.nvmlDeviceGetCount() if library else 0
        self._handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]

    @classmethod
    def found(cls) -> Cards:
        """Those of this machine; none where the library, its driver or a card is missing."""
        try:
            import pynvml
        except ImportError:
            return cls(None)
        try:
            pynvml.nvmlInit()
            return cls(pynvml)
        except pynvml.NVMLError:
            return cls(None)

    def look(self) -> Iterator[tuple[str, float]]:
        for index, handle in enumerate(self._handles):
            for part in (self._memory, self._busy, self._power):
                try:
                    yield from ((f"gpu_{index}_{name}", value) for name, value in part(handle))
                except (self._library.NVMLError, ZeroDivisionError):
                    continue  # not every card can say everything

    def _memory(self, handle: Any) -> Iterator[tuple[str, float]]:
        memory = self._library.nvmlDeviceGetMemoryInfo(handle)
        yield "memory_usage_percentage", 100 * memory.used / memory.total
        yield "memory_usage_megabytes", memory.used / MEGABYTE

    def _busy(self, handle: Any) -> Iterator[tuple[str, float]]:
        yield "utilization_percentage", float(self._library.nvmlDeviceGetUtilizationRates(handle).gpu)

    def _power(self, handle: Any) -> Iterator[tuple[str, float]]:
        milliwatts = self._library.nvmlDeviceGetPowerUsage(handle)
        yield "power_usage_watts", milliwatts / 1000
        yield "power_usage_percentage", 100 * milliwatts / self._library.nvmlDeviceGetEnforcedPowerLimit(handle)
