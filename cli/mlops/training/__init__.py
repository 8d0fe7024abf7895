"""Running an MLproject so that its run, its model and its status are recorded.

`train` owns the run: it creates it, starts MLflow's own project runner in a process group of its
own, and gives the run its final status from how that process ended. A run that says FINISHED
did finish. (MLflow alone leaves a run RUNNING if the script is killed, and FINISHED if the script
fails after its last `with` block.)
"""

from mlops.training.train import TrainRequest, TrainResult, train, train_or_sweep

__all__ = ["TrainRequest", "TrainResult", "train", "train_or_sweep"]
