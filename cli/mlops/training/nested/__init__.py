"""Runs that a script starts with `mlflow.projects.run`: they get the environment manager set here.

Unless told, MLflow makes an environment for each of them from scratch, whatever the run around them
was told (https://github.com/mlflow/mlflow/issues/11849). And they get the run as their parent also
where the script has not entered it with `mlflow.start_run`, so that a model that a step logged can
be found and registered. `MLOPS_TRAINING_ENV_MANAGER` in a script's
environment says what was chosen. `sitecustomize` is the code: a fork of the warm parent calls it,
and another interpreter finds it on its PYTHONPATH when it starts.
"""

from pathlib import Path

#: The variable that says which manager nested runs get; it is our setting's own.
VARIABLE = "MLOPS_TRAINING_ENV_MANAGER"
#: What a PYTHONPATH starts with, for an interpreter that is not forked.
FOLDER = Path(__file__).parent
