"""Which of a run's models becomes a version, and what to do with that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mlops.errors import NotFoundError, UsageError, did_you_mean, one_of
from mlops.registry.logged import Logged, logged_models
from mlops.spec.model import ModelVersion

if TYPE_CHECKING:
    from mlflow import MlflowClient


def choose_model(client: MlflowClient, run_id: str, wanted: str, *, needed: bool) -> Logged | None:
    """Return the model of a run that shall be registered.

    Args:
        client: Where the run is.
        run_id: The run.
        wanted: Its name in the run; empty means the only one.
        needed: Whether none at all is an error.

    Raises:
        NotFoundError: The run logged none, though one is needed, or none of that name.
        UsageError: It logged several and none is named.
    """
    models = logged_models(client, run_id)
    names = [model.name for model in models]
    if wanted and wanted not in names:
        raise NotFoundError(
            f"The run `{run_id}` logged no model `{wanted}`.",
            hint=did_you_mean(wanted, names) or f"It logged {one_of(names)}.",
        )
    if wanted:
        return models[names.index(wanted)]
    if len(models) > 1:
        raise UsageError(
            f"The run `{run_id}` logged {len(models)} models, {one_of(names)}.",
            hint="Say which to register with `--model NAME`, or use `--no-register`.",
        )
    if not models and needed:
        raise NotFoundError(
            f"The run `{run_id}` logged no model to register.",
            hint="The script must call `mlflow.<flavour>.log_model(…)`.",
        )
    return models[0] if models else None


def next_commands(model: ModelVersion | None, numbers: Sequence[int]) -> tuple[str, ...]:
    """Return what a person most likely wants now.

    Args:
        model: The version just registered, if any.
        numbers: All versions of that model, newest first.
    """
    if model is None:
        return ()
    if len(numbers) > 1:
        return (f"mlops deploy --ab {model.name}/{numbers[1]} {model.label}",)
    return (f"mlops deploy --model {model.label}",)
