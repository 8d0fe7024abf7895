"""A policy from one line of text: its name, and options as name=value.

weighted
thompson floor=0.02 discount=0.999
linear-thompson 'features=alcohol,fixed acidity'
"""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from mlops.errors import InvalidInputError, MlopsError, UsageError, did_you_mean, one_of
from mlops.policies import POLICIES
from mlops.policies.base import Policy, PolicyFactory

#: The policy of fixed shares.
WEIGHTED = "weighted"
# What `shlex` would take apart.
_NOT_PLAIN = re.compile(r"[\s'\"\\]").search
Option: TypeAlias = bool | int | float | str


def make_policy(text: str, weights: Sequence[float]) -> Policy:
    """Make the policy that a spec names.

    Args:
        text: As above.
        weights: (k,) shares in [0, 1] that sum to 1.

    Raises:
        InvalidInputError: There is no such policy, or its options are not valid.
    """
    name, options = read_policy(text)
    factory = POLICIES.load(name)
    known = _options_of(factory)
    for option in options:
        if option not in known:
            raise InvalidInputError(
                f"The policy `{name}` has no option `{option}`.",
                hint=did_you_mean(option, known)
                or (f"It has {one_of(known)}." if known else "It has none."),
            )
    try:
        return factory(weights, **options)
    except MlopsError:
        raise
    except Exception as error:
        # Other packages add policies, which read their options as they like.
        raise InvalidInputError(
            f"{_at_fault(factory, weights, name, options)}: {type(error).__name__}: "
            f"{str(error).rstrip('.')}."
        ) from error


def _at_fault(
    factory: PolicyFactory, weights: Sequence[float], name: str, options: Mapping[str, Option]
) -> str:
    """Name the first option that the policy refuses on its own, else the policy."""
    for option, value in options.items():
        try:
            factory(weights, **{option: value})
        except Exception:  # noqa: BLE001 - as above
            return f"Option `{option}` of the policy `{name}`"
    return f"The policy `{name}`"


def read_policy(text: str) -> tuple[str, dict[str, Option]]:
    """Take a policy's text apart.

    Raises:
        InvalidInputError: An option has no value, or comes twice.

    >>> read_policy("thompson floor=0.02 rewards=real")
    ('thompson', {'floor': 0.02, 'rewards': 'real'})
    """
    try:
        name, *words = shlex.split(text) or [""]
    except ValueError as error:
        raise InvalidInputError(f"The policy `{text}` has a quote without its end.") from error
    options: dict[str, Option] = {}
    for word in words:
        option, equals, value = word.partition("=")
        if not (option and equals and value) or option in options:
            raise InvalidInputError(
                f"`{word}` of the policy `{text}` is not an option.",
                hint="Write name=value, such as `--policy 'thompson floor=0.05'`.",
            )
        options[option.replace("-", "_")] = _value(value)
    return name, options


def write_policy(name: str, options: Mapping[str, Option]) -> str:
    """Write a policy as `read_policy` reads it, in one form only.

    >>> write_policy("thompson", {"window": 0, "floor": 0.02})
    'thompson floor=0.02 window=0'
    """
    words = (f"{option}={_text(options[option])}" for option in sorted(options))
    return " ".join([name, *(shlex.quote(word) if _NOT_PLAIN(word) else word for word in words)])


def check_features(features: Sequence[str], columns: Sequence[str]) -> None:
    """Refuse a policy that looks at features which no request has.

    Args:
        features: What it looks at.
        columns: Names of the models' columns; empty where they are not known.

    Raises:
        InvalidInputError: One of the features is none of them.
    """
    for feature in features:
        if columns and feature not in columns:
            raise InvalidInputError(
                f"The policy looks at `{feature}`, which is no column of the models.",
                hint=did_you_mean(feature, columns) or f"They have {one_of(columns)}.",
            )


def with_option(text: str | None, option: str, value: Option | None) -> str | None:
    """Add an option that a flag of its own gives to a policy's text; None where there is none.

    Raises:
        UsageError: No policy is named, or it has the option already.
    """
    if value is None or text is None:
        return text
    name, options = read_policy(text)
    if not name or option in options:
        raise UsageError(
            f"`--{option}` goes with `--policy NAME`" + (", which has it already." if name else ".")
        )
    return write_policy(name, {**options, option: value})


def with_other_options(text: str, changed: Mapping[str, Option | None]) -> str:
    """Change options of a policy that no command line names now, by flags of their own.

    Args:
        text: What the settings or the live revision have.
        changed: Option to its new value; None leaves it as it is.

    Raises:
        UsageError: It is the one that has no options.

    >>> with_other_options("linear-ucb features=pH floor=0.1", {"features": "age", "floor": None})
    'linear-ucb features=age floor=0.1'
    """
    name, options = read_policy(text)
    given = {option: value for option, value in changed.items() if value is not None}
    if given and name in ("", WEIGHTED):
        raise UsageError(f"`--{next(iter(given))}` goes with `--policy NAME`.")
    return write_policy(name, {**options, **given})


def _text(value: Option) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _value(text: str) -> Option:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _options_of(factory: object) -> list[str]:
    """Return what a factory takes by name only, also where it hands the rest on to its base."""
    makers = [factory]
    if inspect.isclass(factory):
        makers = [vars(base)["__init__"] for base in factory.__mro__ if "__init__" in vars(base)]
    found = [
        parameter.name
        for maker in makers
        if inspect.isfunction(maker) or inspect.ismethod(maker)
        for parameter in inspect.signature(maker).parameters.values()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    return list(dict.fromkeys(found))
