"""A model in a process and an environment of its own, called as if it were in this one.

Rows are checked and made what MLflow hands to a model on this side, so that a request means the
same to every arm; `child` runs on the other side, with the packages of the model, and calls it.
"""

from mlops.runtimes.isolated.model import IsolatedModel

__all__ = ["IsolatedModel"]
