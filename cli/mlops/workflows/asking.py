"""Asking the arms of a running server about rows, outside of the statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlops.deployment.admin_client import score
from mlops.errors import ConflictError
from mlops.monitoring.same_rows import Ask
from mlops.rewards import Answer
from mlops.spec.server import ServerState


def asking(state: ServerState | None) -> Ask | None:
    """Return what asks the arms of a server on this machine; None where none runs."""
    if state is None or state.stopped_ms is not None:
        return None

    def ask(experiment: str, rows: Sequence[Any]) -> list[list[Answer]]:
        if state.launch.served.revision.spec.experiment != experiment:
            raise ConflictError("Another experiment is live.")
        return score(state.launch.socket, rows)

    return ask
