"""Several models side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mlops.registry.models import Model, load_model_record

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.registry.models import RunFacts
    from mlops.settings.needs import StoreSettings
    from mlops.spec.model import ModelVersion

V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Row:
    """One property of every model.

    Attributes:
        name: The property.
        values: One per model, None where a model lacks it.
        same: Whether they are all equal.
    """

    name: str
    values: tuple[str | None, ...]
    same: bool


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric of every model.

    Attributes:
        name: The metric.
        values: One per model, None where a model lacks it.
        differences: Each value minus that of the first model, None where either is missing.
            Whether more is better, a metric's name does not say.
    """

    name: str
    values: tuple[float | None, ...]
    differences: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Several models, property by property.

    Attributes:
        models: The models, in the order asked for.
        metrics: Their metrics.
        params: Their parameters.
        datasets: Digests of the data they were trained on, where their runs logged them. Equal
            digests mean equal data.
    """

    models: tuple[Model, ...]
    metrics: tuple[MetricRow, ...]
    params: tuple[Row, ...]
    datasets: tuple[Row, ...]


def compare(
    client: MlflowClient, settings: StoreSettings, versions: Sequence[ModelVersion]
) -> Comparison:
    """Lay models side by side by what their runs logged.

    Raises:
        NotFoundError: The files of one are gone.
    """
    models = tuple(load_model_record(client, settings, version) for version in versions)
    runs = [model.run for model in models]
    return Comparison(
        models=models,
        metrics=tuple(_metric(*row) for row in _rows(runs, lambda run: run.metrics)),
        params=tuple(_row(*row) for row in _rows(runs, lambda run: run.params)),
        datasets=tuple(_row(*row) for row in _rows(runs, lambda run: run.datasets)),
    )


def _rows(
    runs: Iterable[RunFacts | None], of: Callable[[RunFacts], Mapping[str, V]]
) -> list[tuple[str, tuple[V | None, ...]]]:
    tables = [of(run) if run is not None else {} for run in runs]
    names = sorted({name for table in tables for name in table})
    return [(name, tuple(table.get(name) for table in tables)) for name in names]


def _row(name: str, values: tuple[str | None, ...]) -> Row:
    return Row(name, values, same=len(set(values)) == 1)


def _metric(name: str, values: tuple[float | None, ...]) -> MetricRow:
    first = values[0]
    return MetricRow(
        name,
        values,
        tuple(None if first is None or v is None else v - first for v in values),
    )
