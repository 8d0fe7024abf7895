"""What `mlops deploy` was asked for, on a command line or in a spec file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from mlops.deployment.arm_options import (
    ArmRequest,
    ShadowRequest,
    read_arms,
    read_canary,
    read_shadow,
    read_split,
)
from mlops.deployment.keeping import KEPT, RAMP, SHADOW, SPLIT, Kept
from mlops.deployment.runtime_files import deployment_name
from mlops.deployment.spec_faults import FEEDBACK_KEYS, SPEC_KEYS, faults_of
from mlops.errors import InvalidInputError, NotFoundError, UsageError, unreadable
from mlops.rewards.guardrails import ERRORS, REFUSALS, check_guardrails
from mlops.runtimes import AUTO
from mlops.settings.needs import RolloutSettings
from mlops.settings.yaml_text import parse_yaml
from mlops.spec.analysis import Analysis, read_analysis, read_horizon
from mlops.spec.attribution import Attribution, read_attribution
from mlops.spec.deployment import DeploymentSpec
from mlops.spec.ramp import Ramp, read_ramp
from mlops.spec.refs import parse_ref

_REWARD = ("reward", "reward_range")
_BASELINE_AND_CANARY = 2
_WAYS = "`--ab REF REF`, `--model REF`, `--arm name=REF:weight` or `-f SPEC`."
# `--ramp none` leaves out the project's.
_NO_RAMP = "none"
_SECTION = re.compile(r"`\[[a-z]+\] ")
#: What a ramp watches that declares no guardrail: one request in a hundred. A canary that raises
#: `ValueError` for good rows refuses them, and makes no errors.
RAMP_GUARDRAILS = ((ERRORS, 0.01), (REFUSALS, 0.01))


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """What `mlops deploy` was asked for.

    Attributes:
        arms: At least one.
        name: Name of the deployment, empty for the project's.
        sticky_by: `header:NAME`, `field:NAME` or empty.
        reward: Name of the reward; empty for what follows from what the models answer.
        reward_range: Lowest and highest reward; None if not declared.
        shadows: Models that get copies of requests.
        attribution: Which feedback counts for a request.
        horizon: Units with a reward, and days, after which the experiment ends; 0 for neither.
        analysis: How the evidence is judged.
        redraw: Whether sticky units that came before are drawn again.
        runtime: What executes the models: `auto` or a name of `RUNTIMES`.
        isolate: Which models run in an environment of their own.
        policy: How an arm is drawn: a name of `POLICIES`.
        live: The spec that is live, whose weights and shadows are kept; None to keep nothing.
        keep_split: Whether arms without a weight have that of the live arm of their name.
        keep_shadows: Whether its shadows stay where none are named.
        given: Settings that a command line named, now or for the live revision.
        kept: What is kept of the live revision's settings, human-readable.
        based_on: Number of that revision; None if it was not looked at.
        costs: (truth, prediction, cost) of the reward `cost`.
        decision_rule: What it takes for the prediction of probabilities; empty if none is chosen.
        ramp: How the share of the canary grows.
        keep_ramp: Whether the live ramp continues where the arms and their weights are kept.
    """

    arms: tuple[ArmRequest, ...]
    name: str
    sticky_by: str
    reward: str
    reward_range: tuple[float, float] | None = None
    shadows: tuple[ShadowRequest, ...] = ()
    attribution: Attribution = field(default_factory=Attribution)
    horizon: tuple[int, float] = (0, 0.0)
    analysis: Analysis = field(default_factory=Analysis)
    redraw: bool = False
    runtime: str = AUTO
    isolate: str = "auto"
    policy: str = "weighted"
    live: DeploymentSpec | None = None
    keep_split: bool = False
    keep_shadows: bool = False
    given: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    based_on: int | None = None
    costs: tuple[tuple[str, str, float], ...] = ()
    decision_rule: str = ""
    ramp: Ramp | None = None
    keep_ramp: bool = False


def read_request(
    settings: RolloutSettings,
    *,
    ab: tuple[str, str] | None = None,
    model: str | None = None,
    arms: Sequence[str] = (),
    canary: str | None = None,
    ramp: Mapping[str, Any] | None = None,
    split: str | None = None,
    shadows: Sequence[str] = (),
    file: Path | None = None,
    kept: Kept | None = None,
    reset: Sequence[str] = (),
) -> DeployRequest:
    """Read the options of `mlops deploy`.

    Args:
        settings: The project's settings, with what is kept of the live revision.
        ab: Two models.
        model: One model.
        arms: Arms, as `name=REF:weight`.
        canary: A model beside `model` and its share, as `REF=PERCENT`.
        ramp: How that share grows: `steps`, `every`, `advance` and `auto`, as `read_ramp` reads
            them.
        split: Share of each arm.
        shadows: Shadows, as `REF=PERCENT`.
        file: A spec file, which says everything: nothing of the live revision is kept.
        kept: The live revision; its arms are meant where no models are named.
        reset: Names of options of which nothing is kept.

    Raises:
        UsageError: None or several of the ways to name models were used, or one is malformed.
        InvalidInputError: The spec file is wrong.
    """
    check_words(
        ab=ab, model=model, arms=arms, canary=canary, ramp=ramp, split=split, shadows=shadows,
        file=file,
    )  # fmt: skip
    live = kept.live.intent.spec if kept and kept.live else None
    if not (ab or model or arms or file or live):
        raise UsageError("Say which models to deploy.", hint=_WAYS)
    plan = _planned(settings, ramp or {}) if canary else {}
    if ramp and not (ramp["steps"] or plan) and any(ramp.values()):
        raise UsageError("`--every`, `--advance` and `--auto` go with `--ramp 5,25,50,100`.")
    copies = tuple(read_shadow(text) for text in shadows)
    if file:
        request = replace(_read_file(settings, file), live=live, given=kept.given if kept else ())
        return replace(request, shadows=copies) if copies else request
    wanted = _named(ab, model, arms, canary, _first_share(plan["steps"]) if plan else None)
    if not wanted:
        assert live is not None
        wanted = [ArmRequest(arm.model.ref, arm.name, model=arm.model) for arm in live.arms]
    request = _request(settings, read_split(wanted, split) if split else wanted, copies)
    if plan:
        request = _with_ramp(request, plan)
    return replace(
        request,
        live=live,
        keep_ramp=RAMP not in reset and SPLIT not in reset and not (ramp and ramp["steps"]),
        keep_split=SPLIT not in reset,
        keep_shadows=SHADOW not in reset and not copies,
        given=kept.given if kept else (),
        kept=kept.lines if kept else (),
    )


def check_words(
    *,
    ab: tuple[str, str] | None = None,
    model: str | None = None,
    arms: Sequence[str] = (),
    canary: str | None = None,
    ramp: Mapping[str, Any] | None = None,
    split: str | None = None,
    shadows: Sequence[str] = (),
    file: Path | None = None,
) -> None:
    """Refuse options that are wrong whatever is live, before anything that takes time.

    The arguments are those of `read_request`.

    Raises:
        UsageError: Several of the ways to name models were used, or one is malformed.
        NotFoundError: There is no such spec file.
    """
    if sum(map(bool, (ab, model, arms, file))) > 1:
        raise UsageError("Say which models to deploy, in one way.", hint=_WAYS)
    if canary and not model:
        raise UsageError("`--canary` goes with `--model REF`, which gets the rest of the traffic.")
    if ramp and ramp["steps"] and not canary:
        raise UsageError("`--ramp` goes with `--canary REF=PERCENT`, whose share it grows.")
    if split and (canary or file):
        raise UsageError(f"`--split` does not go with `{'--canary' if canary else '-f'}`.")
    if file and not file.exists():
        raise NotFoundError(f"There is no file `{file}`.")
    option = next((ref for ref in ab or () if ref.startswith("-")), "")
    if option:
        raise UsageError(
            f"`--ab` takes two models, and `{option}` is no model but an option.",
            hint="`--ab REF REF`, or `--model REF` for a single model.",
        )
    # A ramp of the project may say what a canary begins with.
    named = _named(ab, model, arms, canary, 1.0)
    for ref in [arm.ref for arm in named] + [read_shadow(text).ref for text in shadows]:
        parse_ref(ref)
    if not split or not named:
        return
    if any(arm.weight is not None for arm in named):
        raise UsageError("Give weights with `--split` or with the arms, not with both.")
    read_split(named, split)


def _named(
    ab: tuple[str, str] | None, model: str | None, arms: Sequence[str], canary: str | None,
    first: float | None,
) -> list[ArmRequest]:  # fmt: skip
    """Return the arms that a command line names; none where it does not."""
    if ab:
        return [ArmRequest(ref) for ref in ab]
    if model:
        return [ArmRequest(model)] if canary is None else read_canary(model, canary, first)
    return read_arms(arms)


def _planned(settings: RolloutSettings, ramp: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the command line says of a canary's ramp, else the project; {} for none."""
    if ramp.get("steps") == _NO_RAMP:
        return {}
    project = dict(settings.deploy.ramp)
    words = {key: ramp.get(key) or project.get(key, "") for key in ("steps", "every", "advance")}
    if not words["steps"]:
        return {}
    auto = bool(project.get("auto")) if ramp.get("auto") is None else ramp["auto"]
    origin = "" if ramp.get("steps") else settings.origins["deploy.ramp"]
    return {**words, "auto": auto, "origin": origin}


def check_ramp(settings: RolloutSettings) -> None:
    """Check the project's ramp, whatever canary it is for.

    Raises:
        UsageError: It is malformed.
    """
    if plan := _planned(settings, {}):
        read_ramp(**plan, canary_percent=_first_share(plan["steps"]))


def _with_ramp(request: DeployRequest, ramp: Mapping[str, Any]) -> DeployRequest:
    plan = read_ramp(**ramp, canary_percent=request.arms[1].weight or 0.0)
    analysis = request.analysis
    if not analysis.guardrails:
        analysis = replace(analysis, guardrails=RAMP_GUARDRAILS)
    return replace(request, ramp=plan, analysis=analysis)


def read_costs(file: str) -> Any:  # noqa: ANN401 - parsed YAML
    """Read a cost matrix, JSON or YAML; the settings check what is in it.

    Raises:
        InvalidInputError: The file cannot be read.
    """
    try:
        return parse_yaml(Path(file).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidInputError(f"`{file}` cannot be read: {error}.") from error


def _request(
    settings: RolloutSettings, arms: Sequence[ArmRequest], shadows: Sequence[ShadowRequest]
) -> DeployRequest:
    return DeployRequest(
        arms=tuple(arms),
        name=deployment_name(settings),
        sticky_by=settings.deploy.sticky_by,
        reward=settings.feedback.reward,
        reward_range=_promised(settings),
        shadows=tuple(shadows),
        costs=settings.feedback.costs,
        decision_rule=settings.feedback.decision_rule,
        attribution=read_attribution(
            settings.feedback.window,
            settings.feedback.missing,
            settings.feedback.failed,
            settings.feedback.repeated,
            str(settings.feedback.max_per_unit),
            settings.feedback.max_per_key,
            str(settings.feedback.outcome_ids),
        ),
        horizon=read_horizon(settings.deploy.horizon),
        analysis=read_analysis(
            settings.report.worth,
            settings.report.guardrails,
            settings.report.min_days,
            settings.report.adjust,
            settings.report.per,
        ),
        redraw=settings.deploy.redraw,
        runtime=settings.deploy.runtime,
        isolate=settings.deploy.isolate,
        policy=settings.deploy.policy,
    )


def _promised(settings: RolloutSettings) -> tuple[float, float] | None:
    """Return the range of the reward; that of the project file is not one of another reward."""
    reward, bounds = (settings.origins[f"feedback.{key}"] for key in _REWARD)
    of_another = reward == "command line" and bounds != reward and not bounds.startswith(KEPT)
    return None if of_another else settings.feedback.reward_range


def _read_file(settings: RolloutSettings, file: Path) -> DeployRequest:
    try:
        document = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise unreadable(file, error) from error
    faults = faults_of(document)
    if faults:
        said = "; ".join(faults)
        raise InvalidInputError(
            f"`{file}` is not a deployment spec: {said if said.endswith('?') else f'{said}.'}",
            hint="The least is `arms: [{model: wine/1}, {model: wine/2}]`. "
            f"Keys: {', '.join(SPEC_KEYS)}.",
        )
    arms = [
        ArmRequest(arm["model"], arm.get("name", ""), arm.get("weight")) for arm in document["arms"]
    ]
    shadows = [
        ShadowRequest(shadow["model"], shadow.get("name", ""), shadow.get("percent", 100))
        for shadow in document.get("shadows") or ()
    ]
    base = _request(settings, arms, shadows)

    def value(key: str, setting: str, otherwise: object) -> Any:  # noqa: ANN401 - parsed YAML
        # The command line overrides the file, and the file overrides other settings.
        by_hand = settings.origins[setting] == "command line"
        return otherwise if by_hand else document.get(key, otherwise)

    def text(key: str) -> str:
        return str(value(key, f"report.{key}", getattr(settings.report, key)))

    with _of_file(file):
        other = settings.origins["feedback.reward_range"] != "command line" and "reward" in document
        bounds = value(
            "reward_range", "feedback.reward_range", None if other else base.reward_range
        )

        request = replace(
            base,
            name=value("name", "deploy.name", base.name),
            sticky_by=value("sticky_by", "deploy.sticky_by", base.sticky_by),
            reward=value("reward", "feedback.reward", base.reward),
            reward_range=None if bounds is None else (float(bounds[0]), float(bounds[1])),
            decision_rule=value("decision_rule", "feedback.decision_rule", base.decision_rule),
            attribution=read_attribution(
                *(
                    str(value(key, f"feedback.{key}", getattr(settings.feedback, key)))
                    for key in FEEDBACK_KEYS
                )
            ),
            horizon=read_horizon(str(value("horizon", "deploy.horizon", settings.deploy.horizon))),
            analysis=read_analysis(
                text("worth"),
                _margins(value("guardrails", "report.guardrails", settings.report.guardrails)),
                text("min_days"),
                text("adjust"),
                text("per"),
            ),
            redraw=value("redraw", "deploy.redraw", base.redraw),
            runtime=value("runtime", "deploy.runtime", base.runtime),
            isolate=value("isolate", "deploy.isolate", base.isolate),
            policy=value("policy", "deploy.policy", base.policy),
        )
        check_guardrails(request.analysis.guardrails)
        return _with_written_ramp(request, document["ramp"]) if document.get("ramp") else request


@contextmanager
def _of_file(file: Path) -> Iterator[None]:
    """Name a spec file in errors about what is in it."""
    try:
        yield
    except (InvalidInputError, UsageError) as error:
        # Its keys are settings too, and are checked as such.
        text = _SECTION.sub("`", error.message)
        raise InvalidInputError(f"`{file}`: {text}", hint=error.hint) from error


def _with_written_ramp(request: DeployRequest, ramp: Any) -> DeployRequest:  # noqa: ANN401 - parsed YAML
    """Add the ramp of a spec file; where its arms have no weights, they are those of its begin."""
    if len(request.arms) != _BASELINE_AND_CANARY:
        raise InvalidInputError(
            f"A ramp has two arms, a baseline and the canary after it, not {len(request.arms)}."
        )
    words = dict(ramp) if isinstance(ramp, Mapping) else {"steps": ramp}
    steps = words["steps"]
    written = steps if isinstance(steps, str) else ",".join(f"{step:g}" for step in steps)
    weights = [arm.weight for arm in request.arms]
    if all(weight is None for weight in weights):
        first = _first_share(written)
        shares = [100 - first, first]
    else:
        told = [1.0 if weight is None else weight for weight in weights]
        shares = [round(100 * weight / (sum(told) or 1.0), 6) for weight in told]
    arms = tuple(
        replace(arm, weight=share) for arm, share in zip(request.arms, shares, strict=True)
    )
    plan = {
        "steps": written, "every": words.get("every", ""), "advance": words.get("advance", ""),
        "auto": words.get("auto", False),
    }  # fmt: skip
    try:
        return _with_ramp(replace(request, arms=arms), plan)
    except UsageError as error:
        raise InvalidInputError(
            f"`ramp`: {error.message}", hint="The canary is the second arm: `weight: 5`."
        ) from error


def _first_share(steps: str) -> float:
    try:
        return float(steps.partition(",")[0].strip().rstrip("%"))
    except ValueError:
        # The parser of the steps reports what is wrong with them.
        return 0.0


def _margins(given: Any) -> tuple[tuple[str, float], ...]:  # noqa: ANN401 - parsed YAML
    return tuple((name, float(margin)) for name, margin in dict(given).items())
