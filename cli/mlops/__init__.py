"""From an MLflow project to a sound A/B test in production.

    train, deploy, report, promote, rollback   as the commands of these names
    feedback, status, history, stop            the same
    connect                                    a client of a deployment that runs on this machine
    Client, AsyncClient, Outcome               predictions and feedback, from an application
    SweepOptions                               how `train` makes several runs
    errors                                     what they raise; all are `errors.MlopsError`

`help(mlops.train)` shows the arguments; `docs/python.md` has examples.

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
    from mlops import errors
    from mlops.api import (
        SweepOptions,
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
    "SweepOptions",
    "__version__",
    "connect",
    "deploy",
    "errors",
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
# Others are functions of `mlops.api`.
_MODULES = {
    "AsyncClient": "mlops.client",
    "Client": "mlops.client",
    "Outcome": "mlops.client",
    "SweepOptions": "mlops.training.sweep.records",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a function, a class or a module
    # On use: a command pays for none of it, and a client of a deployment not for the commands.
    if name not in __all__:
        raise AttributeError(f"module `mlops` has no attribute `{name}`")
    if name == "errors":
        return import_module("mlops.errors")
    value = getattr(import_module(_MODULES.get(name, "mlops.api")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    # What Tab offers: what is public, loaded or not.
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
