"""What `mlops deploy` keeps of the live revision by default.

The value of an option is, in this order:

1. what the command line says now,
2. what an earlier command line said, until it is reset (`--reset NAME`),
3. what the project file or the environment says,
4. what the live revision has,
5. the default.

Weights are kept while the arms have the same names, shadows while none of them becomes an arm, and
the arms themselves where no model is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlops.errors import UsageError, did_you_mean, one_of
from mlops.registry.ledger import Entry
from mlops.settings.needs import RolloutSettings, value_at
from mlops.spec.analysis import write_horizon, written
from mlops.spec.attribution import write_duration, write_number

_COMMAND_LINE = "command line"
#: How the origin of a kept setting begins.
KEPT = "revision "
#: Options without a setting.
SPLIT, SHADOW, RAMP = "split", "shadow", "ramp"
_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "reward": (
        "feedback.reward",
        "feedback.reward_range",
        "feedback.costs",
        "feedback.decision_rule",
    ),
    "reward-range": ("feedback.reward_range",),
    "decision-rule": ("feedback.decision_rule",),
    "sticky-by": ("deploy.sticky_by",),
    "horizon": ("deploy.horizon",),
    "runtime": ("deploy.runtime",),
    "worth": ("report.worth",),
    "guardrail": ("report.guardrails",),
    "min-days": ("report.min_days",),
    "adjust": ("report.adjust",),
    "per": ("report.per",),
    "isolate": ("deploy.isolate",),
    "policy": ("deploy.policy",),
    "feedback-window": ("feedback.window",),
    "missing": ("feedback.missing",),
    "failed": ("feedback.failed",),
    "repeated": ("feedback.repeated",),
    "host": ("deploy.host",),
    "port": ("deploy.port",),
    "grpc-port": ("deploy.grpc_port",),
    "workers": ("deploy.workers",),
    "tls": ("deploy.tls_cert", "deploy.tls_key", "deploy.tls_client_ca", "deploy.tls_client_crl"),
    "insecure-no-auth": ("deploy.insecure_no_auth",),
    "image": ("cluster.image",),
    "model-server": ("cluster.model_server",),
    "router": ("cluster.router",),
    "with": ("cluster.extras",),
    "platform-version": ("{target}.version",),
    "mode": ("{target}.mode",),
    "traffic-by": ("{target}.split",),
}
_SPEC = (
    "feedback.reward",
    "feedback.reward_range",
    "feedback.costs",
    "feedback.decision_rule",
    "feedback.window",
    "feedback.missing",
    "feedback.failed",
    "feedback.repeated",
    "deploy.sticky_by",
    "deploy.horizon",
    "deploy.runtime",
    "report.worth",
    "report.guardrails",
    "report.min_days",
    "report.adjust",
    "report.per",
    "deploy.isolate",
    "deploy.policy",
)
_USUAL = ("squared-error", "exact", "log-loss")
#: What `--reset` takes.
RESETS = (*_SETTINGS, SPLIT, SHADOW, RAMP)


@dataclass(frozen=True, slots=True)
class Kept:
    """The settings of a deploy, with what the live revision adds to them.

    Attributes:
        settings: The project's settings; the origin of a kept one is `revision N`.
        live: The live revision, None if there is none.
        given: Settings that a command line named, now or for the live revision.
        lines: What was kept and would be otherwise without, human-readable.
    """

    settings: RolloutSettings
    live: Entry | None
    given: tuple[str, ...] = ()
    lines: tuple[str, ...] = ()


def check_resets(reset: Sequence[str]) -> None:
    """Refuse to reset what is not an option.

    Raises:
        UsageError: One of the names is none of `RESETS`.
    """
    for name in reset:
        if name not in RESETS:
            hint = did_you_mean(name, RESETS) or f"Use {one_of(RESETS)}."
            raise UsageError(f"`--reset {name}`: there is no such option.", hint=hint)


def keep(
    settings: RolloutSettings,
    live: Entry | None,
    target: str,
    has: Mapping[str, Any],
    reset: Sequence[str] = (),
    *,
    whole_spec: bool = False,
) -> Kept:
    """Add to the settings what the live revision has and is not changed.

    Args:
        settings: The project's settings.
        live: The live revision, None if there is none.
        target: Where the deployment is to be.
        has: The settings that the live revision runs with, as its target knows them.
        reset: Names of options that are to be as if nothing were live.
        whole_spec: A file says what the spec is, so nothing of it is kept.
    """
    given = {key for key, origin in settings.origins.items() if origin == _COMMAND_LINE}
    given &= set(keys_of(target))
    if live is None:
        return Kept(settings, None, tuple(sorted(given)))
    back = {key for name in reset for key in _keys_of(name, target)}
    back |= set(_SPEC) if whole_spec else set()
    before = {key for key in live.intent.given if key not in back}
    known = {k: v for k, v in _values(live, has).items() if k not in back}
    chosen = {
        key: value
        for key, value in known.items()
        if key not in given and (key in before or settings.origins[key] == "default")
    }
    _pair(settings, live, known, chosen)
    # That the address stays need not be said, nor a reward that is the default of most models.
    quiet = {"deploy.port", "deploy.grpc_port", "feedback.costs", "deploy.tls_key"}
    # Nor one worker, or what the pod has processors for.
    quiet |= {"deploy.workers"} if chosen.get("deploy.workers", 0) <= 1 else set()
    if chosen.get("feedback.reward") in _USUAL and "feedback.reward" not in before:
        quiet.add("feedback.reward")
    told = [key for key in chosen if key not in quiet]
    changed = {key: chosen[key] for key in told if chosen[key] != value_at(settings, key)}
    origins = _reset(settings, back) | dict.fromkeys(chosen, f"{KEPT}{live.number}")
    return Kept(
        _with(settings, chosen, origins),
        live,
        tuple(sorted(given | before)),
        tuple(f"{_option_of(key, target)} {_shown(changed[key])}" for key in changed),
    )


def _reset(settings: RolloutSettings, keys: set[str]) -> dict[str, str]:
    """Mark defaults that were asked for, by `--reset`."""
    defaults = [key for key in keys if settings.origins.get(key) == "default"]
    return dict.fromkeys(defaults, "default, by --reset")


def _pair(
    settings: RolloutSettings, live: Entry, known: Mapping[str, Any], chosen: dict[str, Any]
) -> None:
    """Keep a range with its reward only: it says nothing about another one."""
    reward, bounds = "feedback.reward", "feedback.reward_range"
    if settings.origins[bounds] == _COMMAND_LINE:
        return
    if reward in chosen and bounds in known:
        chosen[bounds] = known[bounds]
    elif chosen.get(reward, settings.feedback.reward) != live.intent.spec.reward:
        chosen.pop(bounds, None)


def _values(live: Entry, has: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the live revision has, by the key of its setting."""
    spec = live.intent.spec
    found: dict[str, Any] = {
        "feedback.reward": spec.reward,
        "feedback.reward_range": spec.reward_range,
        "feedback.costs": spec.costs,
        "feedback.decision_rule": spec.decision_rule,
        "feedback.window": write_duration(spec.attribution.window_s),
        "feedback.missing": write_number(spec.attribution.missing),
        "feedback.failed": write_number(spec.attribution.failed),
        "feedback.repeated": spec.attribution.repeated,
        "deploy.sticky_by": spec.sticky_by,
        "deploy.horizon": write_horizon(spec.horizon, spec.horizon_days),
        "deploy.runtime": spec.runtime,
        "deploy.isolate": spec.isolate,
        "deploy.policy": spec.policy,
    }
    plan = written(spec.analysis) | {"guardrails": spec.analysis.guardrails}
    found |= {f"report.{name}": value for name, value in plan.items()}
    found |= has
    return found


def keys_of(target: str) -> list[str]:
    """Return the settings that a deploy keeps, for a target."""
    return [key for name in _SETTINGS for key in _keys_of(name, target)]


def resets_of(target: str) -> dict[str, str]:
    """Return the settings that a deploy keeps, each with the name that `--reset` has for it."""
    return {key: _option_of(key, target) for key in keys_of(target)}


def _keys_of(name: str, target: str) -> list[str]:
    return [key.format(target=target) for key in _SETTINGS.get(name, ())]


def _option_of(key: str, target: str) -> str:
    found = [name for name in _SETTINGS if key in _keys_of(name, target)]
    return found[-1] if found else key.partition(".")[2]


def _with(
    settings: RolloutSettings, values: Mapping[str, Any], origins: Mapping[str, str]
) -> RolloutSettings:
    """Return the same record, a dataclass, with other values."""
    sections: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        record = sections.get(section) or getattr(settings, section)
        sections[section] = replace(record, **{name: value})
    there: Any = settings
    changed: RolloutSettings = replace(there, **sections, origins={**settings.origins, **origins})
    return changed


def _shown(value: object) -> str:
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], float):
        return f"{value[0]:g}..{value[1]:g}"
    if isinstance(value, tuple):
        parts = (f"{v[0]}={v[1]:g}" if isinstance(v, tuple) else str(v) for v in value)
        return ", ".join(parts) or "none"
    return "none" if value in ("", None) else str(value)
