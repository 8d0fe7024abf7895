"""Which of a run's models becomes a version, and what to do with that."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlops.errors import NotFoundError, UsageError, did_you_mean, one_of
from mlops.registry.aliases import check_alias, move_alias
from mlops.registry.client import open_registry
from mlops.registry.faults import mlflow_errors
from mlops.registry.logged_models import Logged, models_of
from mlops.registry.refs import look_up_model, version_numbers
from mlops.registry.versions import check_model_name, register
from mlops.settings.project import way_to
from mlops.spec.model import ModelVersion
from mlops.training.proposing import baseline_of, pair_by_metrics

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from mlops.settings.needs import StoreSettings

# So many models of runs below one are named in a message.
_MOST_NAMED = 5
# So many earlier versions are read to find one that a new one can be compared with.
_MOST_READ = 5


def describable(models: Sequence[Logged], wanted: str) -> Sequence[Logged]:
    """Return the models that may become a version; none where several runs below logged them.

    Args:
        models: What `models_of` returned.
        wanted: The name that `--model` gave; empty if none.
    """
    if _of_several_runs(models) and wanted:
        models = [model for model in models if model.name == wanted]
    return () if _of_several_runs(models) else models


def _of_several_runs(models: Sequence[Logged]) -> bool:
    return len({model.run_id for model in models}) > 1


def choose_model(
    models: Sequence[Logged], run_id: str, wanted: str, *, needed: bool
) -> Logged | None:
    """Return the model of a run that shall be registered, or of the runs below it.

    Args:
        models: What `models_of` returned for the run.
        run_id: The run.
        wanted: Its name in the run; empty means the only one.
        needed: Whether none at all is an error.

    Raises:
        NotFoundError: The run logged none, though one is needed, or none of that name.
        UsageError: It logged several and none is named, or several runs below it logged some, or
            some of that name, though one is needed.
    """
    names = [model.name for model in models]
    if wanted and wanted not in names:
        raise NotFoundError(
            f"The run `{run_id}` logged no model `{wanted}`.",
            hint=did_you_mean(wanted, names) or f"It logged {one_of(names)}.",
        )
    if names.count(wanted) == 1:
        return models[names.index(wanted)]
    if _of_several_runs(models):
        if not needed:
            return None
        raise UsageError(
            f"The run `{run_id}` logged no model, and runs below it logged "
            f"{_several(models, wanted)}.",
            hint=f"{_commands(models, wanted)} registers one of them.",
        )
    if len(models) > 1:
        run_id = models[0].run_id
        command = f"mlops models register {run_id} --model {shlex.quote(names[0])}"
        raise UsageError(
            f"The run `{run_id}` logged {len(models)} models: {', '.join(names)}.",
            hint=f"`{command}` registers one of them.",
        )
    if not models and needed:
        raise NotFoundError(
            f"The run `{run_id}` logged no model to register.",
            hint="The script must call `mlflow.<flavour>.log_model(…)`.",
        )
    return models[0] if models else None


def _several(models: Sequence[Logged], wanted: str) -> str:
    """Say how many models there are, of the name that was given if one was."""
    if not wanted:
        return f"{len(models)} models"
    return f"{sum(model.name == wanted for model in models)} models called `{wanted}`"


def _commands(models: Sequence[Logged], wanted: str) -> str:
    """Return the commands that register models of several runs, the first few."""
    several = Counter(model.run_id for model in models)
    commands = [
        f"`mlops models register {model.run_id}"
        + (f" --model {shlex.quote(model.name)}`" if several[model.run_id] > 1 else "`")
        for model in models
        if wanted in ("", model.name)
    ]
    more = len(commands) - _MOST_NAMED
    del commands[_MOST_NAMED:]
    return " or ".join(commands) + (f" (and {more} more)" if more > 0 else "")


@dataclass(frozen=True, slots=True)
class Registration:
    """What to do with a run's model.

    Attributes:
        name: Registered model to make a version of.
        model: Which of the run's models; empty means the only one.
        alias: Alias to put on the new version; empty means none.
        needed: Whether it is an error if the run logged none.
        project: The model whose aliases need no name before them.
    """

    name: str
    model: str = ""
    alias: str = ""
    needed: bool = False
    project: str = ""


@dataclass(frozen=True, slots=True)
class Registered:
    """Its status.

    Attributes:
        model: The new version; None if there was nothing to register.
        moved_from: The version that had the alias before, 0 if none.
        next_commands: What to do with it, ready to be copied.
        why_none: Why there is no version; empty if there is one.
    """

    model: ModelVersion | None = None
    moved_from: int = 0
    next_commands: tuple[str, ...] = ()
    why_none: str = ""


def register_run(
    client: MlflowClient, models: Sequence[Logged], run_id: str, wanted: Registration, source: str
) -> Registered:
    """Make a version of a run's model, and move the alias to it.

    Args:
        client: Where the run is.
        models: What `models_of` returned for the run.
        run_id: The run.
        wanted: As what.
        source: Where the code came from, kept as a tag.

    Raises:
        NotFoundError: The run logged none, though one is needed, or none of that name.
        UsageError: It logged several and none is named, or runs below it logged several of that
            name.
    """
    logged = choose_model(models, run_id, wanted.model, needed=wanted.needed)
    if logged is None and models:
        many, commands = _several(models, wanted.model), _commands(models, wanted.model)
        return Registered(why_none=f"runs below this one logged {many}: {commands}")
    if logged is None:
        return Registered(why_none="the script logged no model")
    model = register(client, logged, wanted.name, source)
    moved = move_alias(client, model.name, model.version, wanted.alias) if wanted.alias else None
    return Registered(model, moved.before if moved else 0, _following(client, model, wanted))


def register_finished(
    settings: StoreSettings, run: str, model: str = "", name: str = "", aliases: Sequence[str] = ()
) -> Registered:
    """Make a version of a model that a run logged, if none is made of it yet.

    Args:
        settings: Where MLflow is.
        run: Id of the run, or `runs:/ID` with or without the name of its model.
        model: Which of its models; empty means the only one.
        name: Registered model; empty means the project's name.
        aliases: Moved to the version.

    Raises:
        NotFoundError: There is no such run, or it logged no such model.
        UsageError: It logged several and none is named.
        InvalidInputError: An alias or the name cannot be one.
    """
    run_id, _, path = run.removeprefix("runs:/").partition("/")
    name = name or settings.project_name
    check_model_name(name)
    for alias in aliases:
        check_alias(alias)
    client = open_registry(settings, reading=True)
    with mlflow_errors(settings):
        source = client.get_run(run_id).data.tags.get("mlflow.source.name", "")
        models = models_of(client, run_id)
        logged = choose_model(models, run_id, model or path, needed=True)
        assert logged is not None
        version = _registered_before(client, logged, name) or register(client, logged, name, source)
        for alias in aliases:
            move_alias(client, name, version.version, alias)
        last = aliases[-1] if aliases else ""
        wanted = Registration(name, alias=last, project=settings.project_name)
        return Registered(version, next_commands=_following(client, version, wanted))


def _registered_before(client: MlflowClient, logged: Logged, name: str) -> ModelVersion | None:
    """Return the version that was made of a logged model already."""
    for found in client.search_model_versions(f"run_id = '{logged.run_id}'"):
        same = found.source in (logged.source, f"models:/{logged.model_id}")
        if found.name == name and same:
            label = f"{name}/{found.version}"
            return ModelVersion(
                label, label, logged.source, name, int(found.version), logged.run_id
            )
    return None


def _following(client: MlflowClient, model: ModelVersion, wanted: Registration) -> tuple[str, ...]:
    registered = look_up_model(client, model.name)
    if registered is None:
        return ()
    aliases = {name: int(number) for name, number in registered.aliases.items()}
    # Versions of one name may be of different models, as of a project with several entry points.
    earlier = [n for n in version_numbers(client, model.name) if n < model.version]
    _, baseline = baseline_of(aliases)
    read = dict.fromkeys((*earlier[:_MOST_READ], *([baseline] if baseline in earlier else [])))
    alike = [n for n in read if _fits(client, model, n)]
    pair = None
    if baseline in alike and len(alike) > 1:
        metrics = {n: _metrics(client, model, n) for n in (*alike, model.version)}
        pair = pair_by_metrics(model.version, baseline, metrics)
    return next_commands(model, alike, aliases, wanted.alias, wanted.project, pair)


def _metrics(client: MlflowClient, model: ModelVersion, number: int) -> Mapping[str, float]:
    """Return what the run of a version of the model logged; nothing where that is gone."""
    from mlflow.exceptions import MlflowException

    try:
        run_id = client.get_model_version(model.name, str(number)).run_id
        return client.get_run(run_id).data.metrics if run_id else {}
    except MlflowException:
        return {}


def _fits(client: MlflowClient, model: ModelVersion, number: int) -> bool:
    """Whether another version of a model can answer the same requests."""
    # It reads YAML, which the environment of a project may not have when this module is imported.
    from mlops.registry.interchangeable import are_interchangeable

    uri = client.get_model_version_download_uri(model.name, str(number))
    return are_interchangeable(model.source, uri)


def next_commands(
    model: ModelVersion,
    numbers: Sequence[int],
    aliases: Mapping[str, int],
    given: str,
    project: str,
    pair: tuple[int, int] | None = None,
) -> tuple[str, ...]:
    """Return what a user most likely wants now, in the names that they use.

    Args:
        model: The version just registered.
        numbers: Versions of that model that can be compared with it.
        aliases: The model's aliases and the versions they name.
        given: The alias that was asked for, empty if none was.
        project: The model whose aliases need no name before them.
        pair: The versions to compare, where there is a baseline: it, and the best or the new one.

    >>> model = ModelVersion("wine/2", "wine/2", "", "wine", 2)
    >>> next_commands(model, [2, 1], {"a": 1, "b": 2}, "b", "wine")
    ('mlops deploy --ab a b',)
    >>> next_commands(model, [2, 1], {"a": 1}, "", "wine")
    ('mlops deploy --ab wine/1 wine/2',)
    >>> next_commands(model, [3, 2, 1], {}, "", "wine")
    ('mlops deploy --ab wine/1 wine/2',)
    >>> model = ModelVersion("wine/4", "wine/4", "", "wine", 4)
    >>> next_commands(model, [3, 2, 1], {"champion": 1, "d": 4}, "d", "wine", (1, 2))
    ('mlops deploy --ab champion wine/2',)
    """

    def called(number: int, alias: str) -> str:
        short = alias if model.name == project else f"{model.name}@{alias}"
        return short if alias else f"{model.name}/{number}"

    ours = called(model.version, given)
    if pair is not None:
        named = {number: alias for alias, number in sorted(aliases.items(), reverse=True) if given}
        baseline, _ = baseline_of(aliases)
        names = {**named, model.version: given, pair[0]: baseline}
        return (f"mlops deploy --ab {' '.join(called(n, names.get(n, '')) for n in pair)}",)
    # Another process may have registered a newer one in the meantime.
    before = max((number for number in numbers if number < model.version), default=0)
    if not before:
        return (f"mlops deploy --model {ours}",)
    # A user who gives aliases thinks in them; one who does not would wonder whose this is.
    alias = min((a for a, number in aliases.items() if given and number == before), default="")
    return (f"mlops deploy --ab {called(before, alias)} {ours}",)


def from_here(commands: Sequence[str], project_dir: Path) -> tuple[str, ...]:
    """Return commands about a project such that they work in the current folder."""
    way = way_to(project_dir)
    return tuple(f"cd {shlex.quote(way)} && {command}" if way else command for command in commands)
