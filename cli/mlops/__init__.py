"""From an MLflow project to a sound A/B test in production.

The package is laid out in layers; imports point down this list and never up, and parts on one
line never import each other:

    __main__
    commands | api                             parse, call, render | the same for programs
    workflows                                  flows that cross parts: promote, rollback, demo
    evaluation | live_page                     what was never live | what a server's page says
    training | deployment | serving | consumers | client | monitoring | scoring | explaining
    audit | sinks                              trail of changes | where the request log goes
    registry | journal | cluster               models, ledger | decisions, outcomes | Kubernetes
    runtimes | environments                    what executes a model, and with which packages
    spec | protocols | policies | rewards | stats | charts | linting
                                               frozen records, pure functions
    tables                                     CSV, JSON, Parquet, typed by a signature
    plugins                                    name -> implementation, imported on use
    settings | resources | lazy | forking
    errors
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops.api import (
        connect,
        deploy,
        feedback,
        history,
        promote,
        report,
        rollback,
        status,
        stop,
        train,
    )
    from mlops.client import AsyncClient, Client, Outcome

__all__ = [
    "AsyncClient",
    "Client",
    "Outcome",
    "__version__",
    "connect",
    "deploy",
    "feedback",
    "history",
    "promote",
    "report",
    "rollback",
    "status",
    "stop",
    "train",
]
__version__ = "0.1.0"
_OF_CLIENT = frozenset({"AsyncClient", "Client", "Outcome"})


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a function or a class
    # On use: a command pays for none of it, and a client of a deployment not for the commands.
    if name not in __all__:
        raise AttributeError(f"module `mlops` has no attribute `{name}`")
    value = getattr(import_module("mlops.client" if name in _OF_CLIENT else "mlops.api"), name)
    globals()[name] = value
    return value
