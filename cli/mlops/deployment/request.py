"""From the words of a command line, or of a file, to a deployment spec."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mlops.deployment.places import deployment_name
from mlops.errors import InvalidInputError, UsageError, did_you_mean
from mlops.registry import resolve_all
from mlops.rewards import REWARDS
from mlops.settings import Settings
from mlops.spec.deployment import Arm, DeploymentSpec, arm_name, check, unique_names

_WEIGHT = re.compile(r"(.+):([0-9]*\.?[0-9]+)%?")
# From here on the numbers of a split are read as percentages.
_PERCENT = 10
_SPEC_KEYS = ("name", "arms", "sticky_by", "reward", "reward_range")
_REWARD = ("reward", "reward_range")
_ARM_KEYS = ("name", "model", "weight")


@dataclass(frozen=True, slots=True)
class WantedArm:
    """An arm as a person wrote it.

    Attributes:
        ref: Model reference.
        name: Name, empty to make one from the reference.
        weight: Share of the traffic in any unit; None for an equal share.
    """

    ref: str
    name: str = ""
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """What `mlops deploy` was asked for.

    Attributes:
        arms: At least one.
        name: Name of the deployment, empty for the project's.
        sticky_by: `header:NAME`, `field:NAME` or empty.
        reward: Name of the reward.
        reward_range: Lowest and highest reward; None for no promise.
    """

    arms: tuple[WantedArm, ...]
    name: str
    sticky_by: str
    reward: str
    reward_range: tuple[float, float] | None = None


def read_request(
    settings: Settings,
    *,
    ab: tuple[str, str] | None = None,
    model: str | None = None,
    arms: Sequence[str] = (),
    canary: str | None = None,
    split: str | None = None,
    file: Path | None = None,
) -> DeployRequest:
    """Read the options of `mlops deploy`.

    Raises:
        UsageError: None or several of the ways to name models were used, or one is malformed.
        InvalidInputError: The spec file is wrong.
    """
    ways = [way for way in (ab, model, arms or None, file) if way]
    if len(ways) != 1:
        raise UsageError(
            "Say which models to deploy, in one way." if ways else "Say which models to deploy.",
            hint="`--ab REF REF`, `--model REF`, `--arm name=REF:weight` or `-f SPEC`.",
        )
    if canary and not model:
        raise UsageError("`--canary` goes with `--model REF`, which gets the rest of the traffic.")
    if split and (canary or file):
        raise UsageError(f"`--split` does not go with `{'--canary' if canary else '-f'}`.")
    if file:
        return _read_file(settings, file)
    if ab:
        wanted = [WantedArm(ref) for ref in ab]
    elif model:
        wanted = [WantedArm(model)] if canary is None else _canary(model, canary)
    else:
        wanted = [_read_arm(text) for text in arms]
        if split and any(arm.weight is not None for arm in wanted):
            raise UsageError("Give weights with `--split` or with the arms, not with both.")
    return _request(settings, _split(wanted, split) if split else wanted)


def make_spec(settings: Settings, request: DeployRequest) -> DeploymentSpec:
    """Look every model up and put the spec together.

    Raises:
        NotFoundError: A model does not exist.
        InvalidInputError: The whole cannot be deployed.
    """
    if ":" not in request.reward:
        REWARDS.load(request.reward)
    models = resolve_all(settings, [arm.ref for arm in request.arms])
    _check_names([arm.name for arm in request.arms if arm.name])
    names = unique_names([arm.name or arm_name(arm.ref) for arm in request.arms])
    weights = _shares([arm.weight for arm in request.arms])
    return check(
        DeploymentSpec(
            name=request.name,
            arms=tuple(map(Arm, names, models, weights)),
            sticky_by=request.sticky_by,
            reward=request.reward,
            reward_range=request.reward_range,
        )
    )


def _check_names(given: Sequence[str]) -> None:
    """Names made from references are numbered where they coincide; a person's are not changed."""
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise InvalidInputError(f"Several arms are called `{'`, `'.join(twice)}`.")


def _request(settings: Settings, arms: Sequence[WantedArm]) -> DeployRequest:
    return DeployRequest(
        arms=tuple(arms),
        name=deployment_name(settings),
        sticky_by=settings.deploy.sticky_by,
        reward=settings.feedback.reward,
        reward_range=_promised(settings),
    )


def _promised(settings: Settings) -> tuple[float, float] | None:
    """Return the range of the reward; that of the project file is not one of another reward."""
    by_hand = [settings.origins[f"feedback.{key}"] == "command line" for key in _REWARD]
    return None if by_hand == [True, False] else settings.feedback.reward_range


def _read_arm(text: str) -> WantedArm:
    name, equals, rest = text.partition("=")
    if not equals or not name or not rest:
        raise UsageError(f"`{text}` is not an arm.", hint="Write `name=REF` or `name=REF:weight`.")
    match = _WEIGHT.fullmatch(rest)
    # `models:/wine/3` has a colon too, but no number right after its last one.
    return WantedArm(match[1], name, float(match[2])) if match else WantedArm(rest, name)


def _canary(model: str, canary: str) -> list[WantedArm]:
    ref, equals, percent = canary.rpartition("=")
    try:
        share = float(percent.rstrip("%"))
    except ValueError:
        share = -1
    if not equals or not 0 < share < 100:
        raise UsageError(
            f"`{canary}` is not a canary.",
            hint="Write `--canary REF=PERCENT`, such as `wine/4=10`.",
        )
    return [WantedArm(model, weight=100 - share), WantedArm(ref, weight=share)]


def _split(arms: Sequence[WantedArm], split: str) -> list[WantedArm]:
    try:
        weights = [float(part.rstrip("%")) for part in split.split("/")]
    except ValueError:
        weights = []
    if len(weights) != len(arms):
        raise UsageError(
            f"`{split}` is not a split among {len(arms)} arms.",
            hint="Write one number per arm, such as `--split 90/10`.",
        )
    total = sum(weights)
    if max(weights) >= _PERCENT and not math.isclose(total, 100, abs_tol=1):
        # `1/3` is a ratio; `90/20` is percentages that somebody mistyped.
        raise UsageError(f"The shares of `{split}` sum to {total:g}, not 100.")
    return [WantedArm(a.ref, a.name, w) for a, w in zip(arms, weights, strict=True)]


def _shares(weights: Sequence[float | None]) -> list[float]:
    """Turn weights of any unit into shares; without any, all arms get the same."""
    if all(weight is None for weight in weights):
        return [1 / len(weights)] * len(weights)
    given = [weight for weight in weights if weight is not None]
    if len(given) < len(weights):
        raise UsageError("Some arms have a weight and some do not; give all or none.")
    total = sum(given)
    if total <= 0 or any(weight < 0 for weight in given):
        raise UsageError("Weights must not be negative, and one must be above 0.")
    return [weight / total for weight in given]


def _read_file(settings: Settings, file: Path) -> DeployRequest:
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"`{file}` cannot be read: {error}.") from error
    faults = _faults(document)
    if faults:
        raise InvalidInputError(
            f"`{file}` is not a deployment spec: " + "; ".join(faults) + ".",
            hint="See `docs/deployments.md` for an example.",
        )
    arms = [
        WantedArm(arm["model"], arm.get("name", ""), arm.get("weight")) for arm in document["arms"]
    ]
    base = _request(settings, arms)

    def value(key: str, setting: str, otherwise: Any) -> Any:  # noqa: ANN401 - parsed YAML
        # The command line goes before the file, and the file before other settings.
        by_hand = settings.origins[setting] == "command line"
        return otherwise if by_hand else document.get(key, otherwise)

    other = settings.origins["feedback.reward_range"] != "command line" and "reward" in document
    bounds = value("reward_range", "feedback.reward_range", None if other else base.reward_range)

    return DeployRequest(
        arms=base.arms,
        name=value("name", "deploy.name", base.name),
        sticky_by=value("sticky_by", "deploy.sticky_by", base.sticky_by),
        reward=value("reward", "feedback.reward", base.reward),
        reward_range=None if bounds is None else (float(bounds[0]), float(bounds[1])),
    )


def _faults(document: Any) -> list[str]:  # noqa: ANN401 - parsed YAML
    if not isinstance(document, Mapping):
        return ["it must be a mapping with `arms`"]
    faults = [_unknown(key, _SPEC_KEYS) for key in document if key not in _SPEC_KEYS]
    texts = ("name", "sticky_by", "reward")
    faults += [
        f"`{key}` must be text" for key in texts if not isinstance(document.get(key, ""), str)
    ]
    if not _is_range(document.get("reward_range")):
        faults.append("`reward_range` must be two numbers, `[low, high]`")
    arms = document.get("arms")
    if not isinstance(arms, list) or not arms:
        return [*faults, "`arms` must be a list with at least one arm"]
    for number, arm in enumerate(arms, start=1):
        faults += [f"arm {number}: {fault}" for fault in _arm_faults(arm)]
    return faults


def _is_range(bounds: Any) -> bool:  # noqa: ANN401 - parsed YAML
    if not isinstance(bounds, list):
        return bounds is None
    numbers = [end for end in bounds if isinstance(end, int | float) and not isinstance(end, bool)]
    return len(numbers) == len(bounds) == 2


def _arm_faults(arm: Any) -> list[str]:  # noqa: ANN401 - parsed YAML
    if not isinstance(arm, Mapping) or not isinstance(arm.get("model"), str):
        return ["`model` must name a model"]
    faults = [_unknown(key, _ARM_KEYS) for key in arm if key not in _ARM_KEYS]
    if not isinstance(arm.get("name", ""), str):
        faults.append("`name` must be text")
    weight = arm.get("weight", 1)
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
        faults.append(f"`weight` must be a number from 0, not `{weight}`")
    return faults


def _unknown(key: Any, known: Sequence[str]) -> str:  # noqa: ANN401 - parsed YAML
    closest = did_you_mean(str(key), known) or f"Known: {', '.join(known)}."
    return f"unknown key `{key}`. {closest}".rstrip(".")
