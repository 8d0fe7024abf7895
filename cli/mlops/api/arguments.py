"""What users of Python give and are told: arguments, where a command has options."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, ParamSpec, TypeVar

from mlops.errors import MlopsError, UsageError

_P = ParamSpec("_P")
_R = TypeVar("_R")

_OPTION = re.compile(r"`--([a-z-]+)(?: ([^`\s]+))?`")
_BEST = 'sweep=mlops.SweepOptions(best=True, metric="METRIC", direction="minimize")'
_OF_METRIC = 'SweepOptions(metric="METRIC", direction="minimize")'

#: What errors about `mlops train` say, and how it is written in Python; the first that fits.
TRAIN: Mapping[str, str] = {
    "Add `--best`, with `--minimize METRIC` or `--maximize METRIC`,": f"Add `{_BEST}`",
    "`--minimize METRIC` or `--maximize METRIC`, for example `--minimize rmse`": f"`{_OF_METRIC}`",
    "`-P alpha=0.1,0.5`, `--grid name=a,b`, or `-P alpha=log:0.001..10 --sweep random`": (
        '`parameters={"alpha": [0.1, 0.5]}`, or `parameters={"alpha": "log:0.001..10"}, '
        'sweep=mlops.SweepOptions(sampler="random")`'
    ),
    "`--sweep random`": '`SweepOptions(sampler="random")`',
    "`--sweep tpe`": '`SweepOptions(sampler="tpe")`',
}
#: The same of `mlops deploy`.
DEPLOY: Mapping[str, str] = {
    "`--ab REF REF`": '`ab=("REF", "REF")`',
    "`--model REF`": '`model="REF"`',
    "`--arm name=REF:weight`": '`arms=["name=REF:weight"]`',
    "`-f SPEC`": "`spec=FILE`",
    "`-f`": "`spec`",
    "`--arm`": "`arms`",
    "`--shadow REF`": '`shadows=["REF"]`',
    "`--shadow REF=PERCENT`": '`shadows=["REF=PERCENT"]`',
}


def as_arguments(
    phrases: Mapping[str, str] | None = None, also: Collection[str] = ()
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Have the errors of a function name its arguments, and not the options of its command.

    Args:
        phrases: What is said, and what is said instead.
        also: Names that are arguments, too, beside those of the function.
    """

    def wrap(call: Callable[_P, _R]) -> Callable[_P, _R]:
        names = {*inspect.signature(call).parameters, *also}

        @functools.wraps(call)
        def run(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                return call(*args, **kwargs)
            except MlopsError as error:
                error.message = _in_python(error.message, phrases or {}, names)
                error.args = (error.message, *error.args[1:])
                error.hint = _in_python(error.hint, phrases or {}, names) if error.hint else None
                raise

        return run

    return wrap


def _in_python(text: str, phrases: Mapping[str, str], names: Collection[str]) -> str:
    """Write options as arguments; those that are none are left.

    >>> _in_python("`--split 90/10`, `--no-register`, `--url U`", {}, {"split", "no_register"})
    '`split="90/10"`, `no_register`, `--url U`'
    """
    for said, instead in phrases.items():
        text = text.replace(said, instead)

    def argument(option: re.Match[str]) -> str:
        name, value = option[1].replace("-", "_"), option[2]
        if name not in names:
            return option[0]
        return f'`{name}="{value}"`' if value else f"`{name}`"

    return _OPTION.sub(argument, text)


def check_models(ab: Any, **lists: Any) -> None:  # noqa: ANN401 - whatever a caller gave
    """Refuse what Python would take apart letter by letter.

    Args:
        ab: Two models, or None.
        lists: Arguments that are lists of texts, by name.

    Raises:
        UsageError: One of them is something else.
    """
    if ab is not None and not (isinstance(ab, list | tuple) and len(ab) == 2 and _texts(ab)):
        count = f"{len(ab)} of them" if isinstance(ab, list | tuple) else f"`{ab!r}`"
        raise UsageError(
            f"`ab` takes two models, not {count}.",
            hint='Write `ab=("modelA", "modelB")`; `model="modelA"` for one, '
            '`arms=["a=modelA", "b=modelB", "c=modelC"]` for more.',
        )
    for name, value in lists.items():
        if not (isinstance(value, list | tuple) and _texts(value)):
            raise UsageError(
                f"`{name}` takes a list of texts, not `{value!r}`.",
                hint=f"Write `{name}=[{value!r}]`." if isinstance(value, str) else None,
            )


def _texts(values: list[Any] | tuple[Any, ...]) -> bool:
    return all(isinstance(value, str) for value in values)
