"""The validation figures of a model: what its run logged as metrics."""

from __future__ import annotations

import json

from mlops.errors import NotFoundError, RemoteError
from mlops.monitoring.quality_measures import validation_figures
from mlops.monitoring.quality_watch import Figures
from mlops.settings import Settings
from mlops.spec.model import ModelVersion
from mlops.workflows.auto_ramp import Run, error_told, run_mlops


def figures_of(settings: Settings, model: ModelVersion) -> Figures:
    """Return the validation figures of a model; none where its run logged none or is gone.

    Raises:
        RemoteError: The tracking server cannot be reached.
    """
    if not model.run_id:
        return {}
    from mlops.registry.models import show_model

    try:
        run = show_model(settings, _pinned(model)).run
    except NotFoundError:
        return {}
    return validation_figures(run.metrics) if run is not None else {}


def figures_by_command(model: ModelVersion, run: Run = run_mlops) -> Figures:
    """Return the same, by another process: MLflow takes more memory than all consumers.

    None where there is no registry here, as in a pod.

    Raises:
        RemoteError: The registry cannot say. What is told once is kept, so it is not "none".
    """
    if not model.run_id:
        return {}
    pinned = _pinned(model)
    code, out, errors = run(["models", "show", pinned, "--json"])
    if code == NotFoundError.exit_code:
        return {}
    if code:
        said = error_told(out, errors)
        raise RemoteError(f"The validation figures of `{pinned}` cannot be read: {said}")
    facts = json.loads(out)["run"]
    return validation_figures(facts["metrics"]) if facts else {}


def _pinned(model: ModelVersion) -> str:
    """Return a reference to this very version: an alias may have moved since."""
    return f"{model.name}/{model.version}" if model.name else model.ref
