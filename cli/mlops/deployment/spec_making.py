"""From what was asked for to a deployment spec, with what is kept of the live one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from mlops.deployment.arm_options import ArmRequest, ShadowRequest, shares
from mlops.deployment.naming import arm_names
from mlops.deployment.request import DeployRequest
from mlops.errors import InvalidInputError, UsageError, did_you_mean, one_of
from mlops.policies.base import Contextual
from mlops.policies.making import check_features, make_policy, read_policy, write_policy
from mlops.registry import resolve_all
from mlops.registry.answers import read_input_names
from mlops.rewards import REWARDS, Terms
from mlops.rewards.cost import COST
from mlops.rewards.decisions import MIN_COST, MOST_LIKELY, missing_costs, read_rule
from mlops.rewards.guardrails import check_guardrails
from mlops.rewards.own import load_reward
from mlops.runtimes import AUTO, RUNTIMES
from mlops.settings.needs import RolloutSettings
from mlops.spec.deployment import Arm, DeploymentSpec, Shadow, check, check_names
from mlops.spec.model import ModelVersion
from mlops.spec.ramp import Ramp, describe_ramp


def make_spec(
    settings: RolloutSettings,
    request: DeployRequest,
    pin: Callable[[ModelVersion], ModelVersion] = lambda model: model,
) -> DeploymentSpec:
    """Look up every model and make the spec.

    Args:
        settings: The project's settings.
        request: What is asked for.
        pin: Notes what a model that was looked up is now. Before it is compared with those of the
            live revision, which stay as they are.

    Raises:
        NotFoundError: A model does not exist.
        InvalidInputError: The spec cannot be deployed, or there is no such reward.
    """
    if request.reward:
        REWARDS.check(request.reward)
        load_reward(request.reward)
    check_guardrails(request.analysis.guardrails)
    if request.reward == COST.name and not request.costs:
        raise InvalidInputError(
            "The reward `cost` needs to know what each confusion costs.",
            hint="`--cost-matrix FILE`, or `[feedback.costs]` in `mlops.toml`: truth -> prediction "
            "-> cost.",
        )
    wanted: list[ArmRequest | ShadowRequest] = [*request.arms, *request.shadows]
    given = [each.name for each in wanted if each.name]
    _check_twice(given)
    check_names(request.name, given)
    models = _models(settings, wanted, pin)
    names = arm_names([each.name for each in wanted], models, request.live)
    n = len(request.arms)
    percents = [shadow.percent / 100 for shadow in request.shadows]
    shadows = tuple(map(Shadow, names[n:], models[n:], percents))
    weights = _weights(request, names[:n])
    arms = tuple(map(Arm, names[:n], models[:n], weights))
    return check(
        DeploymentSpec(
            name=request.name,
            arms=arms,
            ramp=_ramp(request, arms),
            sticky_by=request.sticky_by,
            reward=request.reward,
            reward_range=request.reward_range,
            attribution=request.attribution,
            horizon=request.horizon[0],
            horizon_days=request.horizon[1],
            analysis=request.analysis,
            redraw=request.redraw,
            runtime=_known_runtime(request.runtime),
            isolate=request.isolate,
            policy=_known_policy(request, weights, settings.journal.features),
            shadows=shadows or _kept_shadows(request, names[:n], models[:n]),
            costs=request.costs if request.reward == COST.name else (),
            decision_rule=_decision_rule(settings, request),
        )
    )


def check_columns(spec: DeploymentSpec) -> None:
    """Refuse a policy that looks at features which the models do not take.

    The server would refuse it too, once it has the models.

    Raises:
        InvalidInputError: One of the features is no column of the models.
    """
    policy = make_policy(spec.policy, [arm.weight for arm in spec.arms])
    if isinstance(policy, Contextual):
        known = (read_input_names(arm.model) for arm in spec.arms)
        check_features(policy.features, next(filter(None, known), ()))


def _decision_rule(settings: RolloutSettings, request: DeployRequest) -> str:
    """Return the rule in its one form, if it can be applied with these costs."""
    if request.reward != COST.name:
        if settings.origins["feedback.decision_rule"] == "command line":
            raise UsageError("`--decision-rule` goes with `--reward cost`, whose costs it weighs.")
        return ""
    try:
        rule = read_rule(request.decision_rule)
    except ValueError as error:
        raise InvalidInputError(f"The decision rule `{request.decision_rule}` {error}.") from None
    labels = {label for truth, prediction, _ in request.costs for label in (truth, prediction)}
    if rule not in ("", MOST_LIKELY, MIN_COST) and len(labels) > 2:
        raise InvalidInputError(
            f"The decision rule `{rule}` is for two classes, and the cost matrix names "
            f"{len(labels)}.",
            hint=f"`{MIN_COST}` takes the class of least expected cost of any number.",
        )
    missing = missing_costs(Terms.of(costs=request.costs).costs) if rule == MIN_COST else []
    if missing:
        named = ", ".join(f"`{truth}` -> `{other}`" for truth, other in missing[:5])
        raise InvalidInputError(
            f"The decision rule `{rule}` compares what every class would cost, and the cost matrix "
            f"does not say it of {named}{', …' * (len(missing) > 5)} (truth -> prediction).",
            hint="Name each confusion, with 0 where one costs nothing.",
        )
    return rule


def _ramp(request: DeployRequest, arms: Sequence[Arm]) -> Ramp | None:
    """Return the ramp; the live one where what it moves stays as it is."""
    live = request.live
    if request.ramp or live is None or not request.keep_ramp:
        return request.ramp
    same = [(arm.name, arm.model.identity, arm.weight) for arm in arms] == [
        (arm.name, arm.model.identity, arm.weight) for arm in live.arms
    ]
    return live.ramp if same else None


def _models(
    settings: RolloutSettings,
    wanted: Sequence[ArmRequest | ShadowRequest],
    pin: Callable[[ModelVersion], ModelVersion],
) -> list[ModelVersion]:
    """Look up those models that are not pinned already."""
    found = iter(resolve_all(settings, [each.ref for each in wanted if each.model is None]))
    return [each.model or pin(next(found)) for each in wanted]


def _weights(request: DeployRequest, names: Sequence[str]) -> list[float]:
    """Return the shares; those of the live arms where they have the same names and none is said."""
    given = [arm.weight for arm in request.arms]
    live = {arm.name: arm.weight for arm in request.live.arms} if request.live else {}
    if request.keep_split and set(given) == {None} and set(names) == set(live):
        return [live[name] for name in names]
    return shares(given)


def kept_lines(request: DeployRequest, spec: DeploymentSpec) -> tuple[str, ...]:
    """Describe what a spec has only because the live one has it."""
    lines = list(request.kept)
    unsaid = {arm.weight for arm in request.arms} == {None}
    weights = [arm.weight for arm in spec.arms]
    if unsaid and not math.isclose(min(weights), max(weights)):
        lines.append("split " + "/".join(f"{100 * weight:.4g}" for weight in weights))
    if spec.ramp and not request.ramp:
        lines.append(f"ramp {describe_ramp(spec.ramp)}")
    if not request.shadows:
        lines += [f"shadow {shadow.name}" for shadow in spec.shadows]
    return tuple(lines)


def _kept_shadows(
    request: DeployRequest, names: Sequence[str], models: Sequence[ModelVersion]
) -> tuple[Shadow, ...]:
    """Return the live shadows that are not an arm now, neither by name nor by model."""
    if request.live is None or not request.keep_shadows:
        return ()
    arms = {model.identity for model in models}
    return tuple(
        shadow
        for shadow in request.live.shadows
        if shadow.name not in names and shadow.model.identity not in arms
    )


def _check_twice(given: Sequence[str]) -> None:
    """Names made from references are numbered if they coincide; a user's are not changed."""
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise InvalidInputError(
            f"Several arms are called `{'`, `'.join(twice)}`.",
            hint="Give each a name of its own: `--arm NAME=REF`, or `name` in the spec file.",
        )


def _known_runtime(name: str) -> str:
    if name != AUTO and name not in RUNTIMES:
        known = [AUTO, *RUNTIMES]
        raise InvalidInputError(
            f"There is no runtime called `{name}`.",
            hint=did_you_mean(name, known) or f"Use {one_of(known)}.",
        )
    return name


def _known_policy(
    request: DeployRequest, weights: Sequence[float], kept: str | Sequence[str]
) -> str:
    """Return the policy in its one form, if it can draw for this deployment.

    Args:
        request: What was asked for.
        weights: Of the arms.
        kept: Features that the journal keeps, as its setting says.
    """
    name, options = read_policy(request.policy)
    policy = make_policy(request.policy, weights)
    learns = policy.learns
    if isinstance(policy, Contextual):
        _check_context(name, policy.features, kept)
    if learns and request.sticky_by:
        raise InvalidInputError(
            f"The policy `{name}` changes its probabilities: units would change arms.",
            hint="Leave `--sticky-by` out (`--reset sticky-by`), or use `--policy weighted`.",
        )
    if learns and request.attribution.repeated != "first" and not request.attribution.window_s:
        raise InvalidInputError(
            f"The policy `{name}` would learn from the first of several outcomes of a row only.",
            hint="Declare a window after which they are all there: `--feedback-window 1d`.",
        )
    return write_policy(name, options)


def _check_context(name: str, features: Sequence[str], kept: str | Sequence[str]) -> None:
    """Refuse a policy whose features are not kept, from which it could not learn."""
    if not features:
        raise InvalidInputError(
            f"The policy `{name}` looks at features of the request, and none is named.",
            hint=f"Name them: `--policy {name} --features alcohol,pH`.",
        )
    missing = [] if kept == "all" else [each for each in features if each not in kept]
    if kept == "none" or missing:
        named = "`, `".join(missing or features)
        raise InvalidInputError(
            f"The policy `{name}` learns from features that the journal does not keep: `{named}`.",
            hint='Let it keep them: `features = "all"` or their names under `[journal]` in '
            "`mlops.toml`.",
        )
