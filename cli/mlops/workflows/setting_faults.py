"""What is wrong with settings that can be read, found before something is trained or deployed.

Each check is the one that `mlops train` or `mlops deploy` makes, called for two models that nobody
looks up. It stops at the first fault, as it does there. The setting at fault is the one without
which that message does not come; the check is then repeated without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mlops.deployment.access import issuer_of
from mlops.deployment.log_sinks import log_sinks
from mlops.deployment.manifests import render_options
from mlops.deployment.option_rules import check_extras
from mlops.deployment.request import check_ramp, read_request
from mlops.deployment.spec_making import make_spec
from mlops.deployment.targets import TARGETS
from mlops.errors import InvalidInputError, MlopsError
from mlops.settings.load import place_of
from mlops.settings.schema import SECTIONS, check_webhook, labels_at_random, season_ms
from mlops.spec.access import check_algorithms
from mlops.spec.model import ModelVersion
from mlops.training.environments import check_manager
from mlops.training.runner.factory import check_backend
from mlops.workflows.training_job import check_training_pods

if TYPE_CHECKING:
    from mlops.settings import Settings

_MODELS = ("./a", "./b")
_DEFAULT = "default"


def setting_faults(settings: Settings) -> Iterator[str]:
    """Yield what `mlops train` or `mlops deploy` would refuse, with where to change it."""
    remaining = settings
    for check in (*_CHECKS, *_targets()):
        while (error := _error(check, remaining)) is not None:
            key = _culprit(check, remaining, error)
            yield f"{_place(settings, key)}{error.message} {error.hint or ''}".rstrip()
            if not key:
                break
            remaining = _without(remaining, key)


def _error(check: Callable[[Settings], object], settings: Settings) -> MlopsError | None:
    try:
        check(settings)
    except MlopsError as error:
        return error
    return None


def _culprit(check: Callable[[Settings], object], settings: Settings, error: MlopsError) -> str:
    """Return the setting without which a check says something else; empty if there is none."""
    for key, origin in settings.origins.items():
        if origin != _DEFAULT:
            now = _error(check, _without(settings, key))
            if now is None or now.message != error.message:
                return key
    return ""


def _without(settings: Settings, key: str) -> Settings:
    """Return the settings with the default of one."""
    section, _, name = key.partition(".")
    (item,) = (item for item in fields(SECTIONS[section]) if item.name == name)
    record: Any = replace(getattr(settings, section), **{name: item.default})
    origins = {**settings.origins, key: _DEFAULT}
    return replace(settings, origins=origins, **{section: record})


def _place(settings: Settings, key: str) -> str:
    if not key:
        return ""
    return f"{place_of(key, settings.origins[key], settings.project_file)}: `{key}`: "


def _check_deployment(settings: Settings) -> None:
    request = read_request(settings, ab=_MODELS)
    models = (ModelVersion(arm.ref, arm.ref, arm.ref) for arm in request.arms)
    arms = map(lambda arm, model: replace(arm, model=model), request.arms, models)
    make_spec(settings, replace(request, arms=tuple(arms)))


def _check_watch(settings: Settings) -> None:
    season_ms(settings.watch.season)
    labels_at_random(settings.watch.labels)
    check_webhook(settings.watch.webhook)


def _check_auth(settings: Settings) -> None:
    check_algorithms(settings.auth.algorithms)
    issuer_of(settings)


def _check_training(settings: Settings) -> None:
    check_manager(settings.training.env_manager)
    check_backend(settings.training.backend)
    check_training_pods(settings.training)


def _targets() -> Iterator[Callable[[Settings], object]]:
    for name in TARGETS:
        target = TARGETS.load(name)
        if hasattr(target, "setting_refusals"):
            yield partial(_check_target, target)


def _check_target(target: Any, settings: Settings) -> None:  # noqa: ANN401 - may be a plugin's
    for refusal in target.setting_refusals(render_options(settings)):
        raise InvalidInputError(f"{refusal.fault}.", hint=refusal.hint)


_CHECKS: tuple[Callable[[Settings], object], ...] = (
    _check_deployment,
    check_ramp,
    _check_watch,
    _check_auth,
    _check_training,
    check_extras,
    partial(log_sinks, here=False),
)
