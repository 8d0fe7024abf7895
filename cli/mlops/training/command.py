"""The command of an entry point, with what MLflow cannot express already filled in.

MLflow fills `{name}` of a command with the quoted value. A flag is there or not, an optional
parameter takes its option with it, and a list may be several words; so those are settled here, and
the rest is left for MLflow:

    python train.py --depth {depth} --fast {fast} --layers {layers} --alpha {alpha}
    python train.py --fast --layers 64 32 --alpha {alpha}
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from shlex import quote
from string import Formatter
from typing import TYPE_CHECKING

from mlops.training.parameter_types import Parameter, is_true, list_items

if TYPE_CHECKING:
    from mlops.training.project import EntryPoint


def all_values(entry_point: EntryPoint, given: Mapping[str, str]) -> dict[str, str]:
    """Return every parameter of a run that has a value: the given ones and other defaults."""
    defaults = {
        name: parameter.default_text
        for name, parameter in entry_point.parameters.items()
        if parameter.default_text is not None
    }
    values = defaults | dict(given)
    absent = {n for n, p in entry_point.parameters.items() if p.optional and not values.get(n)}
    return {name: value for name, value in values.items() if name not in absent}


def for_mlflow(entry_point: EntryPoint, given: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Return what MLflow needs to run an entry point: a prepared command, and its values.

    Args:
        entry_point: What to run.
        given: Parameters that differ from the defaults.

    Returns:
        The command, empty for a bare script, whose command is MLflow's own; and the values.
    """
    values = all_values(entry_point, given)
    command = "" if entry_point.any_parameter else settle(entry_point, values)
    return command, filling(entry_point, values)


def settle(entry_point: EntryPoint, values: Mapping[str, str]) -> str:
    """Return the command with flags, lists and absent values filled in, for MLflow to complete.

    Args:
        entry_point: Whose command.
        values: Every parameter that has a value; an empty one of an optional parameter is absent.
    """
    command = entry_point.command
    for name, parameter in entry_point.parameters.items():
        command = _settle(command, parameter, values.get(name, ""))
    return command


def filling(entry_point: EntryPoint, values: Mapping[str, str]) -> dict[str, str]:
    """Return the values for a prepared command; absent ones are empty.

    MLflow asks for a value of every parameter that is declared without a default.
    """
    absent = {name: "" for name, p in entry_point.parameters.items() if p.optional}
    return absent | dict(values)


def in_full(entry_point: EntryPoint, values: Mapping[str, str]) -> str:
    """Return the command as a shell will get it; what has no value yet stays `{name}`."""
    known = {name: quote(value) for name, value in filling(entry_point, values).items()}
    declared = entry_point.parameters
    # A URI of a `path` is downloaded by MLflow, which alone knows where to.
    filled = settle(entry_point, values).format_map(
        {name: known.get(name, "{" + name + "}") for name in (*declared, *known)}
    )
    extra = [f"--{quote(name)} {value}" for name, value in known.items() if name not in declared]
    return " ".join([filled, *extra])


def placeholders(command: str) -> list[str]:
    """Return the names in braces.

    Raises:
        ValueError: The braces do not match.
    """
    return [name for _, name, _, _ in Formatter().parse(command) if name is not None]


def script_of(command: str) -> str:
    """Return the script that a command starts, empty if it needs a shell.

    >>> script_of("python -u train.py --alpha {alpha}"), script_of("cd src && python train.py")
    ('train.py', '')
    """
    words = command.split()
    if not words or not re.fullmatch(r"python[\d.]*|bash|sh|Rscript", words[0]):
        return ""
    script = next((word for word in words[1:] if not word.startswith("-")), "")
    plain = re.fullmatch(r"[\w./-]+\.(py|sh|R)", script) and not script.startswith("/")
    return script if plain and not {"-m", "-c"} & set(words[1 : words.index(script)]) else ""


def _settle(command: str, parameter: Parameter, value: str) -> str:
    place = re.compile(
        rf"(?P<space>\s*)(?P<option>(?<!\S)-{{1,2}}[\w-]+)?(?P<gap>=|\s+|)"
        rf"(?<!\{{)\{{{re.escape(parameter.name)}\}}"
    )
    if parameter.optional and not value:
        return place.sub("", command)
    if parameter.type == "bool" and parameter.flag is not None:
        return place.sub(lambda found: _flag(found, parameter, is_true(value)), command)
    if parameter.type == "list" and parameter.style != "joined":
        return place.sub(lambda found: _list(found, parameter, list_items(value)), command)
    return command


def _flag(found: re.Match[str], parameter: Parameter, on: bool) -> str:
    usual = f"--{parameter.name.replace('_', '-')}"
    yes, _, no = (parameter.flag or usual).partition("/")
    option = found["option"] or ""
    # `--fast {fast}` names the flag itself; `--verbose {fast}` names another.
    own = bool(option) and option.replace("_", "-") in (yes.replace("_", "-"), no)
    if own and not parameter.flag:
        yes = option
    word = yes if on else no
    before = "" if own or not option else found["space"] + option
    gap = found["gap"] if before else found["space"]
    return f"{before}{gap}{word}" if word else before


def _list(found: re.Match[str], parameter: Parameter, items: Iterable[str]) -> str:
    words = [quote(item).replace("{", "{{").replace("}", "}}") for item in items]
    space, option, gap = found["space"], found["option"] or "", found["gap"]
    if not words:
        return ""
    if parameter.style == "repeated":
        each = f"{option}{gap}" if option else ""
        return (space or gap) + " ".join(f"{each}{word}" for word in words)
    return f"{space}{option}{gap}{' '.join(words)}"
