"""Runs at once that log the same data.

MLflow's database store looks whether a dataset is known to the experiment and inserts it if not. Of
two runs that do so at the same moment, as the first trials of a parallel sweep do, one inserts, and
the other's whole run fails: `UNIQUE constraint failed: datasets.experiment_id, …`.
"""

from __future__ import annotations

import functools
from typing import Any


def look_again() -> None:
    """Have the store in this process and its forks check a second time before such a run fails."""
    from mlflow.exceptions import MlflowException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy.exc import IntegrityError

    log_inputs: Any = SqlAlchemyStore.log_inputs

    @functools.wraps(log_inputs)
    def twice(*args: object, **kwargs: object) -> Any:  # noqa: ANN401 - as MLflow has it
        try:
            return log_inputs(*args, **kwargs)
        except MlflowException as error:
            # The transaction was rolled back as a whole.
            if not isinstance(error.__cause__, IntegrityError):
                raise
        return log_inputs(*args, **kwargs)

    SqlAlchemyStore.log_inputs = twice
