"""How arms and shadows are named by default."""

from __future__ import annotations

from collections.abc import Sequence

from mlops.errors import UsageError
from mlops.spec.deployment import DeploymentSpec, arm_name, unique_names
from mlops.spec.model import ModelVersion
from mlops.spec.refs import parse_ref


def arm_names(
    given: Sequence[str], models: Sequence[ModelVersion], live: DeploymentSpec | None = None
) -> list[str]:
    """Name arms by their references, whatever the spelling of these.

    An alias names its arm: `modelA`, `wine@modelA` and `models:/wine@modelA` all become `modelA`.
    Where two models have an alias of the same name, the model's name goes before both.

    Args:
        given: The name that the user gave each, empty for none.
        models: The models, in the same order.
        live: The live spec. An arm of it that has its name from before there was this rule, when
            `wine@modelA` became `wine-modelA`, keeps it with the same reference to the same model.
    """
    short = [name or _by_alias(model) for name, model in zip(given, models, strict=True)]
    names = []
    for index, (name, model) in enumerate(zip(given, models, strict=True)):
        alias = "" if short.count(short[index]) > 1 else short[index]
        names.append(name or _before(live, model) or alias or arm_name(_spelled_out(model)))
    return unique_names(names)


def _by_alias(model: ModelVersion) -> str:
    """Return the alias by which a model was named, as an arm's name; empty for none."""
    alias = _alias(model)
    return arm_name(alias) if alias else ""


def _alias(model: ModelVersion) -> str:
    if not model.name:
        return ""
    if model.chosen_by == f"alias of {model.name}":
        return model.ref
    try:
        return parse_ref(model.ref).alias
    except UsageError:
        return ""


def _spelled_out(model: ModelVersion) -> str:
    alias = _alias(model)
    return f"{model.name}@{alias}" if alias else model.ref


def _before(live: DeploymentSpec | None, model: ModelVersion) -> str:
    legacy = arm_name(model.ref)
    for arm in live.arms if live else ():
        if (arm.name, arm.model.identity) == (legacy, model.identity):
            return legacy
    return ""
