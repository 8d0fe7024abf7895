"""Arms and shadows as a user writes them on a command line."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mlops.errors import UsageError
from mlops.spec.endpoint import ends_in_port
from mlops.spec.model import ModelVersion

_WEIGHT = re.compile(r"(.+):([0-9]*\.?[0-9]+)%?")
_SHARE = re.compile(r"(.+)=([0-9]*\.?[0-9]+)%?")
# From here on the numbers of a split are read as percentages.
_PERCENT = 10


@dataclass(frozen=True, slots=True)
class ArmRequest:
    """An arm as the user wrote it.

    Attributes:
        ref: Model reference.
        name: Name, empty to make one from the reference.
        weight: Share of the traffic in any unit; None for an equal share.
        model: The model, if it need not be looked up: that of the live revision.
    """

    ref: str
    name: str = ""
    weight: float | None = None
    model: ModelVersion | None = None


@dataclass(frozen=True, slots=True)
class ShadowRequest:
    """A shadow as the user wrote it.

    Attributes:
        ref: Model reference.
        name: Name, empty to make one from the reference.
        percent: Percentage of the requests that it gets a copy of.
        model: The model, where it need not be looked up: that of the live revision.
    """

    ref: str
    name: str = ""
    percent: float = 100.0
    model: ModelVersion | None = None


def read_arm(text: str) -> ArmRequest:
    """Read `name=REF` or `name=REF:weight`.

    Raises:
        UsageError: It is neither.
    """
    name, equals, rest = text.partition("=")
    if not equals or not name or not rest:
        raise UsageError(f"`{text}` is not an arm.", hint="Write `name=REF` or `name=REF:weight`.")
    match = _WEIGHT.fullmatch(rest)
    # `models:/wine/3` has a colon too, but no number right after its last one.
    if match is None or ends_in_port(match[1], match[2]):
        return ArmRequest(rest, name)
    return ArmRequest(match[1], name, float(match[2]))


def read_canary(model: str, canary: str, first: float | None = None) -> list[ArmRequest]:
    """Put `canary`, a `REF=PERCENT`, beside a model that gets the rest of the traffic.

    Args:
        model: The model with the rest.
        canary: It; `REF` alone where a ramp says what it begins with.
        first: What a ramp begins with, per cent; None without a ramp.

    Raises:
        UsageError: It is malformed.
    """
    if first is not None and "=" not in canary:
        canary = f"{canary}={first:g}"
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
    return [ArmRequest(model, weight=100 - share), ArmRequest(ref, weight=share)]


def read_shadow(text: str) -> ShadowRequest:
    """Read `REF` or `REF=PERCENT`.

    Raises:
        UsageError: It is neither.
    """
    match = _SHARE.fullmatch(text)
    if match is None:
        return ShadowRequest(text)
    percent = float(match[2])
    if not 0 < percent <= 100:
        raise UsageError(
            f"`{text}` is not a shadow: a percentage is above 0 and up to 100.",
            hint="Write `--shadow REF` or `--shadow REF=PERCENT`, such as `wine/4=10`.",
        )
    return ShadowRequest(match[1], percent=percent)


def read_split(arms: Sequence[ArmRequest], split: str) -> list[ArmRequest]:
    """Give each arm its number of `split`, such as `90/10`.

    Raises:
        UsageError: It has another count of numbers, or they are not a split.
    """
    try:
        weights = [float(part.rstrip("%")) for part in split.split("/")]
    except ValueError:
        weights = []
    if len(weights) != len(arms):
        raise UsageError(
            f"`{split}` is not a split among {len(arms)} arm{'s' if len(arms) != 1 else ''}.",
            hint="Write one number per arm, such as `--split 90/10`.",
        )
    _check_total(weights)
    return [replace(a, weight=w) for a, w in zip(arms, weights, strict=True)]


def read_arms(texts: Sequence[str]) -> list[ArmRequest]:
    """Read the arms of a command line, each as `read_arm` does.

    Raises:
        UsageError: One is malformed, or their weights are percentages that do not sum to 100.
    """
    arms = [read_arm(text) for text in texts]
    weights = [arm.weight for arm in arms if arm.weight is not None]
    if weights and len(weights) == len(arms):
        _check_total(weights)
    return arms


def _check_total(weights: Sequence[float]) -> None:
    total = sum(weights)
    if max(weights) >= _PERCENT and not math.isclose(total, 100, abs_tol=1):
        # `1/3` is a ratio; `90/20` is mistyped percentages.
        shown = "/".join(f"{weight:g}" for weight in weights)
        raise UsageError(
            f"The shares `{shown}` sum to {total:g}, not 100.",
            hint="Write percentages, such as 90 and 10, or a ratio of small numbers, such as 9 and"
            " 1.",
        )


def shares(weights: Sequence[float | None]) -> list[float]:
    """Turn weights of any unit into shares; without any, all arms get the same.

    Raises:
        UsageError: Only some have a weight, or the weights are not weights.
    """
    if all(weight is None for weight in weights):
        return [1 / len(weights)] * len(weights)
    given = [weight for weight in weights if weight is not None]
    if len(given) < len(weights):
        raise UsageError("Some arms have a weight and some do not; give all or none.")
    total = sum(given)
    if total <= 0 or any(weight < 0 for weight in given):
        raise UsageError("Weights must not be negative, and one must be above 0.")
    return [weight / total for weight in given]
