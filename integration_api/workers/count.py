"""How many workers there are: as the settings say, or as many as this container may use CPUs."""

import os
from pathlib import Path

_AUTO = "auto"
_MOST = 256
_CGROUP = Path("/sys/fs/cgroup")


def worker_count(text: str, cgroup: Path = _CGROUP) -> int:
    """The number that the setting `workers` stands for. Reads files.

    Raises:
        ValueError: it is neither `auto` nor a number from 1 to 256.
    """
    if text.strip().lower() == _AUTO:
        return cpus(cgroup)
    if not text.strip().isdecimal() or not 1 <= int(text) <= _MOST:
        raise ValueError(f"workers must be a number from 1 to {_MOST}, or auto")
    return int(text)


def cpus(cgroup: Path = _CGROUP) -> int:
    """CPUs that this process may use: those it may run on, and no more than the cgroup's quota allows; at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroup)
    return max(1, allowed if quota is None else min(allowed, int(quota)))


def _quota(cgroup: Path) -> float | None:
    """CPUs' worth of time per period, of cgroup v2 or v1; None where there is no limit, or none can be read."""
    try:
        limit, period = (cgroup / "cpu.max").read_text("ascii").split()
    except (OSError, ValueError):
        try:
            limit = (cgroup / "cpu/cpu.cfs_quota_us").read_text("ascii").strip()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text("ascii").strip()
        except OSError:
            return None
    if not limit.isdecimal() or not period.isdecimal() or not int(period):
        return None  # "max", or -1
    return int(limit) / int(period)
