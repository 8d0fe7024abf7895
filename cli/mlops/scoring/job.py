"""One job: every row of the inputs gets the answer of one arm, or of all.

What was scored is known by its parts. `_batch.json` beside them says of which models and inputs
they are, so that a job that was ended continues, and another one is not mixed with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlops.errors import ConflictError, InvalidInputError, NotFoundError
from mlops.protocols.base import Columns as Payload
from mlops.protocols.base import ProtocolError, Source
from mlops.registry.stores import Store
from mlops.scoring.drawing import Draw, Drawn, write_units
from mlops.scoring.inputs import Inputs
from mlops.scoring.writing import Form, is_same_form, kinds_of, recast, widened, write_part
from mlops.tables.signature import Signature
from mlops.tables.streaming import chunks, form_of
from mlops.tables.table import Table

#: Predicts the rows of a payload, one JSON value each.
Ask = Callable[[Payload, int], Sequence[Any]]
#: Name of a column of the output to its cells.
Cells = dict[str, list[Any]]
#: Scores chunks, each as `scored` does, and yields key and columns in the order of the chunks.
Execute = Callable[["Job", Iterator["Chunk"]], Iterator[tuple[str, Cells]]]
_JOB = "_batch.json"
_OWN = ("file", "row", "arm", "model", "propensity", "unit_kept", "prediction", "error")


@dataclass(frozen=True, slots=True)
class Scorer:
    """One arm.

    Attributes:
        name: Its name.
        label: Its model, human-readable.
        identity: What makes it this model.
        ask: Predicts.
        signature: Of its model.
        classes: That its model chooses from, in the order of its probabilities; empty if unknown.
    """

    name: str
    label: str
    identity: tuple[str, ...]
    ask: Ask
    signature: Signature
    classes: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """What to do.

    Attributes:
        scorers: The arms, in their order.
        draw: How rows are drawn an arm.
        all_arms: Whether every arm predicts every row.
        keep: Columns of the input that go to the output.
        rows: Rows of a chunk.
        form: Of the output.
        skip_errors: Whether a row that a model refuses gets its error instead of ending the job.
    """

    scorers: tuple[Scorer, ...]
    draw: Draw
    all_arms: bool = False
    keep: tuple[str, ...] = ()
    rows: int = 10_000
    form: Form = "parquet"
    skip_errors: bool = False

    def identity(self, inputs: Inputs) -> dict[str, Any]:
        """What tells that parts are of this job, as JSON data."""
        arms = [[each.name, *each.identity] for each in self.scorers]
        draw = self.draw
        drawn = hashlib.sha256(draw.key + draw.salt).hexdigest()[:16]
        units = {"units": draw.kept.digest if draw.kept else ""} if draw.has_units else {}
        return {
            "schema_version": 1,
            "arms": arms,
            "shares": list(draw.shares),
            "draws": [drawn, draw.unit],
            **units,
            "all_arms": self.all_arms,
            "keep": list(self.keep),
            "rows": self.rows,
            "form": self.form,
            "skip_errors": self.skip_errors,
            "inputs": inputs.identity,
        }


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows that are predicted together.

    Attributes:
        key: Of the part that they become.
        file: Where they are from.
        first: Position of the first one there.
        table: The n rows.
        drawn: The arms that they get.
    """

    key: str
    file: str
    first: int
    table: Table
    drawn: Drawn


@dataclass(frozen=True, slots=True)
class Scored:
    """What a job has done.

    Attributes:
        rows: Rows that were scored now.
        resumed: Rows that an earlier run had scored.
        errors: Rows, of those scored now, that a model refused.
        parts: Keys of the parts, in the order of the rows.
        by_arm: Rows scored now by the arm that was drawn.
        kept: Rows, of those scored now, whose unit keeps its arm from an earlier revision.
        ignored: Columns of the files that are neither the models' nor kept.
        classes: Of each arm that answers a number per class, these.
    """

    rows: int
    resumed: int
    errors: int
    parts: tuple[str, ...]
    by_arm: Mapping[str, int]
    kept: int = 0
    ignored: tuple[str, ...] = ()
    classes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(slots=True)
class _Types:
    """Types of the output's columns, as `_batch.json` says beside what the job is.

    Attributes:
        kinds: By name; empty until a chunk is scored.
        stale: Whether there may be parts with narrower types than these.
    """

    kinds: dict[str, str] = field(default_factory=dict)
    stale: bool = False

    def take(self, columns: Mapping[str, list[Any]], form: Form) -> bool:
        """Widen by the cells of a chunk; return whether this changes anything."""
        wider = widened(self.kinds, columns) if self.kinds else kinds_of(columns)
        changed = wider != self.kinds
        self.stale = self.stale or not is_same_form(form, self.kinds, wider)
        self.kinds = wider
        return changed


def one_by_one(job: Job, chunks: Iterator[Chunk]) -> Iterator[tuple[str, Cells]]:
    """Score chunks in this process."""
    for chunk in chunks:
        yield chunk.key, scored(job, chunk)


def score(
    job: Job,
    inputs: Inputs,
    store: Store,
    on_progress: Callable[[int], None] = lambda _: None,
    execute: Execute = one_by_one,
) -> Scored:
    """Score all inputs into a store.

    Args:
        job: What to do.
        inputs: The files.
        store: Its root is where the parts go.
        on_progress: Called with the rows done so far.
        execute: Where chunks are scored.

    Raises:
        ConflictError: There are parts of another job, or one has begun there in the meantime.
        InvalidInputError: A file cannot be read, or a model refuses a row; file and row are named.
    """
    types = _begin(job, inputs, store)
    there = {file.key for file in store.files("part-")}
    parts: list[str] = []
    rows = resumed = errors = kept = 0
    by_arm = {scorer.name: 0 for scorer in job.scorers}
    wanted = _wanted(job)
    ignored: dict[str, None] = {}
    of_arm = {scorer.name: scorer.classes for scorer in job.scorers}
    # Arms whose answers are no number per class.
    others: set[str] = set()

    def missing() -> Generator[Chunk, None, None]:
        nonlocal resumed
        for key, file, first, table in _all_chunks(job, inputs):
            parts.append(key)
            if wanted is not None:
                ignored.update(dict.fromkeys(name for name in table.names if name not in wanted))
            if key in there:
                resumed += len(table)
                on_progress(rows + resumed)
            else:
                yield Chunk(key, file, first, table, job.draw.rows(table, file, first))

    with closing(missing()) as chunks:
        for key, columns in execute(job, chunks):
            if not types.kinds:
                # Scoring took a while, in which another job may have begun there.
                types = _begin(job, inputs, store)
            if types.take(columns, job.form):
                # First, so that a job that is ended now knows of parts to recast.
                _put_state(job, inputs, store, types)
            told = _classes(job, columns, types.kinds)
            _put(store, key, lambda at: write_part(at, job.form, columns, types.kinds, told))  # noqa: B023 - called at once
            rows += len(columns["row"])
            errors += sum(each is not None for each in columns.get("error", ()))
            kept += sum(columns.get("unit_kept", ()))
            for name, answer in zip(columns["arm"], columns["prediction"], strict=True):
                by_arm[name] += 1
                if type(answer) is list and len(answer) != len(of_arm[name]):
                    others.add(name)
            on_progress(rows + resumed)
    if types.stale:
        for key in parts:
            _recast(store, key, types.kinds)
        types.stale = False
        _put_state(job, inputs, store, types)
    # In a store nothing keeps others out: one that began at the same moment is noticed here.
    _begin(job, inputs, store)
    is_listed = types.kinds.get("prediction") == "numbers"
    classes = {name: of for name, of in of_arm.items() if is_listed and of and name not in others}
    return Scored(rows, resumed, errors, tuple(parts), by_arm, kept, tuple(ignored), classes)


def _classes(job: Job, columns: Cells, kinds: Mapping[str, str]) -> dict[str, tuple[Any, ...]]:
    """Return the classes of the columns that have a number for each of them."""
    of = {f"prediction_{each.name}": each.classes for each in job.scorers}
    if len({each.classes for each in job.scorers}) == 1:
        of["prediction"] = job.scorers[0].classes
    return {
        name: classes
        for name, classes in of.items()
        if classes
        and kinds.get(name) == "numbers"
        and all(cell is None or len(cell) == len(classes) for cell in columns[name])
    }


def _all_chunks(job: Job, inputs: Inputs) -> Iterator[tuple[str, str, int, Table]]:
    """Yield the chunks of all inputs: key, file, position of the first row, and rows."""
    for number, file in enumerate(inputs.files):
        first = 0
        with file.here() as path:
            for index, table in enumerate(_chunks(path, job)):
                yield f"part-{number:05}-{index:07}.{job.form}", file.name, first, table
                first += len(table)


def _chunks(path: Path, job: Job) -> Iterator[Table]:
    signature = job.scorers[0].signature
    return chunks(path, signature, job.rows, wanted=_wanted(job), written=job.draw.unit)


def _wanted(job: Job) -> set[str] | None:
    """Return the columns whose types matter beside those of the signature; None for all."""
    if not all(each.signature.columns for each in job.scorers):
        return None
    names = {name for each in job.scorers for name in each.signature.names}
    return names | {*job.keep} | ({job.draw.unit} - {""})


def begun(store: Store) -> dict[str, Any] | None:
    """Read `_batch.json`, which says what job has begun there; None if there is none.

    Raises:
        ConflictError: It is damaged.
    """
    with TemporaryDirectory(prefix="mlops-batch-") as folder:
        path = Path(folder, _JOB)
        try:
            store.get(_JOB, path)
        except NotFoundError:
            return None
        try:
            known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            known["columns"].items()
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ConflictError(f"`{store.location}/{_JOB}` is damaged: {error!r}.") from error
    return known


def _begin(job: Job, inputs: Inputs, store: Store) -> _Types:
    """Return the types of the columns, if parts of this job are there."""
    known = begun(store)
    if known is None:
        if next(store.files("part-"), None) is not None:
            raise ConflictError(
                f"`{store.location}` has parts, and no `{_JOB}` that says of what.",
                hint="Choose another `--out`.",
            )
        if job.draw.kept is not None:
            write_units(store, job.draw.kept)
        return _Types()
    types = _Types(known["columns"], known.get("stale", False))
    asked = json.loads(json.dumps(job.identity(inputs)))
    differs = [name for name in asked if asked[name] != known.get(name)]
    if differs == ["arms"] and _lack_pins(known.get("arms"), asked["arms"]):
        raise ConflictError(
            f"The job in `{store.location}` was begun by an earlier mlops, which did not pin the "
            "model to its files, so it is unknown whether they are the same.",
            hint="Choose another `--out`, or empty that one, to score all rows with what is there.",
        )
    if differs:
        raise ConflictError(
            f"`{store.location}` has the output of another job: {', '.join(differs)} differ.",
            hint="Choose another `--out`, or empty that one.",
        )
    return types


def _lack_pins(begun_with: object, asked: list[list[str]]) -> bool:
    """Whether arms differ only in digests, which earlier versions did not write."""
    if not isinstance(begun_with, list) or len(begun_with) != len(asked):
        return False
    # Each is its name, then label and source of its model, and a digest where that is pinned.
    pairs = zip(begun_with, asked, strict=True)
    return all(was in (arm, arm[:3]) for was, arm in pairs)


def scored(job: Job, chunk: Chunk) -> Cells:
    """Return the output's columns for one chunk, one row for each of the input's.

    Raises:
        InvalidInputError: A column to keep is not there, or a model refuses a row.
    """
    table, file, first, drawn = chunk.table, chunk.file, chunk.first, chunk.drawn.arms
    n = len(table)
    missing = [name for name in job.keep if name not in table.columns]
    if missing:
        raise InvalidInputError(
            f"`{file}` has no column `{missing[0]}` to keep.",
            hint=f"It has {', '.join(table.names[:20])}.",
        )
    columns: Cells = {
        **{_apart(name): list(table.columns[name]) for name in job.keep},
        "file": [file] * n,
        "row": list(range(first, first + n)),
        "arm": [job.scorers[arm].name for arm in drawn],
        "model": [job.scorers[arm].label for arm in drawn],
        "propensity": chunk.drawn.propensities,
    }
    if chunk.drawn.kept is not None:
        columns["unit_kept"] = chunk.drawn.kept
    answers: list[list[Any]] = []
    faults: list[str | None] = [None] * n
    for index, scorer in enumerate(job.scorers):
        rows = range(n) if job.all_arms else [at for at, arm in enumerate(drawn) if arm == index]
        answers.append(_answers(job, scorer, table, list(rows), faults, file, first))
    columns["prediction"] = [answers[arm][at] for at, arm in enumerate(drawn)]
    if job.all_arms:
        for scorer, each in zip(job.scorers, answers, strict=True):
            columns[f"prediction_{scorer.name}"] = each
    if job.skip_errors:
        columns["error"] = faults
    return columns


def _apart(name: str) -> str:
    """Return the name of a kept column, which may be that of one of ours."""
    return f"input_{name}" if name in _OWN or name.startswith("prediction_") else name


def _answers(
    job: Job, scorer: Scorer, table: Table, rows: list[int], faults: list[str | None],
    file: str, first: int,
) -> list[Any]:  # fmt: skip
    """Return what an arm answers to some rows of a chunk, None for the others."""
    found: list[Any] = [None] * len(table)
    # MLflow warns of others, and ignores them.
    names = scorer.signature.names or table.names
    own = {name: cells for name, cells in table.columns.items() if name in names}
    source = Source("csv", None) if form_of(file) == "csv" else None
    waiting = [rows] if rows else []
    while waiting:
        some = waiting.pop()
        columns = own
        if len(some) < len(table):
            columns = {name: [cells[at] for at in some] for name, cells in own.items()}
        try:
            answers = scorer.ask(Payload(dict(columns), source), len(some))
        except ProtocolError as error:
            if len(some) > 1:
                # One of them is to blame; the others are answered.
                half = len(some) // 2
                waiting += [some[half:], some[:half]]
                continue
            # The model was asked about this row alone.
            text = f"{scorer.name}: {error.counted_from(first + some[0])}"
            if not job.skip_errors:
                raise InvalidInputError(
                    f"`{file}`, row {first + some[0]}: {text}",
                    hint="`--skip-errors` writes such errors beside the predictions.",
                ) from error
            faults[some[0]] = text
            continue
        for at, answer in zip(some, answers, strict=True):
            found[at] = answer
    return found


def answers_of(job: Job, scorer: Scorer, table: Table, file: str, first: int) -> list[Any]:
    """Return what an arm answers to each row of a chunk; None where it refuses one.

    Raises:
        InvalidInputError: It refuses one, and the job is to end then.
    """
    faults: list[str | None] = [None] * len(table)
    return _answers(job, scorer, table, list(range(len(table))), faults, file, first)


def _put(store: Store, key: str, write: Callable[[Path], None]) -> None:
    with TemporaryDirectory(prefix="mlops-batch-") as folder:
        path = Path(folder, key)
        write(path)
        store.put(path, key)


def _put_state(job: Job, inputs: Inputs, store: Store, types: _Types) -> None:
    document = {**job.identity(inputs), "columns": types.kinds, "stale": types.stale}
    text = json.dumps(document, indent=1)

    def write(path: Path) -> None:
        path.write_text(text, encoding="utf-8")

    _put(store, _JOB, write)


def _recast(store: Store, key: str, kinds: Mapping[str, str]) -> None:
    with TemporaryDirectory(prefix="mlops-batch-") as folder:
        path = Path(folder, key)
        store.get(key, path)
        if recast(path, kinds):
            store.put(path, key)


def tables(inputs: Inputs, job: Job) -> Iterator[tuple[str, int, Table]]:
    """Yield the chunks of all inputs, each with its file and the position of its first row."""
    for _, file, first, table in _all_chunks(job, inputs):
        yield file, first, table
