"""Read every setting once, checked, with the place it came from."""

from __future__ import annotations

import importlib
import json
import logging
import math
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, TypeAlias

from mlops.errors import InvalidInputError, did_you_mean, one_of
from mlops.settings.project import find_project, line_of, read_project_file
from mlops.settings.schema import SECTIONS, Settings, keys
from mlops.settings.secrets import (
    NO_SECRETS,
    SecretError,
    credential_source,
    names_a_secret,
    without_secret_parts,
)

#: A value of TOML, or the text of a variable or an option.
_Raw: TypeAlias = Any
_LOG = logging.getLogger(__name__)
#: Origin of what a command or a program was given.
COMMAND_LINE = "command line"

# Other tools own these tables of the file; they are checked where they are used.
_FREE_TABLES = frozenset({"parameters"})
# As Kubernetes and Docker name them: `MLOPS_DEPLOY_SERVICE_HOST`, `MLOPS_DEPLOY_PORT_80_TCP_ADDR`.
_OF_A_SERVICE = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT_[0-9]+_(TCP|UDP|SCTP)(_|$)")
# `MLOPS_DEPLOY_PORT` is a setting, and of a Service only with such a value.
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")
_RAMP_KEYS = ("steps", "every", "advance", "auto")


def load_settings(
    start: Path | None = None,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    flags_place: str = COMMAND_LINE,
) -> Settings:
    """Settle every setting for the project around `start`.

    Args:
        start: Folder to look from; the current one by default.
        flags: `section.key` to a value given on the command line; None values are not given.
        environ: The environment; `os.environ` by default.
        flags_place: What an error calls the place of `flags`.

    Raises:
        InvalidInputError: One or more values are wrong; all are named in one message.
    """
    environ = os.environ if environ is None else environ
    project_dir = find_project(start or Path.cwd())
    path, tables = read_project_file(project_dir)
    faults = [*_unknown_names(path, tables), *_unknown_variables(environ)]
    origins: dict[str, str] = {}
    sections: dict[str, Any] = {}

    def place(key: str, origin: str) -> str:
        return flags_place if origin == COMMAND_LINE else place_of(key, origin, path)

    for section, record in SECTIONS.items():
        values: dict[str, Any] = {}
        for item in fields(record):
            key = f"{section}.{item.name}"
            raw, origin = _settle(key, item, flags or {}, environ, tables, path, values)
            try:
                values[item.name] = _read(item, raw)
            except SecretError as error:
                faults.append(f"{place(key, origin)}: `{key}` {error}")
            except ValueError as error:
                faults.append(f"{place(key, origin)}: `{key}` {error}, not `{raw}`")
            origins[key] = origin
        if not faults:
            sections[section] = record(**values)
    if faults:
        raise InvalidInputError(
            "\n".join(faults), hint="`mlops config show --origin` lists every setting."
        )
    _LOG.info("project folder %s, settings of %s", project_dir, path or "no file")
    return Settings(project_dir=project_dir, project_file=path, origins=origins, **sections)


def place_of(key: str, origin: str, path: Path | None) -> str:
    """Say where a value is to be changed: its origin, with the line if that is the project's file.

    Args:
        key: `section.key`.
        origin: Where the value comes from, as `Settings.origins` has it.
        path: The project's file.
    """
    if path is None or origin != str(path):
        return origin
    section, _, name = key.partition(".")
    return f"{path}:{line_of(path, section, name)}"


def _read(item: Field[Any], raw: _Raw) -> Any:  # noqa: ANN401 - of the field's type
    value = _CASTS[item.metadata["form"] or str(item.type)](raw)
    low, high = item.metadata["limits"]
    if str(item.type) != "int" or (low <= value and (high is None or value <= high)):
        return value
    raise ValueError(f"must be {low} or more" if high is None else f"must be from {low} to {high}")


def _settle(
    key: str,
    item: Field[Any],
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    tables: Mapping[str, Any],
    path: Path | None,
    settled: Mapping[str, Any],
) -> tuple[Any, str]:
    if flags.get(key) is not None:
        return flags[key], COMMAND_LINE
    for named in (_variable(*key.split(".")), *item.metadata["env"]):
        scheme, _, variable = named.rpartition(":")
        value, root = environ.get(variable), str(settled.get("root", ""))
        if value and root.startswith(scheme) and not _is_of_a_service(variable, value):
            return value, f"environment: {variable}"
    section, _, name = key.partition(".")
    table = tables.get(section, {})
    if isinstance(table, Mapping) and name in table:
        return table[name], str(path)
    return item.default, "default"


def _variable(section: str, name: str) -> str:
    return f"MLOPS_{section}_{name}".upper()


def _unknown_names(path: Path | None, tables: Mapping[str, Any]) -> list[str]:
    """Name every table and key of the file that means nothing, with its line."""
    faults = []
    for section, table in tables.items():
        assert path is not None
        if section in _FREE_TABLES:
            continue
        if section not in SECTIONS or not isinstance(table, Mapping):
            place = f"{path}:{line_of(path, section)}"
            faults.append(_unknown(place, "section", section, SECTIONS))
            continue
        known = keys(section)
        faults += [
            _unknown(f"{path}:{line_of(path, section, key)}", f"key of [{section}]", key, known)
            for key in table
            if key not in known
        ]
    return faults


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Name every variable that begins as those of a section and means nothing.

    Others, such as `MLOPS_DEBUG`, are not about settings. A pod has variables for each Service of
    its namespace, which may be called `mlops-deploy`.
    """
    faults = []
    for variable in sorted(name for name, value in environ.items() if value):
        section = next((s for s in SECTIONS if variable.startswith(_variable(s, ""))), "")
        key = variable.removeprefix(_variable(section, "")).lower()
        ours = section and not _is_of_a_service(variable, environ[variable])
        if ours and key not in keys(section):
            place, what = f"environment: {variable}", f"key of [{section}]"
            faults.append(_unknown(place, what, key, keys(section)))
    return faults


def _is_of_a_service(variable: str, value: str) -> bool:
    url = variable.endswith("_PORT") and _SERVICE_URL.match(value)
    return bool(url or _OF_A_SERVICE.search(variable))


def _unknown(place: str, what: str, name: str, known: Collection[str]) -> str:
    if names_a_secret(name):
        return f"{place}: {what} `{name}`: {NO_SECRETS}"
    closest = did_you_mean(name, known) or f"Known: {', '.join(known)}."
    return f"{place}: unknown {what} `{name}`. {closest}"


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError("must be text")
    return raw


def _number_or_text(raw: object) -> str:
    return str(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else _text(raw)


def _whole(raw: object) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | str):
        raise ValueError("must be a whole number")
    try:
        number = int(raw)
    except ValueError:
        raise ValueError("must be a whole number") from None
    if number < 0:
        raise ValueError("must not be negative")
    return number


def _truth(raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    if str(raw).lower() not in ("true", "false"):
        raise ValueError("must be true or false")
    return str(raw).lower() == "true"


def _probability(raw: _Raw) -> float:
    try:
        number = float(raw)
    except (TypeError, ValueError):
        raise ValueError("must be a number") from None
    if isinstance(raw, bool) or not 0 < number < 1:
        raise ValueError("must be between 0 and 1")
    return number


def _names(raw: object) -> str | tuple[str, ...]:
    if isinstance(raw, str):
        return raw if raw in ("all", "none") else tuple(raw.split(","))
    if isinstance(raw, list | tuple) and all(isinstance(name, str) for name in raw):
        return tuple(raw)
    raise ValueError('must be "all", "none" or a list of names')


def _list(raw: object) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(name.strip() for name in raw.split(",") if name.strip())
    if isinstance(raw, list | tuple) and all(isinstance(name, str) for name in raw):
        return tuple(raw)
    raise ValueError("must be a list of names")


def _labels(raw: object) -> tuple[str, ...]:
    """Read labels, `disktype=ssd`, from a list or from a table of texts."""
    if isinstance(raw, Mapping) and all(isinstance(value, str) for value in raw.values()):
        return tuple(f"{key}={value}" for key, value in raw.items())
    try:
        return _list(raw)
    except ValueError:
        raise ValueError("must be a list of labels, or a table of texts") from None


def _source(raw: object) -> str:
    return credential_source(_text(raw))


def _place(raw: object) -> str:
    return without_secret_parts(_text(raw))


def _range(raw: _Raw) -> tuple[float, float] | None:
    if raw is None:
        return None
    ends = raw.split("..") if isinstance(raw, str) else raw
    try:
        low, high = (float(end) for end in ends if not isinstance(end, bool))
    except (TypeError, ValueError):
        raise ValueError("must be two numbers, `[low, high]` or `LOW..HIGH`") from None
    if not -math.inf < low < high < math.inf:
        raise ValueError("must go from a lower to a higher number")
    return low, high


def _costs(raw: _Raw) -> tuple[tuple[str, str, float], ...]:
    """Read a cost matrix: truth to prediction to cost, from a table, or from JSON in a variable."""
    wrong = "must be a table of tables of numbers, truth -> prediction -> cost"
    if isinstance(raw, tuple):
        return raw
    try:
        table = json.loads(raw) if isinstance(raw, str) else raw
        costs = tuple(
            (str(truth), str(prediction), float(cost))
            for truth, row in table.items()
            for prediction, cost in row.items()
        )
    except (AttributeError, TypeError, ValueError):
        raise ValueError(wrong) from None
    if not all(math.isfinite(cost) for _, _, cost in costs):
        raise ValueError(wrong)
    return costs


def _margins(raw: _Raw) -> tuple[tuple[str, float], ...]:
    """Read a table of names and numbers, or `latency_ms=50,errors=0.01`."""
    if isinstance(raw, tuple):
        return raw
    try:
        pairs = (
            [part.split("=") for part in raw.split(",") if part.strip()]
            if isinstance(raw, str)
            else [(str(name), str(margin)) for name, margin in raw.items()]
        )
        margins = tuple((name.strip(), float(margin)) for name, margin in pairs)
    except (AttributeError, TypeError, ValueError):
        raise ValueError("must be a table of numbers, such as { latency_ms = 50 }") from None
    return margins


def _ramp(raw: _Raw) -> tuple[tuple[str, str], ...]:
    """Read a ramp: `5,25,100`, a list of shares, or a table with them as `steps`."""
    if isinstance(raw, tuple):
        return raw
    if isinstance(raw, str) and raw.lstrip().startswith("{"):
        raw = json.loads(raw)
    table = dict(raw) if isinstance(raw, Mapping) else {"steps": raw} if raw else {}
    if any(key not in _RAMP_KEYS for key in table):
        raise ValueError(f"must have {one_of(_RAMP_KEYS)} only")
    if isinstance(table.get("steps"), list):
        table["steps"] = ",".join(map(str, table["steps"]))
    if table and not table.get("steps"):
        raise ValueError("must have `steps`, such as [5, 25, 50, 100]")
    if table and not isinstance(table["steps"], str):
        raise ValueError("must be shares, such as [5, 25, 50, 100]")
    if not isinstance(table.get("auto", False), bool):
        raise ValueError("must have true or false as `auto`")
    if not all(isinstance(table.get(key, ""), str) for key in ("every", "advance")):
        raise ValueError('must have text as `every` and `advance`, such as "30m"')
    written = {**table, "auto": "true" if table.get("auto") else ""}
    return tuple((key, cell) for key, cell in written.items() if cell)


def _tables(raw: _Raw) -> tuple[tuple[str, str], ...]:
    """Read tables by name, each as JSON; what is in them is for whom they are for."""
    if isinstance(raw, tuple):
        return raw
    try:
        tables = json.loads(raw) if isinstance(raw, str) else raw
        found = tuple((str(name), json.dumps(table)) for name, table in tables.items())
    except (AttributeError, TypeError, ValueError):
        raise ValueError("must be a table of tables") from None
    if not all(isinstance(table, Mapping) for table in tables.values()):
        raise ValueError("must be a table of tables")
    return found


def _reward(raw: object) -> str:
    """Check a reward against the known names. The table is found by name, as its layer is above."""
    text = _text(raw)
    if not text or ":" in text:
        return text
    rewards = importlib.import_module("mlops.rewards").REWARDS
    if text not in rewards:
        closest = did_you_mean(text, rewards.names())
        what = f" ({closest[:1].lower()}{closest[1:]})" if closest else ""
        raise ValueError(f"must be {one_of([*rewards.names(), 'module:function'])}{what}")
    return text


def _decision_rule(raw: object) -> str:
    """Read a decision rule, whose layer is above, too."""
    rule: str = importlib.import_module("mlops.rewards.decisions").read_rule(_text(raw))
    return rule


_CASTS: Mapping[str, Callable[[Any], Any]] = {
    "str": _text,
    "number or text": _number_or_text,
    "reward": _reward,
    "costs": _costs,
    "decision rule": _decision_rule,
    "labels": _labels,
    "margins": _margins,
    "ramp": _ramp,
    "tables": _tables,
    "source": _source,
    "place": _place,
    "int": _whole,
    "bool": _truth,
    "float": _probability,
    "str | tuple[str, ...]": _names,
    "tuple[str, ...]": _list,
    "tuple[float, float] | None": _range,
}
