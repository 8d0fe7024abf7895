"""What is wrong with the form of a deployment spec in YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlops.errors import did_you_mean
from mlops.rewards.cost import COST

#: Keys of a spec about feedback, which are settings of `[feedback]` too.
FEEDBACK_KEYS = (
    "window", "missing", "failed", "repeated", "max_per_unit", "max_per_key", "outcome_ids",
)  # fmt: skip
_ANALYSIS_KEYS = ("worth", "guardrails", "min_days", "adjust", "per")
#: Keys of a spec; `docs/deployments.md` has a table of them.
SPEC_KEYS = (
    "name", "arms", "shadows", "sticky_by", "reward", "reward_range", "decision_rule", "horizon",
    "redraw", "policy", "runtime", "isolate", "ramp", *FEEDBACK_KEYS, *_ANALYSIS_KEYS,
)  # fmt: skip
_ARM_KEYS = ("name", "model", "weight")
_SHADOW_KEYS = ("name", "model", "percent")
_RAMP_KEYS = ("steps", "every", "advance", "auto")


def faults_of(document: object) -> list[str]:
    """Return all that is wrong with the form of a spec; not whether it makes sense."""
    if not isinstance(document, Mapping):
        return ["it must be a mapping with `arms`"]
    faults = [_unknown(key, SPEC_KEYS) for key in document if key not in SPEC_KEYS]
    texts = ("name", "sticky_by", "reward", "decision_rule", "policy", "runtime", "isolate")
    faults += [
        f"`{key}` must be text" for key in texts if not isinstance(document.get(key, ""), str)
    ]
    horizon = document.get("horizon", 0)
    if isinstance(horizon, bool) or not isinstance(horizon, int | str):
        faults.append(f"`horizon` must be a whole number or a time, not `{horizon}`")
    faults += [
        f"`{key}` must be true or false"
        for key in ("redraw", "outcome_ids")
        if not isinstance(document.get(key, False), bool)
    ]
    if not _are_margins(document.get("guardrails", {})):
        faults.append("`guardrails` must be numbers by metric, such as `{errors: 0.01}`")
    if not _is_range(document.get("reward_range")):
        faults.append("`reward_range` must be two numbers, `[low, high]`")
    if document.get("decision_rule") and document.get("reward", COST.name) != COST.name:
        faults.append(
            f"`decision_rule` goes with `reward: {COST.name}`, whose costs it weighs, and the "
            f"reward here is `{document['reward']}`"
        )
    faults += _ramp_faults(document.get("ramp"))
    arms = document.get("arms")
    if not isinstance(arms, list) or not arms:
        return [*faults, "`arms` must be a list with at least one arm"]
    for number, arm in enumerate(arms, start=1):
        faults += [f"arm {number}: {fault}" for fault in _arm_faults(arm)]
    shadows = document.get("shadows") or []
    if not isinstance(shadows, list):
        return [*faults, "`shadows` must be a list"]
    for number, shadow in enumerate(shadows, start=1):
        faults += [f"shadow {number}: {fault}" for fault in _shadow_faults(shadow)]
    return faults


def _ramp_faults(ramp: object) -> list[str]:
    if ramp is None or isinstance(ramp, list | str):
        ramp = {"steps": ramp or [1]}
    if not isinstance(ramp, Mapping) or not ramp.get("steps"):
        return ["`ramp` must be shares in per cent, or have them as `steps`, such as [5, 25, 100]"]
    faults = [f"ramp: {_unknown(key, _RAMP_KEYS)}" for key in ramp if key not in _RAMP_KEYS]
    steps = ramp["steps"]
    of_numbers = isinstance(steps, list) and all(
        isinstance(step, int | float) and not isinstance(step, bool) for step in steps
    )
    if not of_numbers and not isinstance(steps, str):
        faults.append("ramp: `steps` must be shares in per cent, such as [5, 25, 100]")
    faults += [
        f"ramp: `{key}` must be text"
        for key in ("every", "advance")
        if not isinstance(ramp.get(key, ""), str)
    ]
    if not isinstance(ramp.get("auto", False), bool):
        faults.append("ramp: `auto` must be true or false")
    return faults


def _is_range(bounds: object) -> bool:
    if not isinstance(bounds, list):
        return bounds is None
    numbers = [end for end in bounds if isinstance(end, int | float) and not isinstance(end, bool)]
    return len(numbers) == len(bounds) == 2


def _are_margins(margins: object) -> bool:
    if not isinstance(margins, Mapping):
        return False
    numbers = [m for m in margins.values() if isinstance(m, int | float) and m is not True]
    return len(numbers) == len(margins) and all(isinstance(name, str) for name in margins)


def _arm_faults(arm: object) -> list[str]:
    faults = _model_faults(arm, _ARM_KEYS)
    weight = arm.get("weight", 1) if isinstance(arm, Mapping) else 1
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight >= 0:
        faults.append(f"`weight` must be a number from 0, not `{weight}`")
    return faults


def _shadow_faults(shadow: object) -> list[str]:
    faults = _model_faults(shadow, _SHADOW_KEYS)
    percent = shadow.get("percent", 100) if isinstance(shadow, Mapping) else 100
    is_number = isinstance(percent, int | float) and not isinstance(percent, bool)
    if not is_number or not 0 < percent <= 100:
        faults.append(f"`percent` must be a number above 0 and up to 100, not `{percent}`")
    return faults


def _model_faults(item: object, known: Sequence[str]) -> list[str]:
    if not isinstance(item, Mapping) or not isinstance(item.get("model"), str):
        return ["`model` must name a model"]
    faults = [_unknown(key, known) for key in item if key not in known]
    return faults if isinstance(item.get("name", ""), str) else [*faults, "`name` must be text"]


def _unknown(key: object, known: Sequence[str]) -> str:
    closest = did_you_mean(str(key), known) or f"Known: {', '.join(known)}."
    return f"unknown key `{key}`. {closest}".rstrip(".")
