"""The commands as functions, for notebooks and programs: `import mlops`.

    import mlops

    mlops.train("wine", alias="modelA", parameters={"alpha": 0.5})
    mlops.train("wine", alias="modelB", parameters={"alpha": 1.0})
    mlops.deploy(ab=("modelA", "modelB"), project="wine")
    with mlops.connect(project="wine") as wine:
        answer = wine.predict({"alcohol": 9.4, ...})
        wine.feedback(answer.request_id, truth=6)
    report = mlops.report(project="wine")          # draws itself in a notebook
    if report.verdict.decision == "promote":
        mlops.promote(project="wine")

Each returns a frozen record of what its command prints, and raises what that command ends with
(`mlops.errors`). `project` is a folder in a project, by default the current one;
`settings` are those of `mlops.toml`, as `{"tracking.uri": ...}`, and go before the file and the
environment.

Names and arguments here, the records' attributes and `mlops.Client` change only with a new major
version, and are deprecated for a minor version before; everything else is internal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mlops.api.arguments import DEPLOY, TRAIN, as_arguments, check_models
from mlops.api.phases import OnPhase, Phases, on_phase
from mlops.client import Client, FeedbackResult, Outcome
from mlops.errors import NotAllowedError, NotFoundError
from mlops.settings import Settings, load_settings
from mlops.settings.given import ARGUMENT, read_given

if TYPE_CHECKING:
    from mlops.deployment.local_revision import Deployed
    from mlops.deployment.targets.contract import TargetStatus, TargetStopped
    from mlops.monitoring.notebook import NotebookReport
    from mlops.registry.ledger import Entry
    from mlops.training import TrainResult
    from mlops.training.sweep import SweepOptions as SweepOptions
    from mlops.training.sweep import SweepResult
    from mlops.workflows.revision_change import Moved

Folder: TypeAlias = str | Path | None
Values: TypeAlias = Mapping[str, Any] | None

_OF_SWEEPS = ("trials", "jobs", "seed", "prune", "resume", "best", "html")


@as_arguments(TRAIN, also=_OF_SWEEPS)
def train(
    project: str | Path = ".",
    *,
    parameters: Values = None,
    entry_point: str = "main",
    experiment: str = "",
    register: str = "",
    no_register: bool = False,
    model: str = "",
    alias: str = "",
    env_manager: str = "",
    tags: Mapping[str, str] | None = None,
    sweep: SweepOptions | None = None,
    progress: OnPhase | None = None,
    settings: Values = None,
) -> TrainResult | SweepResult:
    """Run an MLproject, tracked in MLflow, and register the model that it logs.

    Args:
        project: Folder of an MLproject or in one, a git URI or a zip.
        parameters: Of the entry point; a list of values makes a sweep.
        entry_point: Which of them, or a script of the project.
        experiment: MLflow experiment; empty for the setting, else the project's name.
        register: Registered model to make a version of; empty for the project's name.
        no_register: Leave the model unregistered.
        model: Which of the run's models to register, where it logged several.
        alias: Alias to put on the new version; empty for none.
        env_manager: `auto`, `local`, `uv`, `virtualenv` or `conda`; empty for the setting.
        tags: Of every run.
        sweep: How several runs are made: `SweepOptions`.
        progress: Called with each phase; by default they are printed to standard error in a
            notebook or on a terminal.
        settings: By name, such as `{"tracking.uri": ...}`; they go before `mlops.toml` and the
            environment.

    Raises:
        InvalidInputError: MLproject or parameters are wrong; nothing was run.
        MlopsError: The script failed; its last lines are in the message.
    """
    from mlops.training import TrainRequest, train_or_sweep
    from mlops.training.sweep import SweepOptions

    folder = Path(project).expanduser()
    request = TrainRequest(
        project=str(project),
        parameters=tuple(f"{name}={_word(value)}" for name, value in (parameters or {}).items()),
        entry_point=entry_point,
        experiment=experiment,
        register=register,
        no_register=no_register,
        model=model,
        alias=alias,
        env_manager=env_manager,
        tags=tuple(f"{name}={value}" for name, value in (tags or {}).items()),
        sweep=sweep or SweepOptions(),
    )
    own = _settings(folder if folder.is_dir() else None, settings)
    return train_or_sweep(request, own, Phases(on_phase(progress)))


@as_arguments(DEPLOY)
def deploy(
    name: str = "",
    *,
    ab: tuple[str, str] | None = None,
    model: str | None = None,
    arms: Sequence[str] = (),
    canary: str | None = None,
    ramp: str = "",
    every: str = "",
    advance: str = "",
    auto: bool | None = None,
    split: str | None = None,
    shadows: Sequence[str] = (),
    spec: str | Path | None = None,
    reset: Sequence[str] = (),
    force_conflicts: bool = False,
    progress: OnPhase | None = None,
    project: Folder = None,
    settings: Values = None,
) -> Deployed:
    """Put models behind one stable URL on this machine; `mlops deploy` has clusters too.

    Args:
        name: Deployment; empty for the project's.
        ab: Two models.
        model: One model.
        arms: Arms, as `name=REF:weight`.
        canary: A model beside `model` and its share, as `REF=PERCENT`.
        ramp: How that share grows, as `5,25,50,100`.
        every: Least time of a step, as `30m`, which is the default.
        advance: Whether the ramp continues where the canary is shown `not-worse`, which is the
            default, or `unless-worse`.
        auto: Whether a process beside the server moves it, else `mlops ramp` does; by default as
            the project's `ramp` says.
        split: Share of each arm, as `90/10`.
        shadows: Models that get copies of requests, as `REF=PERCENT`.
        spec: A spec file, which says everything instead.
        reset: Options that are not kept of the live revision.
        force_conflicts: Take over a name that another project deployed.
        progress: Called with each phase; by default they are printed to standard error in a
            notebook or on a terminal.
        project: Folder in the project; None for the current one.
        settings: By name, such as `{"deploy.port": 8123, "feedback.window": "7d"}`; they go
            before `mlops.toml` and the environment.

    Raises:
        UsageError: No models are named, or in several ways.
        ConflictError: Another project deployed what is live under this name.
        MlopsError: They cannot be loaded or served; what was live before still is.
    """
    from mlops.deployment.deploy import deploy as make_deployment
    from mlops.deployment.targets.contract import How, Talk
    from mlops.workflows.deploy_options import Words, ask

    check_models(ab, arms=arms, shadows=shadows, reset=reset)
    flags = {**read_given(settings or {}), **({"deploy.name": name} if name else {})}
    words = Words(
        models={
            "ab": ab, "model": model, "arms": arms, "canary": canary, "split": split,
            "shadows": shadows,
            "ramp": {"steps": ramp, "every": every, "advance": advance, "auto": auto},
        },
        file=Path(spec) if spec else None,
        target="local",
        reset=tuple(reset),
    )  # fmt: skip
    say = on_phase(progress)
    asked = ask(_settings(project, flags), flags, words, say=say)
    how = How(force=force_conflicts)
    deployed: Deployed = make_deployment(
        asked.settings, asked.request, asked.target, how, Talk(say, say)
    )
    return deployed


def connect(name: str | None = None, *, project: Folder = None, settings: Values = None) -> Client:
    """Return a client of a deployment that runs on this machine. Others: `mlops.Client(url)`.

    Raises:
        NotFoundError: It does not run.
        NotAllowedError: It asks callers for a certificate, and only `mlops.Client` goes with one.
    """
    from mlops.client.connection import read_token
    from mlops.deployment.runtime_files import pick_name, places
    from mlops.spec.tls import own_client_context
    from mlops.workflows.replay import require_running

    own = _settings(project, settings)
    state = require_running(places(own, pick_name(own, name)))
    launch = state.launch
    if launch.tls and launch.tls.client_ca:
        raise NotAllowedError(
            f"`{launch.name}` asks callers for a certificate, and `connect` shows none.",
            hint=f'`mlops.Client("{state.url}", tls=context)` shows one, with `context = '
            "ssl.create_default_context(cafile=FILE)` and `context.load_cert_chain(CERT, KEY)`; "
            "FILE has the authority of the server's own certificate.",
        )
    tls = own_client_context(launch.tls) if launch.tls else None
    return Client(state.url, token=read_token(launch.credentials), tls=tls)


def feedback(
    outcomes: Iterable[Outcome],
    name: str | None = None,
    *,
    project: Folder = None,
    settings: Values = None,
) -> FeedbackResult:
    """Say what predictions were worth, to a deployment that runs on this machine.

    Args:
        outcomes: Any number; see `Outcome`.
        name: Deployment; None for the only one.
        project: Folder in the project; None for the current one.
        settings: By name, such as `{"tracking.uri": ...}`; they go before `mlops.toml` and the
            environment.

    Returns:
        Their status, including refusals.

    Raises:
        NotFoundError: The deployment does not run.
    """
    with connect(name, project=project, settings=settings) as client:
        return client.send(outcomes)


def status(
    name: str | None = None, *, project: Folder = None, settings: Values = None
) -> list[TargetStatus]:
    """Return how deployments are doing, here and on clusters, in alphabetical order.

    Raises:
        NotFoundError: There is none of that name.
    """
    from mlops.workflows.statuses import statuses

    return statuses(_settings(project, settings), name)


def stop(
    name: str | None = None, *, project: Folder = None, settings: Values = None
) -> TargetStopped:
    """Stop a deployment; its history and journal stay.

    Raises:
        NotFoundError: There is none of that name.
    """
    from mlops.workflows.operation import stop as end

    return end(_settings(project, settings), name)


@as_arguments()
def report(
    name: str | None = None,
    *,
    html: str | Path = "",
    project: Folder = None,
    settings: Values = None,
) -> NotebookReport:
    """Report which arm is best, with error guarantees that hold at every look.

    Args:
        name: Deployment; None for the only one.
        html: File to write the page with its charts into; empty for none.
        project: Folder in the project; None for the current one.
        settings: By name, such as `{"report.alpha": 0.01}`; they go before `mlops.toml` and the
            environment.

    Raises:
        NotFoundError: There is no such deployment, or nothing to read its evidence from.
    """
    from mlops.monitoring.notebook import for_notebook
    from mlops.workflows.evidence import report_on
    from mlops.workflows.reporting import write_report

    own = _settings(project, settings)
    found = write_report(own, name, str(html)) if html else report_on(own, name)
    return for_notebook(found)


@as_arguments()
def promote(
    name: str | None = None,
    *,
    arm: str = "",
    force: str = "",
    dry_run: bool = False,
    project: Folder = None,
    settings: Values = None,
) -> Moved:
    """Give all traffic and the alias `champion` to the winner of the verdict.

    Args:
        name: Deployment; None for the only one.
        arm: Arm to promote; empty for the winner.
        force: Why to promote `arm` though the verdict does not say so; empty for not at all.
        dry_run: Say what would be done, and do nothing.
        project: Folder in the project; None for the current one.
        settings: By name, such as `{"tracking.uri": ...}`; they go before `mlops.toml` and the
            environment.

    Raises:
        WithheldError: A condition that the verdict rests on does not hold.
        MlopsError: There is no winner.
    """
    from mlops.workflows.promotion import promote as move

    return move(_settings(project, settings), name, arm=arm, force=force, dry_run=dry_run)


@as_arguments()
def rollback(
    name: str | None = None,
    *,
    to: int | None = None,
    reason: str = "",
    dry_run: bool = False,
    force_conflicts: bool = False,
    project: Folder = None,
    settings: Values = None,
) -> Moved:
    """Serve an earlier revision again and put the aliases back.

    Args:
        name: Deployment; None for the only one.
        to: Revision; None for the one before.
        reason: Why, for the history.
        dry_run: Say what would be done, and do nothing.
        force_conflicts: Take over a name that another project deployed.
        project: Folder in the project; None for the current one.
        settings: By name, such as `{"tracking.uri": ...}`; they go before `mlops.toml` and the
            environment.

    Raises:
        NotFoundError: There is no such revision.
        ConflictError: Another project deployed what is live.
    """
    from mlops.workflows.rollback import rollback as move

    own = _settings(project, settings)
    return move(own, name, to=to, reason=reason, dry_run=dry_run, force=force_conflicts)


def history(
    name: str | None = None, *, project: Folder = None, settings: Values = None
) -> list[Entry]:
    """Return the revisions of a deployment, newest first: what was live when, who did it and why.

    Raises:
        NotFoundError: There is none of that name.
    """
    from mlops.workflows.rollback import history as read_history

    return read_history(_settings(project, settings), name)


def _settings(project: Folder, given: Values) -> Settings:
    folder = Path(project).expanduser() if project else None
    if folder is not None and not folder.is_dir():
        raise NotFoundError(
            f"There is no folder `{folder}`.", hint="`project` is a folder in a project."
        )
    return load_settings(folder, flags=read_given(given or {}), flags_place=ARGUMENT)


def _word(value: object) -> str:
    """Write a parameter's value as on the command line, where a comma makes a sweep."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(_word(each) for each in value)
    return str(value)
