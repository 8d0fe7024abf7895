"""Processes and their groups, with nothing but the standard library."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path


def signal_group(group: int, number: int) -> bool:
    """Send a signal to a process group; return whether a process was there to get it."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def has_ended(pid: int) -> bool:
    """Whether a child has ended; it is not reaped."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def has_members(group: int) -> bool:
    """Whether a process other than its dead leader is left in a process group."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - thousands of names, no paths needed
        if name.isdigit() and int(name) != group:
            with suppress(OSError):
                stat = Path("/proc", name, "stat").read_text(encoding="utf-8", errors="replace")
                fields = stat.rpartition(")")[2].split()
                # Third field of proc(5) is the state, fifth the group.
                if int(fields[2]) == group and fields[0] != "Z":
                    return True
    return False


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the warm parent is killed."""
    with suppress(OSError, AttributeError):
        import ctypes

        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
