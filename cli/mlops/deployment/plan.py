"""The intended state of a deployment, compared with its actual state. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlops.spec.analysis import describe_changes, write_horizon
from mlops.spec.attribution import describe
from mlops.spec.deployment import DeploymentSpec, Shadow
from mlops.spec.model import ModelVersion
from mlops.spec.ramp import describe_ramp
from mlops.spec.short_repr import short_repr

Kind = Literal["create", "update", "start", "nothing"]
# What a plan calls a field of a spec, where not by its name.
_NAMES = {"attribution": "feedback"}


@dataclass(frozen=True, slots=True)
class Plan:
    """A planned change.

    Attributes:
        kind: `create` a first revision, `update` to a new one, `start` the server of the one
            there is, or `nothing`.
        before: What was live, None for `create`.
        after: What is to be live.
        lines: The difference, each line beginning with `+`, `-`, `~` or a space.
        notes: What the user should know about the reward.
        kept: Options that stay as they were, without a setting or command line option.
    """

    kind: Kind
    before: DeploymentSpec | None
    after: DeploymentSpec
    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return short_repr(self, kind=self.kind, name=self.after.name, changes=len(self.lines))


def make_plan(before: DeploymentSpec | None, after: DeploymentSpec, *, running: bool) -> Plan:
    """Compare two specs.

    Args:
        before: What is live by the ledger, None if nothing was.
        after: What is wanted.
        running: Whether its server lives.
    """
    lines = difference(before, after)
    if before is None:
        kind: Kind = "create"
    elif any(line[0] != " " for line in lines):
        kind = "update"
    else:
        kind = "nothing" if running else "start"
    return Plan(kind, before, after, lines)


def difference(before: DeploymentSpec | None, after: DeploymentSpec) -> tuple[str, ...]:
    """Return the differences of two specs, arm by arm.

    Pinned models are compared, not their references: `wine` and `wine/3` are the same
    while version 3 is the newest.
    """
    old = {} if before is None else {arm.name: arm for arm in before.arms}
    new = {arm.name: arm for arm in after.arms}
    lines = []
    for name, arm in new.items():
        text = f"{name}  {arm.model.label}  {_percent(arm.weight)}"
        was = old.get(name)
        if was is None:
            lines.append(f"+ {text}")
        elif was.model.identity != arm.model.identity:
            lines.append(
                f"~ {text}  (was {_former_label(was.model, arm.model)}, {_percent(was.weight)})"
            )
        elif was.weight != arm.weight:
            lines.append(f"~ {text}  (was {_percent(was.weight)})")
        else:
            lines.append(f"  {text}")
    lines += [f"- {name}  {arm.model.label}" for name, arm in old.items() if name not in new]
    lines += _shadows(before.shadows if before else (), after.shadows)
    if before is None:
        # What was not declared is as anybody expects it.
        usual = DeploymentSpec(after.name, after.arms)
        lines += [f"+ {name}  {value}" for name, value, _ in declared_changes(usual, after)]
        lines += ["+ costs of the reward"] * bool(after.costs)
        lines += [f"+ decision rule  {_rule(after)}"] * bool(after.costs)
        return tuple(lines)
    lines += [
        f"~ {name}  {value}  (was {was})" for name, value, was in declared_changes(before, after)
    ]
    if before.costs != after.costs:
        lines.append("~ costs of the reward")
    if (rule := _rule(after)) != (was_rule := _rule(before)):
        lines.append(f"~ decision rule  {rule}  (was {was_rule})")
    if after.redraw and after.sticky_by:
        lines.append("~ sticky units that came before are drawn again")
    if list(old) != list(new) and set(old) == set(new):
        lines.append(f"~ order of the arms; the baseline is {after.arms[0].name}")
    return tuple(lines)


def declared_changes(before: DeploymentSpec, after: DeploymentSpec) -> list[tuple[str, str, str]]:
    """Return what differs besides models: what it is, its value, and the one before."""
    fields: dict[str, Callable[[Any], str]] = {
        "policy": str,
        "sticky_by": str,
        "reward": str,
        "runtime": str,
        "isolate": str,
        "reward_range": _range,
        "attribution": describe,
        "ramp": describe_ramp,
    }
    values = [(name, getattr(after, name), getattr(before, name)) for name in fields]
    # Values are compared, not their words, which are shorter.
    changed = [
        (_NAMES.get(name, name), fields[name](value) or "none", fields[name](was) or "none")
        for name, value, was in values
        if value != was
    ]
    end, was_end = (write_horizon(its.horizon, its.horizon_days) for its in (after, before))
    if end != was_end:
        changed.append(("horizon", end or "none", was_end or "none"))
    return changed + describe_changes(before.analysis, after.analysis)


def _former_label(was: ModelVersion, now: ModelVersion) -> str:
    """Name a former model, where its label may be that of the new one."""
    if (was.label, was.source) != (now.label, now.source):
        return was.label
    return "other files" if was.digest else "not pinned to its files"


def _rule(spec: DeploymentSpec) -> str:
    if not spec.costs:
        return "none"
    return spec.decision_rule or f"{spec.decides_by}, by default"


def _range(bounds: tuple[float, float] | None) -> str:
    return f"{bounds[0]:g}..{bounds[1]:g}" if bounds else "none"


def _shadows(before: Sequence[Shadow], after: Sequence[Shadow]) -> list[str]:
    """Return differences of shadows, by name; their order has no meaning."""
    old = {shadow.name: shadow for shadow in before}
    lines = []
    for shadow in after:
        text = f"{shadow.name}  {shadow.model.label}  shadow of {_percent(shadow.share)}"
        was = old.pop(shadow.name, None)
        if was is None:
            lines.append(f"+ {text}")
        elif (was.model.identity, was.share) != (shadow.model.identity, shadow.share):
            lines.append(
                f"~ {text}  (was {_former_label(was.model, shadow.model)}, {_percent(was.share)})"
            )
        else:
            lines.append(f"  {text}")
    return [*lines, *(f"- {name}  {was.model.label}  shadow" for name, was in old.items())]


def _percent(weight: float) -> str:
    return f"{weight * 100:.4g} %"
