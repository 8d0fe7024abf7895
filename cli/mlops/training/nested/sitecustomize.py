"""Have `mlflow.projects.run` use the environment manager of the run around it, unless told.

And have its run name that run as its parent.

Runs in the project's interpreter, which may be as old as Python 3.6 and has no `mlops`.
"""

import importlib.machinery
import importlib.util
import os
import sys
from typing import Any

_BACKEND = "mlflow.projects.backend.local"
_VARIABLE = "MLOPS_TRAINING_ENV_MANAGER"
_PARENT = "mlflow.parentRunId"


def install() -> None:
    """Change MLflow's local backend, now or when it is imported."""
    manager = os.environ.get(_VARIABLE)
    if not manager:
        return
    # `mlflow.start_run` takes it out of the environment.
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    if _BACKEND in sys.modules:
        _change(sys.modules[_BACKEND], manager, run_id)
    else:
        sys.meta_path.insert(0, _Finder(manager, run_id))


class _Finder:
    """Finds the backend as others do, and changes it once it is loaded."""

    def __init__(self, manager: str, run_id: str) -> None:
        self.manager, self.run_id = manager, run_id

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != _BACKEND:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute, manager, run_id = loader.exec_module, self.manager, self.run_id

        def exec_module(module: Any) -> None:
            execute(module)
            _change(module, manager, run_id)

        loader.exec_module = exec_module
        return spec


def _change(module: Any, manager: str, run_id: str) -> None:
    backend: Any = getattr(module, "LocalBackend", None)
    run = getattr(backend, "run", None)
    if run is None or run.__module__ == __name__:
        return
    own = os.path.realpath(os.getcwd())

    def with_manager(
        self: Any, uri: Any, entry: Any, params: Any, version: Any, config: Any, *rest: Any
    ) -> Any:
        if config.get("ENV_MANAGER") is None:
            # The environment of this project is the current one.
            chosen = "local" if os.path.realpath(str(uri)) == own else manager
            config = dict(config, ENV_MANAGER=chosen)
        submitted = run(self, uri, entry, params, version, config, *rest)
        _name_parent(submitted.run_id, run_id)
        return submitted

    backend.run = with_manager


def _name_parent(run_id: str, parent: str) -> None:
    """Say of a nested run which run started it; MLflow does so inside `mlflow.start_run` alone."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    if parent and run_id and _PARENT not in client.get_run(run_id).data.tags:
        client.set_tag(run_id, _PARENT, parent)


def _stand_aside() -> None:
    """Leave `sys.path`, and run the `sitecustomize` that this one shadowed."""
    folder = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != folder]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        theirs = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = theirs
        spec.loader.exec_module(theirs)


if __name__ == "sitecustomize":
    _stand_aside()
    install()
