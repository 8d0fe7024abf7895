"""`mlops batch`: score files with a model, or with the arms of a deployment."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import orjson

from mlops.cluster.ray import import_ray
from mlops.deployment.isolation import isolate
from mlops.deployment.runtime_files import known_names, places, read_server_state
from mlops.errors import InvalidInputError, UsageError
from mlops.journal.json_text import as_json
from mlops.protocols.base import Kind, Payload, ProtocolError
from mlops.protocols.predictions import rows_of
from mlops.registry import fetched
from mlops.registry.artifact_manifest import pin
from mlops.registry.refs import resolve_all
from mlops.registry.stores import open_store, parse_location
from mlops.registry.trust import check_trusted
from mlops.runtimes.base import LoadedModel
from mlops.runtimes.load import load_model
from mlops.scoring import (
    Disagreement,
    Draw,
    Inputs,
    Job,
    Scored,
    Scorer,
    compare,
    find_inputs,
    score,
)
from mlops.scoring.claim import claimed
from mlops.scoring.job import Ask, answers_of, one_by_one, tables
from mlops.scoring.ray import Model, OnRay
from mlops.scoring.writing import Form, merge
from mlops.settings import Settings
from mlops.spec.deployment import Arm, DeploymentSpec
from mlops.spec.server import ServerState
from mlops.spec.unit import salt_of
from mlops.workflows.batch_draws import as_in_production

_FORMS: dict[str, Form] = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl"}


@dataclass(frozen=True, slots=True)
class Batched:
    """What was scored.

    Attributes:
        of: The deployment, or the model.
        out: Where the predictions are.
        files: How many files were read.
        rows: Rows in the output.
        resumed: Rows of these that an earlier run had scored.
        errors: Rows scored now that a model refused.
        by_arm: Rows scored now by the arm that was drawn.
        kept: Rows of these whose unit keeps its arm from an earlier revision; None without units.
        shares: Probability with which each arm was drawn.
        runtimes: What executed each arm's model.
        ignored: Columns of the files that no model takes, and that were not kept.
        classes: Of each arm that answers a list of numbers, the classes of its model in their
            order; none where it does not say.
    """

    of: str
    out: str
    files: int
    rows: int
    resumed: int
    errors: int
    by_arm: dict[str, int]
    kept: int | None
    shares: dict[str, float]
    runtimes: dict[str, str]
    ignored: tuple[str, ...] = ()
    classes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Options:
    """How to score.

    Attributes:
        all_arms: Whether every arm predicts every row.
        keep: Columns of the input that go to the output.
        rows: Rows of a chunk.
        form: Of the output; None for that of its name, or Parquet.
        runtime: What executes the models; see `mlops deploy --help`.
        skip_errors: Whether a refused row gets its error instead of ending the job.
        backend: Where chunks are scored: `local` or `ray`.
    """

    all_arms: bool = False
    keep: tuple[str, ...] = ()
    rows: int = 10_000
    form: Form | None = None
    runtime: str = "auto"
    skip_errors: bool = False
    backend: Literal["local", "ray"] = "local"


@dataclass(slots=True)
class _Arms:
    """Arms that are loaded here."""

    name: str
    scorers: list[Scorer]
    # Of the deployment, from which everything about its draws is taken: a promotion in between
    # would bring other arms.
    state: ServerState | None = None
    key: bytes = b""
    runtimes: dict[str, str] = field(default_factory=dict)
    models: list[Model] = field(default_factory=list)

    @property
    def spec(self) -> DeploymentSpec | None:
        """Of the live revision; None for a model alone."""
        return self.state.launch.served.revision.spec if self.state else None


def batch(
    settings: Settings,
    ref: str,
    data: Sequence[str],
    out: str,
    options: Options,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Batched:
    """Score files.

    Args:
        settings: The project's settings.
        ref: A deployment of this project, or a model.
        data: Patterns of files, here or in a store.
        out: A folder, here or in a store, for parts; or a file here.
        options: How.
        on_progress: Called with the rows done so far.

    Raises:
        NotFoundError: There is no such model, or no such file.
        InvalidInputError: A file cannot be read, or a model refuses a row.
        ConflictError: The output is of another job, or damaged.
        UsageError: An arm is behind an endpoint; the output's form is not known; or the output
            is one of the files to read.
        RemoteError: The Ray cluster fails or cannot be reached, or the journal of a deployment with
            sticky units cannot be read.
    """
    if options.backend == "ray":
        # Before models are loaded.
        import_ray()
    form, target = _target(out, options.form)
    inputs = find_inputs(data, lambda uri: open_store(uri, settings), "" if target else out)
    if target is not None:
        _check_not_input(inputs, target)
    with _arms(settings, ref, options.runtime) as arms:
        folder = target.with_name(f".{target.name}.parts") if target else None
        with contextlib.ExitStack() as stack:
            if folder is not None:
                # Before a store follows links.
                stack.enter_context(claimed(folder, private=True))
            store = open_store(str(folder) if folder else out, settings)
            stack.callback(store.close)
            if folder is None and store.location.scheme == "file":
                stack.enter_context(claimed(Path(store.location.prefix)))
            job = _job(arms, options, form)
            if arms.state is not None:
                draw = as_in_production(settings, ref, arms.state, job.draw, store)
                job = replace(job, draw=draw)
            execute = _on_ray(arms, settings) if options.backend == "ray" else one_by_one
            done = score(job, inputs, store, on_progress, execute)
            if target is not None and folder is not None:
                _whole(folder, done, target, form)
        names = [arm.name for arm in job.scorers]
        return Batched(
            of=arms.name,
            out=out,
            files=len(inputs.files),
            rows=done.rows + done.resumed,
            resumed=done.resumed,
            errors=done.errors,
            by_arm=dict(done.by_arm),
            kept=done.kept if job.draw.has_units else None,
            shares=dict(zip(names, job.draw.shares, strict=True)),
            runtimes=arms.runtimes,
            ignored=done.ignored,
            classes=done.classes,
        )


def disagreement(
    settings: Settings,
    refs: tuple[str, str],
    data: Sequence[str],
    options: Options,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Disagreement:
    """Compare two models on files; nothing is written.

    Args:
        settings: The project's settings.
        refs: Two models; of a deployment its first arm.
        data: Patterns of files, here or in a store.
        options: How.
        on_progress: Called with the rows done so far.

    Raises:
        MlopsError: As `batch`.
    """
    inputs = find_inputs(data, lambda uri: open_store(uri, settings))
    with contextlib.ExitStack() as stack:
        first, second = (
            stack.enter_context(_arms(settings, ref, options.runtime)).scorers[0] for ref in refs
        )
        job = Job((first, replace(second, name=second.name)), Draw((0.5, 0.5)), rows=options.rows,
                  skip_errors=options.skip_errors)  # fmt: skip
        return compare((first.label, second.label), _both(job, inputs, on_progress))


def _both(
    job: Job, inputs: Inputs, on_progress: Callable[[int], None]
) -> Iterator[tuple[str, int, Sequence[Any], Sequence[Any]]]:
    done = 0
    for file, start, table in tables(inputs, job):
        first, second = (answers_of(job, each, table, file, start) for each in job.scorers)
        yield file, start, first, second
        done += len(table)
        on_progress(done)


def _target(out: str, form: Form | None) -> tuple[Form, Path | None]:
    """Return the output's form, and the file, if it is to be one."""
    location = parse_location(out)
    if location.scheme != "file":
        return form or "parquet", None
    target = Path(location.prefix) if out.startswith("file:") else Path(out).expanduser()
    named = _FORMS.get(target.suffix.lower())
    if named and not target.is_dir():
        if form and form != named:
            raise UsageError(f"`--format {form}` and the name `{out}` contradict each other.")
        return named, target
    if target.is_file():
        raise UsageError(
            f"`{out}` is a file.", hint="Name a folder, or a .parquet, .csv or .jsonl file."
        )
    return form or "parquet", None


def _check_not_input(inputs: Inputs, target: Path) -> None:
    """Refuse to replace a file that is read, by whatever name or link."""
    if not target.exists():
        return
    for file in inputs.files:
        if file.store is None and target.samefile(file.name):
            raise UsageError(
                f"`--out {target}` is one of the files to score, `{file.name}`.",
                hint="Choose another `--out`, or a `--data` that leaves it out.",
            )


def _whole(folder: Path, done: Scored, target: Path, form: Form) -> None:
    """Make one file of the parts; it appears complete or not at all."""
    draft = folder / "whole"
    if not done.parts:
        raise InvalidInputError("The files have no rows.")
    try:
        merge([folder / key for key in done.parts], draft, form)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    shutil.rmtree(folder)


def _job(arms: _Arms, options: Options, form: Form) -> Job:
    spec = arms.spec
    kind, _, field_name = (spec.sticky_by if spec else "").partition(":")
    return Job(
        scorers=tuple(arms.scorers),
        draw=Draw(
            shares=tuple(arm.weight for arm in spec.arms) if spec else (1.0,),
            key=arms.key,
            salt=salt_of(spec.experiment) if spec else b"",
            unit=field_name if kind == "field" else "",
        ),
        all_arms=options.all_arms,
        keep=options.keep,
        rows=options.rows,
        form=form,
        skip_errors=options.skip_errors,
    )


@contextlib.contextmanager
def _arms(settings: Settings, ref: str, runtime: str) -> Iterator[_Arms]:
    """Load what a name stands for: the arms of a deployment, else a model."""
    arms = _Arms(ref, [])
    if ref in known_names(settings) and (state := read_server_state(places(settings, ref))):
        spec = state.launch.served.revision.spec
        key = places(settings, ref).key
        arms.state, arms.key = state, key.read_bytes() if key.exists() else b""
    else:
        # Chunks of one job are of one model, also where a training rewrites its folder meanwhile.
        version = pin(resolve_all(settings, [ref])[0], settings)
        arms.name = version.label
        spec = DeploymentSpec("batch", (Arm(version.label, version, 1.0),))
    there = [arm.name for arm in spec.arms if arm.model.endpoint is not None]
    if there:
        raise UsageError(
            f"The arm `{there[0]}` is behind an endpoint; only models with files are scored here."
        )
    spec = replace(spec, shadows=())
    versions = [arm.model for arm in spec.arms]
    with fetched(versions, settings) as folders, contextlib.ExitStack() as stack:
        check_trusted(settings, versions, folders)
        pythons = isolate(settings, spec, [str(each) for each in folders], lambda _: None)
        for index, (arm, folder) in enumerate(zip(spec.arms, folders, strict=True)):
            python = pythons[index] if pythons else ""
            chosen = spec.runtime if arms.state and runtime == "auto" else runtime
            loaded = load_model(folder, chosen, python=python)
            if loaded.process is not None:
                stack.callback(loaded.process.close)
            ask = partial(_ask, loaded, arm.name)
            label = arm.model.label
            identity = arm.model.identity
            arms.scorers.append(
                Scorer(arm.name, label, identity, ask, loaded.signature, loaded.classes)
            )
            arms.runtimes[arm.name] = loaded.path_taken
            arms.models.append(Model(arm.name, Path(folder), loaded.path_taken, python))
        yield arms


def _on_ray(arms: _Arms, settings: Settings) -> OnRay:
    """Return what gives chunks to the cluster that sweeps use."""
    address = settings.training.ray_address
    apart = [model.arm for model in arms.models if model.python]
    if address and apart:
        raise UsageError(
            f"The model of `{apart[0]}` runs in an environment of its own, which is on this "
            "machine and not on the nodes of the cluster.",
            hint="Score it with `--backend local`.",
        )
    return OnRay(arms.models, load, address, settings.training.ray_cpus)


def load(model: Model) -> Ask:
    """Load a model in a worker of Ray.

    Raises:
        InvalidInputError: It cannot be executed there as here.
    """
    loaded = load_model(model.folder, model.runtime, python=model.python)
    if loaded.path_taken != model.runtime:
        raise InvalidInputError(
            f"`{model.arm}` is executed by `{model.runtime}` here and by `{loaded.path_taken}` on "
            "a node of the cluster, so that answers could differ in the last digits.",
            hint="Install the same packages on the nodes, or choose `--runtime pyfunc`.",
        )
    return partial(_ask, loaded, model.arm)


def _ask(loaded: LoadedModel, arm: str, payload: Payload, n_rows: int) -> Sequence[Any]:
    answers = rows_of(loaded.model.predict(payload, {}), n_rows)
    if answers is None:
        raise ProtocolError(
            Kind.MODEL_FAILED, f"`{arm}` answers {n_rows} rows as a whole, not each of them."
        )
    if all(type(answer) in (float, int, str, bool) for answer in answers):
        return answers
    found: list[Any] = orjson.loads(as_json(answers))
    return found
