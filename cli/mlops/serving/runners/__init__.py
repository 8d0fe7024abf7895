"""Runners: each arm's own queue, concurrency limit and deadline.

An arm that hangs, or is flooded, takes nothing from another one, from feedback or from a health
check: whatever it waits for, it waits for in its own runner.
"""

from mlops.serving.runners.base import DEADLINE_S, Runner, RunnerStats
from mlops.serving.runners.gathering import GatheringRunner
from mlops.serving.runners.inline import InlineRunner
from mlops.serving.runners.process import ProcessRunner
from mlops.serving.runners.remote import RemoteRunner
from mlops.serving.runners.thread import THREADS, ThreadRunner

__all__ = [
    "DEADLINE_S",
    "THREADS",
    "GatheringRunner",
    "InlineRunner",
    "ProcessRunner",
    "RemoteRunner",
    "Runner",
    "RunnerStats",
    "ThreadRunner",
]
