"""A tracking server for the length of a command, between a run and the local database.

MLflow's database has a schema that only one version of MLflow reads. A project whose environment
holds another MLflow, or only `mlflow-skinny`, logs by HTTP instead, which all versions speak.
Artifacts do not pass through it: the run's script writes them where mlops would.
"""

from mlops.training.store.serving import reach_store

__all__ = ["reach_store"]
