"""May a candidate replace what it competes with? `mlops models compare --against champion`.

Baseline and candidates are judged on the same rows: of a file, or, where there is none, by the
metrics their runs logged, and then only if both runs logged the same data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import InvalidInputError, NotFoundError, UsageError
from mlops.registry.client import open_registry
from mlops.registry.comparison import Comparison, compare
from mlops.registry.evaluation import Evaluation, evaluate
from mlops.registry.faults import mlflow_errors
from mlops.registry.refs import look_up_model, newest_of, resolve
from mlops.registry.thresholds import Judgement, judge, parse_limit
from mlops.rewards.base import Terms
from mlops.spec.refs import parse_ref

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.registry.models import Model
    from mlops.registry.thresholds import Limit
    from mlops.settings.needs import TrainSettings
    from mlops.spec.model import ModelVersion


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """What to compare.

    Attributes:
        refs: Two or more models; with `against`, the candidates, none meaning the newest version
            of the project's model.
        against: The baseline; empty means the first of `refs`.
        data: File with the same rows for all; empty means the setting `feedback.data` if there are
            limits, else none.
        target: Column with the truth; empty means the setting `feedback.truth_column`.
        limits: How much worse than the baseline a candidate may be, as `rmse=1%`.
        allow_missing: Let candidates pass while there is no baseline yet.
    """

    refs: tuple[str, ...] = ()
    against: str = ""
    data: str = ""
    target: str = ""
    limits: tuple[str, ...] = ()
    allow_missing: bool = False


@dataclass(frozen=True, slots=True)
class Gate:
    """A comparison, and whether the candidates pass.

    Attributes:
        comparison: All models, the baseline first.
        evaluation: Their metrics on the same rows; None if no file was given.
        judgements: Each limit for each candidate.
        passed: Whether all hold; None without limits.
        notes: What a reader must know to judge this.
    """

    comparison: Comparison
    evaluation: Evaluation | None
    judgements: tuple[Judgement, ...]
    passed: bool | None
    notes: tuple[str, ...]


def run_gate(settings: TrainSettings, request: CompareRequest) -> Gate:
    """Compare models, on the same rows if there are any, and judge the candidates.

    Raises:
        UsageError: There are fewer than two models, or a limit is malformed.
        NotFoundError: A model does not exist.
        InvalidInputError: They were not measured on the same data, or a metric is missing.
        MlopsError: A model could not be loaded.
    """
    limits = [parse_limit(text) for text in request.limits]
    _check(request)
    client = open_registry(settings, reading=True)
    versions, notes = _versions(client, settings, request)
    comparison = compare(client, settings, versions)
    if request.against and len(versions) == 1:
        return Gate(comparison, None, (), True if limits else None, notes)
    evaluation = _evaluate(settings, request, versions, needed=bool(limits))
    notes += evaluation.notes if evaluation is not None else ()
    judgements = _judge(comparison, evaluation, limits)
    return Gate(
        comparison=comparison,
        evaluation=evaluation,
        judgements=judgements,
        passed=all(each.passed for each in judgements) if limits else None,
        notes=notes,
    )


def _check(request: CompareRequest) -> None:
    if not request.against and len(request.refs) < 2:
        raise UsageError(
            "A comparison needs two models.",
            hint="For example `mlops models compare wine/1 wine/2`, or `--against champion`.",
        )
    if request.allow_missing and not request.against:
        raise UsageError("`--allow-missing` is about the model that `--against` names.")


def _versions(
    client: MlflowClient, settings: TrainSettings, request: CompareRequest
) -> tuple[list[ModelVersion], tuple[str, ...]]:
    """Look up the models, the baseline first; without it if it is missing and may be."""
    if request.refs:
        found = [resolve(client, settings, parse_ref(ref)) for ref in request.refs]
    else:
        with mlflow_errors(settings):
            found = [newest_of(client, settings.project_name)]
    if not request.against:
        return found, ()
    try:
        baseline = _baseline(client, settings, request.against, found[0].name)
    except NotFoundError as error:
        if not request.allow_missing:
            raise NotFoundError(
                error.message,
                hint="The first of its kind has nothing to be compared with: `--allow-missing` "
                f"lets it pass. Otherwise: {error.hint}",
            ) from error
        return found[:1], (f"there is no `{request.against}` yet, so there is nothing to compare",)
    same = [each.label for each in found if each.source == baseline.source]
    notes = tuple(f"`{label}` is `{request.against}` itself" for label in same)
    return [baseline, *found], notes


def _baseline(client: MlflowClient, settings: TrainSettings, ref: str, model: str) -> ModelVersion:
    """Look up the baseline; a bare alias is first one of the candidate's own model."""
    parsed = parse_ref(ref)
    if parsed.kind == "name" and model:
        with mlflow_errors(settings):
            own = look_up_model(client, model)
        if own is not None and ref in own.aliases:
            return replace(resolve(client, settings, parse_ref(f"{model}@{ref}")), ref=ref)
    return resolve(client, settings, parsed)


def _evaluate(
    settings: TrainSettings,
    request: CompareRequest,
    versions: Sequence[ModelVersion],
    *,
    needed: bool,
) -> Evaluation | None:
    data = Path(request.data).expanduser() if request.data else None
    if data is None and needed and settings.feedback.data:
        data = settings.project_dir / settings.feedback.data
    if data is None:
        return None
    target = request.target or settings.feedback.truth_column
    if not target:
        raise UsageError(f"Which column of `{data}` is the truth?", hint="`--target COLUMN`")
    terms = Terms.of(costs=settings.feedback.costs, rule=settings.feedback.decision_rule)
    return evaluate(settings, versions, data, target, terms)


def _judge(
    comparison: Comparison, evaluation: Evaluation | None, limits: Sequence[Limit]
) -> tuple[Judgement, ...]:
    if not limits:
        return ()
    metrics = (
        list(evaluation.metrics) if evaluation is not None else _logged(comparison.models, limits)
    )
    labels = [model.version.label for model in comparison.models]
    missing = evaluation.missing if evaluation is not None else {}
    return tuple(
        judgement
        for label, values in zip(labels[1:], metrics[1:], strict=True)
        for judgement in judge(limits, label, metrics[0], values, missing)
    )


def _logged(models: Sequence[Model], limits: Sequence[Limit]) -> list[Mapping[str, float]]:
    """Return what the runs logged, if it was measured on the same data."""
    data = [dict(model.run.datasets) if model.run is not None else {} for model in models]
    if not data[0] or any(each != data[0] for each in data):
        names = ", ".join(f"`{limit.metric}`" for limit in limits)
        raise InvalidInputError(
            f"The runs did not log the same data, so their {names} cannot be compared.",
            hint="Have both predict the same rows: `--data held-out.csv --target COLUMN`.",
        )
    return [dict(model.run.metrics) if model.run is not None else {} for model in models]
