"""Models and where they are: MLflow's registry and the artifact stores behind it.

MLflow is the system of record, so nothing here keeps state of its own; records leave this package
frozen and free of MLflow types, except the client itself, which callers pass back in.
"""

from mlops.registry.client import LEDGER_PREFIX, experiment_id, open_registry
from mlops.registry.faults import mlflow_errors
from mlops.registry.fetching import fetch, fetched
from mlops.registry.refs import resolve, resolve_all

__all__ = [
    "LEDGER_PREFIX",
    "experiment_id",
    "fetch",
    "fetched",
    "mlflow_errors",
    "open_registry",
    "resolve",
    "resolve_all",
]
