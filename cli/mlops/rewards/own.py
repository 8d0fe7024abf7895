"""The user's own reward, `module:function`, found as a script in the current folder finds it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from mlops.errors import InvalidInputError, did_you_mean
from mlops.rewards.table import REWARDS, is_own

#: A reward as a client calls it: of a prediction and a truth.
Function: TypeAlias = Callable[[Any, Any], float]
_HINT = "It must be `module:function`, importable from the current folder."


def load_reward(name: str) -> Function:
    """Return the reward called `name`: a built-in, or the user's function.

    The user's module is looked for in the current folder first, as a script would be.

    Raises:
        InvalidInputError: There is no such reward; the closest name is offered.
    """
    if not is_own(name):
        return REWARDS.load(name)
    module_name, _, attribute = name.partition(":")
    module = _import(name, module_name)
    found = getattr(module, attribute, None)
    if found is None:
        functions = [each for each, value in vars(module).items() if callable(value)]
        raise InvalidInputError(
            f"The reward `{name}` cannot be loaded: `{module_name}` has no `{attribute}`.",
            hint=did_you_mean(attribute, functions) or _HINT,
        )
    if not callable(found):
        raise InvalidInputError(f"The reward `{name}` is not a function.")
    function: Function = found
    return function


def _import(reward: str, module: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        return importlib.import_module(module)
    except Exception as error:
        # It is the user's file, and may raise anything.
        files = [path.stem for path in Path(folder).glob("*.py")]
        missing = isinstance(error, ModuleNotFoundError) and error.name == module
        raise InvalidInputError(
            f"The reward `{reward}` cannot be loaded: {type(error).__name__}: {error}.",
            hint=(missing and did_you_mean(module, files)) or _HINT,
        ) from error
