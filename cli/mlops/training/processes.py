"""Which process started a run, and whether it is still there."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

#: Run tags that name the process which owns a run.
PID_TAG = "mlops.pid"
HOST_TAG = "mlops.host"
STARTED_TAG = "mlops.process_started"


def owner_tags() -> dict[str, str]:
    """Return the tags by which a later command finds whether this process is still alive."""
    pid = os.getpid()
    return {
        PID_TAG: str(pid),
        HOST_TAG: socket.gethostname(),
        STARTED_TAG: started_at(pid),
    }


def owner_is_gone(tags: dict[str, str]) -> bool:
    """Whether the process that owns a run is dead.

    A process of another machine is left alone, and so is a run that no mlops process owns. A number
    that was given to another process since is told apart by its start time.
    """
    if tags.get(HOST_TAG) != socket.gethostname() or not tags.get(PID_TAG, "").isdigit():
        return False
    return started_at(int(tags[PID_TAG])) != tags.get(STARTED_TAG)


def started_at(pid: int) -> str:
    """Return when a process started, in the system's own words; empty if there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The name, in parentheses, may hold anything; 22nd field, ticks since boot: proc(5).
            fields = stat.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            return ""
        return "" if fields[0] == "Z" else f"{_boot()}:{fields[19]}"
    found = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()


def _boot() -> str:
    """Return what changes with every boot, as ticks since boot start again."""
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8")
    except OSError:
        return ""
    return text.strip()[:8]
