"""Settings as a program gives them: `{"deploy.port": 8123}`, or as the tables of `mlops.toml`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from mlops.errors import InvalidInputError, did_you_mean, one_of
from mlops.settings.schema import SECTIONS, keys
from mlops.settings.secrets import NO_SECRETS, names_a_secret

#: What errors call the argument.
ARGUMENT = "settings="
_CLOSEST = 3


def read_given(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by `section.key`.

    Args:
        given: By `section.key`, or by section a mapping of its keys.

    Raises:
        InvalidInputError: One or more are unknown; all are named in one message.

    >>> read_given({"deploy.port": 8123, "feedback": {"window": "7d"}})
    {'deploy.port': 8123, 'feedback.window': '7d'}
    """
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if name in SECTIONS and isinstance(value, Mapping):
            flat |= {f"{name}.{key}": each for key, each in value.items()}
        else:
            flat[str(name)] = value
    known = [f"{section}.{key}" for section in SECTIONS for key in keys(section)]
    faults = [_unknown(name, known) for name in flat if name not in known]
    if faults:
        raise InvalidInputError(
            "\n".join(faults),
            hint='Write `{"section.key": value}`; `mlops config show` lists every setting.',
        )
    return flat


def _unknown(name: str, known: Sequence[str]) -> str:
    fault = f"{ARGUMENT}: unknown setting `{name}`."
    if names_a_secret(name.rpartition(".")[2]):
        return f"{fault} {NO_SECRETS}"
    if name in SECTIONS:
        return f"{fault} It is a section, whose value is a mapping of its keys."
    if "." in name:
        return f"{fault} {did_you_mean(name, known) or ''}".rstrip()
    # The section was left out.
    of_key = {full.partition(".")[2]: full for full in reversed(known)}
    close = [of_key[key] for key in difflib.get_close_matches(name.lower(), of_key, n=_CLOSEST)]
    return f"{fault} Did you mean {one_of(close)}?" if close else fault
