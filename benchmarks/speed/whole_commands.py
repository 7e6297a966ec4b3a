"""Timing whole commands of ltbench, each in a process of its own, as a user's shell starts it."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple


class Usage(NamedTuple):
    """Seconds on the clock and of the processor, and the peak memory in bytes, of one command."""

    wall: float
    processor: float
    memory: int


def ltbench(*arguments: str) -> Usage:
    """What `ltbench ARGUMENTS` takes; its bytecode is kept, as pip compiles what it installs."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    line = [sys.executable, "-m", "ltbench.cli", *arguments]
    begun = time.perf_counter()
    child = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - begun
    if status:
        raise SystemExit(f"{' '.join(line)} failed")
    scale = 1 if sys.platform == "darwin" else 1024
    return Usage(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale)


def summary(runs: Sequence[Usage]) -> dict[str, Any]:
    """Median, least and greatest of the runs."""
    result: dict[str, Any] = {}
    for key in ("wall", "processor"):
        values = [getattr(run, key) for run in runs]
        result[f"{key}_seconds"] = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {**result, "peak_memory_bytes": max(run.memory for run in runs), "runs": len(runs)}


def conditions() -> dict[str, Any]:
    """Where and under what load it was measured."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
    }
