"""Which reward fits what a model answers."""

from __future__ import annotations

from mlops.rewards.base import NO_TERMS, Answer, AnswerKind, Reward, Terms, Value
from mlops.rewards.kinds import is_single, reads_as_number
from mlops.rewards.probabilities import probabilities
from mlops.rewards.table import REWARDS, reward_called

_IN_WORDS: dict[AnswerKind, str] = {
    "number": "numbers",
    "whole": "whole numbers",
    "boolean": "booleans",
    "text": "text",
    "probabilities": "probabilities",
    "several": "several values a row",
    "vector": "probabilities, or several numbers a row",
    "other": "no plain values",
    "": "something that no signature names, so this is a guess",
}


def answers_in_words(kind: AnswerKind) -> str:
    """Say what a model answers, for after "answers"."""
    return _IN_WORDS[kind]


def default_reward(kind: AnswerKind) -> str:
    """Return the name of the reward that follows from what a model answers.

    >>> default_reward("text"), default_reward("number"), default_reward("probabilities")
    ('exact', 'squared-error', 'log-loss')
    """
    if kind == "vector":
        kind = "probabilities"
    return next(name for name in REWARDS if kind in REWARDS.load(name).default_for)


def misfit(reward: Reward, kind: AnswerKind) -> str:
    """Say why a reward cannot be derived from what a model answers; empty if it can, or may."""
    kinds = {"probabilities", "several"} if kind == "vector" else {kind}
    if not kind or kinds & reward.compares or not reward.is_derived:
        return ""
    return (
        f"it answers {answers_in_words(kind)}, and `{reward.name}` cannot be derived from that; "
        f"`--reward {default_reward(kind)}` fits"
    )


def kind_of_answer(prediction: Answer) -> AnswerKind:
    """Say of what kind one answer is.

    >>> kind_of_answer([0.1, 0.9]), kind_of_answer([3, 4]), kind_of_answer("a"), kind_of_answer(2.5)
    ('probabilities', 'several', 'text', 'number')
    """
    if prediction is None:
        return ""
    if not is_single(prediction):
        try:
            probabilities(prediction, NO_TERMS)
        except ValueError:
            return "several"
        return "probabilities"
    if isinstance(prediction, bool):
        return "boolean"
    return "text" if isinstance(prediction, str) else "number"


def fitting_reward(prediction: Answer, truth: Value, terms: Terms = NO_TERMS) -> str:
    """Name the built-in reward that these two have; empty if none does.

    Probabilities have log loss, also if this truth is none of their classes, which it reports then.

    >>> fitting_reward([0.1, 0.9], 1), fitting_reward("a", "b"), fitting_reward([3.0, 4.0], 1)
    ('log-loss', 'exact', '')
    >>> fitting_reward(12.4, "12,5")
    ''
    """
    if kind_of_answer(prediction) == "probabilities" and is_single(truth):
        return default_reward("probabilities")
    if (
        isinstance(truth, str)
        and kind_of_answer(prediction) == "number"
        and not reads_as_number(truth)
    ):
        # `12,5` or a date: `exact` has a reward, and that is 0 whatever is answered.
        return ""
    names: list[str] = [default_reward(kind_of_answer(prediction)), *list(REWARDS)]
    for name in names:
        reward = reward_called(name)
        try:
            reward(prediction, truth, terms)
        except ValueError:
            continue
        return name
    return ""


def no_reward(reason: str, instead: str) -> str:
    """Say that there is no reward, why, and what has one.

    >>> no_reward("prediction is a list of 3, truth is a number", "log-loss")
    'no reward can be derived: prediction is a list of 3, truth is a number; use --reward log-loss'
    """
    cure = f"; use --reward {instead}" if instead else ""
    return f"no reward can be derived: {reason}{cure}"
