"""Which reward a deployment has: the one that was asked for, else by what its models answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mlops.registry.answers import read_answer_kind
from mlops.rewards import REWARDS, AnswerKind, Terms, reward_called
from mlops.rewards.choosing import answers_in_words, default_reward, misfit
from mlops.rewards.decisions import (
    MIN_COST,
    cheapest_threshold,
    describe_rule,
    labels_of,
    missing_costs,
)
from mlops.rewards.given import GIVEN
from mlops.spec.deployment import DeploymentSpec

_MORE = "A cost matrix that names every confusion allows for a rule of least expected cost"


def settle_reward(spec: DeploymentSpec) -> tuple[DeploymentSpec, tuple[str, ...]]:
    """Give a spec the reward that follows from its models, unless it has one; say why.

    Returns:
        The spec with a reward, and what the user should know about that.
    """
    kinds = {arm.name: read_answer_kind(arm.model) for arm in spec.arms}
    known = [kind for kind in kinds.values() if kind]
    if not spec.reward:
        kind: AnswerKind = known[0] if known else ""
        spec = replace(spec, reward=default_reward(kind))
        said = f"the reward is `{spec.reward}`: the models answer {answers_in_words(kind)}"
        return spec, (said, *_misfits(spec, kinds))
    return spec, _misfits(spec, kinds) + _without_labels(spec) + _undecided(spec, kinds)


def _without_labels(spec: DeploymentSpec) -> tuple[str, ...]:
    """Note guardrails that need labels, where clients send rewards and maybe nothing else."""
    if spec.reward != GIVEN.name:
        return ()
    names = [name for name, _ in spec.analysis.guardrails if name in REWARDS]
    return tuple(
        f"the guardrail `{name}` needs labels: send `truth` with the rewards, or it stays undecided"
        for name in names
        if REWARDS.load(name).is_derived
    )


def _undecided(spec: DeploymentSpec, kinds: dict[str, AnswerKind]) -> tuple[str, ...]:
    """Note that probabilities meet a cost matrix, and no decision rule was chosen."""
    answered = {*kinds.values()}
    sure = bool(answered & {"probabilities", "vector"})
    # One number a row may be the probability of the second of two classes.
    if not spec.costs or spec.decision_rule or not (sure or "number" in answered):
        return ()
    text = (
        f"no decision rule is chosen: {describe_rule(spec.decides_by)}, which ignores what errors "
        f"cost. {_choices(Terms.of(costs=spec.costs).costs)}. Choose what your application does"
    )
    return (text if sure else f"if these numbers are probabilities, {text}",)


def _choices(costs: Mapping[str, Mapping[str, float]]) -> str:
    """Say which decision rules are accepted with a cost matrix."""
    cut = cheapest_threshold(costs)
    so = f": with these costs that predicts `{cut[0]}` above {cut[1]:.3g}" if cut else ""
    least = f"`--decision-rule {MIN_COST}` takes the class of least expected cost{so}"
    own = "is a cut-off of your own"
    if len(labels_of(costs)) > 2:
        return _MORE if missing_costs(costs) else least
    if missing_costs(costs):
        return f"`--decision-rule threshold=T` {own}"
    return f"{least}; `threshold=T` {own}"


def _misfits(spec: DeploymentSpec, kinds: dict[str, AnswerKind]) -> tuple[str, ...]:
    reward = reward_called(spec.reward)
    found = {name: misfit(reward, kind) for name, kind in kinds.items()}
    return tuple(f"`{name}`: {text}" for name, text in found.items() if text)
