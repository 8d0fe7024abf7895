"""`mlops explain`: why models answer what they do, and why two arms differ."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlops.deployment.isolation import isolate
from mlops.deployment.journals import open_journal
from mlops.deployment.runtime_files import known_names, pick_name, places, read_server_state
from mlops.errors import InvalidInputError, NotFoundError, UsageError, one_of
from mlops.explaining import (
    Explainable,
    Explanation,
    Importance,
    Rows,
    are_comparable,
    explain_all,
    importance,
    newest_requests,
    too_few,
)
from mlops.journal.features import KeptRows, not_kept
from mlops.journal.sql import SqlJournal
from mlops.registry import fetched
from mlops.registry.refs import resolve_all
from mlops.registry.trust import check_trusted
from mlops.runtimes.example import read_example
from mlops.runtimes.folder import read_mlmodel
from mlops.settings import Settings
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.request_id import read as read_id
from mlops.tables import Table, read_path
from mlops.tables.documents import table_of
from mlops.tables.signature import Signature

#: Most rows that are explained at once.
MAX_ROWS = 100


@dataclass(frozen=True, slots=True)
class ArmExplained:
    """The answers of one arm, explained.

    Attributes:
        arm: Its name.
        model: Its model.
        served: Whether it answered the request that was asked about.
        method: `linear`, `trees`, `xgboost`, `lightgbm` or `permutations`.
        exact: Whether the shares have no error of Monte Carlo.
        output: What is explained of all rows.
        explained: The same by row, with the class or the answer that is meant.
        classes: That class or answer, by row; None where it is none, or no single value.
        base: What the shares count from, by row.
        outputs: The explained output, by row.
        shares: Feature to its share, by row.
        errors: Feature to the standard error of its share, by row; None where exact.
        gap: Largest of |base + sum of shares - output|.
    """

    arm: str
    model: str
    served: bool
    method: str
    exact: bool
    output: str
    explained: tuple[str, ...]
    classes: tuple[Any, ...] | None
    base: tuple[float, ...]
    outputs: tuple[float, ...]
    shares: tuple[dict[str, float], ...]
    errors: tuple[dict[str, float], ...] | None
    gap: float


@dataclass(frozen=True, slots=True)
class Explained:
    """Rows explained.

    Attributes:
        of: The deployment or the model.
        request_id: The request that was asked about; empty if none.
        rows: The rows, feature to cell.
        background: What the shares count from, for people.
        background_rows: How many rows that has.
        arms: One for each arm.
        comparable: Whether the shares of all arms are of the same output, so that they may be
            subtracted.
        note: Why the shares may mislead; empty if nothing is known of that.
    """

    of: str
    request_id: str
    rows: tuple[dict[str, Any], ...]
    background: str
    background_rows: int
    arms: tuple[ArmExplained, ...]
    comparable: bool
    note: str = ""


def explained(
    settings: Settings,
    ref: str | None,
    *,
    request_id: str = "",
    data: str = "",
    background: str = "",
    by_permutations: bool = False,
    output: str = "",
) -> Explained:
    """Explain a request of a deployment, or rows of a file.

    Args:
        settings: The project's settings.
        ref: A deployment, or a model; None for the only deployment.
        request_id: A request that the deployment answered.
        data: A file with rows.
        background: A file with rows to count from; empty for the newest requests of a deployment,
            and the input example of a model.
        by_permutations: Do so also where there is an exact method, to have arms in one unit.
        output: Name or position of the one to explain of several values that a model answers.

    Raises:
        NotFoundError: There is no such deployment, model or request; or its features are gone.
        InvalidInputError: The model does not take the rows.
        UsageError: An arm is behind an endpoint.
    """
    name = "" if ref and ref not in known_names(settings) else pick_name(settings, ref)
    if request_id and not name:
        raise UsageError(
            f"`{ref}` is no deployment, whose requests have ids.", hint="`--data FILE`"
        )
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(_journal(settings, name)) if name else None
        served = ""
        if request_id and journal is not None:
            spec, kept, served = _asked(settings, name, journal, request_id)
        elif name:
            state = read_server_state(places(settings, name))
            if state is None:
                raise NotFoundError(f"`{name}` was never started here.", hint="`--data` with a REF")
            spec, kept = state.launch.served.revision.spec, None
        else:
            (version,) = resolve_all(settings, [ref or ""])
            spec, kept = DeploymentSpec("explain", (Arm(version.label, version, 1.0),)), None
        models = stack.enter_context(_loaded(settings, spec))
        signature = models[0].signature
        rows = _rows(kept, models) if kept else _file(data, signature)
        given, said = _background(settings, background, journal, spec, models, rows)
        at = next((at for at, arm in enumerate(spec.arms) if arm.name == served), 0)
        found = _all(models, rows, given, at, by_permutations=by_permutations, output=output)
    comparable = are_comparable(found)
    arms = tuple(
        _arm(arm, arm.name == served, each) for arm, each in zip(spec.arms, found, strict=True)
    )
    n, m = (len(next(iter(each.values()))) for each in (rows, given))
    plain = tuple({key: cells[at] for key, cells in rows.items()} for at in range(n))
    note = too_few(m, [each.method for each in arms])
    if note:
        note += " `--background FILE` names more, as 100 rows of the training data."
    label = name or spec.arms[0].model.label
    return Explained(label, request_id, plain, said, m, arms, comparable, note)


def importance_of(
    settings: Settings, name: str, on_phase: Callable[[str], None] = lambda _: None
) -> list[Importance]:
    """Return how important the features are to each live arm, by the newest requests.

    Args:
        settings: The project's settings.
        name: A deployment that was started here.
        on_phase: Called with what is done now.

    Raises:
        NotFoundError: It was never started here, or its journal has no features.
        InvalidInputError: A model does not take the requests.
        UsageError: An arm is behind an endpoint.
    """
    state = read_server_state(places(settings, name))
    if state is None:
        raise NotFoundError(f"`{name}` was never started here.", hint="Leave `--importance` out.")
    spec = state.launch.served.revision.spec
    on_phase("Loading the models")
    with _journal(settings, name) as journal, _loaded(settings, spec) as models:
        requests = _newest(journal, models, models[0].signature.names)
        if not requests:
            raise NotFoundError(
                "None of the newest requests has all features of the model in the journal.",
                hint="`[journal] features`, `drop` and `hash` say which are kept.",
            )
        found = []
        for arm, model in zip(spec.arms, models, strict=True):
            on_phase(f"Explaining {arm.name}")
            found.append(importance(arm.name, model, requests))
        return found


def _all(
    models: Sequence[Explainable], rows: Rows, background: Rows, served: int,
    *, by_permutations: bool, output: str,
) -> list[Explanation]:  # fmt: skip
    found = explain_all(
        models, rows, background, served, by_permutations=by_permutations, output=output
    )
    if not are_comparable(found) and not by_permutations:
        # Log-odds of one and probabilities of another cannot be subtracted.
        again = explain_all(models, rows, background, served, by_permutations=True, output=output)
        if are_comparable(again):
            return again
    return found


@contextlib.contextmanager
def _journal(settings: Settings, name: str) -> Iterator[SqlJournal]:
    journal = open_journal(settings, name, read_server_state(places(settings, name)))
    try:
        yield journal
    finally:
        journal.close()


def _asked(
    settings: Settings, name: str, journal: SqlJournal, request_id: str
) -> tuple[DeploymentSpec, KeptRows, str]:
    """Return the spec that answered a request, its rows, and the name of the arm."""
    from mlops.journal.terms import is_spec
    from mlops.spec.deployment import from_dict

    where = places(settings, name)
    asked = read_id(where.key.read_bytes(), request_id)
    found = journal.decision(asked.nonce)
    if found is None:
        raise NotFoundError(f"The journal of `{name}` has no request `{request_id}`.")
    if found.rows is None:
        raise NotFoundError(
            "The features of this request were not kept, or are forgotten.",
            hint="`[journal] features`, `hash` and `drop` say which are kept: of rows without "
            "names none, where something is hidden. `--data FILE` names rows.",
        )
    specs = {e.revision: e.spec for e in journal.revision_events() if is_spec(e) and e.spec}
    document = specs.get(found.decision.revision)
    if document is None:
        raise NotFoundError(f"The journal does not say what revision {asked.revision} was.")
    spec = from_dict(document)
    return spec, found.rows, spec.arms[found.decision.arm].name


@contextlib.contextmanager
def _loaded(settings: Settings, spec: DeploymentSpec) -> Iterator[list[Explainable]]:
    remote = [arm.name for arm in spec.arms if arm.model.endpoint is not None]
    if remote:
        raise UsageError(f"The arm `{remote[0]}` is behind an endpoint, and cannot be explained.")
    spec = replace(spec, shadows=())
    versions = [arm.model for arm in spec.arms]
    with fetched(versions, settings) as folders, contextlib.ExitStack() as stack:
        check_trusted(settings, versions, folders)
        pythons = isolate(settings, spec, [str(each) for each in folders], lambda _: None)
        models = []
        for index, folder in enumerate(folders):
            models.append(Explainable.load(Path(folder), pythons[index] if pythons else ""))
            stack.callback(models[-1].close)
        yield models


def _inputs(models: Sequence[Explainable]) -> dict[str, bool]:
    """Return what the arms take by name, and whether one of them cannot do without."""
    found: dict[str, bool] = {}
    for model in models:
        for column in model.signature.columns:
            found[column.name] = found.get(column.name, False) or column.required
    return found


def _newest(journal: SqlJournal, models: Sequence[Explainable], names: Sequence[str]) -> Rows:
    """Return the newest requests with every input, or else those that lack optional ones."""
    optional = [name for name, required in _inputs(models).items() if not required]
    return newest_requests(journal, names) or newest_requests(journal, names, optional)


def _rows(kept: KeptRows, models: Sequence[Explainable]) -> Rows:
    inputs = _inputs(models)
    names = kept.names or list(models[0].signature.names)
    if lacking := not_kept(names, (name for name, required in inputs.items() if required)):
        raise InvalidInputError(
            f"This request cannot be explained: {lacking}.",
            hint="`--data FILE` explains rows of a file. Later requests can be explained if the "
            "journal keeps every input of the model, or the model does not take that column.",
        )
    rows = [row for row in kept.rows if isinstance(row, list) and len(row) == len(names)]
    if not rows:
        raise InvalidInputError("The request has no rows of named columns, which have no shares.")
    found: Rows = dict(zip(names, map(list, zip(*rows[:MAX_ROWS], strict=True)), strict=True))
    # What is optional and was not sent is missing to a model, as when it answered.
    return {
        **found,
        **{name: [None] * len(rows[:MAX_ROWS]) for name in inputs if name not in found},
    }


def _file(data: str, signature: Signature) -> Rows:
    table = _read(data, signature)
    if len(table) > MAX_ROWS:
        raise InvalidInputError(
            f"`{data}` has {len(table):,} rows; at most {MAX_ROWS} are explained at once.",
            hint="Name a file with those that matter, or one request with `--request-id`.",
        )
    return dict(table.columns)


def _read(name: str, signature: Signature) -> Table:
    try:
        table = read_path(Path(name), signature)
    except InvalidInputError as error:
        raise InvalidInputError(f"`{name}`: {error.message}") from error
    if not len(table):
        raise InvalidInputError(f"`{name}` has no rows.")
    return table


def _background(
    settings: Settings, file: str, journal: SqlJournal | None, spec: DeploymentSpec,
    models: Sequence[Explainable], rows: Rows,
) -> tuple[Rows, str]:  # fmt: skip
    """Return rows to count from, and what they are."""
    signature = models[0].signature
    if file:
        return dict(_read(file, signature).columns), f"the rows of {file}"
    names = list(_inputs(models) or rows)
    if journal is not None and (found := _newest(journal, models, names)):
        return found, f"the newest requests of {spec.name}"
    folder = models[0].folder
    body = read_example(folder.path, read_mlmodel(folder.path)) if folder else None
    if body is None:
        raise InvalidInputError(
            f"Nothing says which rows the shares of {one_of(names[:3])}… count from.",
            hint="`--background FILE`, for example a sample of the training data",
        )
    return dict(table_of(body, signature).columns), "the input example of the model"


def _arm(arm: Arm, served: bool, found: Explanation) -> ArmExplained:
    def by_row(values: Any) -> tuple[dict[str, float], ...]:  # noqa: ANN401 - an array
        return tuple(dict(zip(found.names, row, strict=True)) for row in values.tolist())

    return ArmExplained(
        arm=arm.name,
        model=arm.model.label,
        served=served,
        method=found.method,
        exact=found.errors is None,
        output=found.output,
        explained=tuple(found.output_of(row) for row in range(len(found.outputs))),
        classes=found.single_classes,
        base=tuple(found.base.tolist()),
        outputs=tuple(found.outputs.tolist()),
        shares=by_row(found.shares),
        errors=None if found.errors is None else by_row(found.errors),
        gap=found.gap,
    )
