"""How every command reads its words and shows its help.

Typer shows flags as if they took a `<bool>`, types in angle brackets, long choices broken in the
middle of a word, and takes `[name]` in a help text for markup. All of that is set right here, once.
"""

from __future__ import annotations

import copy
import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from mlops.commands import output

_LONGEST_CHOICE = 16
_NUMBERS = {int: "N", float: "NUMBER"}


class Command(TyperCommand):
    """A command that takes `-v`, `-q` and `--no-color` in any position."""

    def __init__(self, *args: Any, **keywords: Any) -> None:  # noqa: ANN401 - Typer's own
        super().__init__(*args, **keywords)
        self.params.extend(_hidden(_global_options()))
        _tidy(self)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ANN401 - Typer's own
        """Show what must be there without braces."""
        return [re.sub(r"[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - Typer's own
        """Show flags, `--help` and those of Typer too, as what they are."""
        return [_flag(parameter) for parameter in super().get_params(ctx)]


class Group(TyperGroup):
    """A group of commands."""

    def __init__(self, *args: Any, **keywords: Any) -> None:  # noqa: ANN401 - Typer's own
        super().__init__(*args, **keywords)
        _tidy(self)

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - Typer's own
        """Show flags, `--help` and those of Typer too, as what they are."""
        return [_flag(parameter) for parameter in super().get_params(ctx)]


class Root(Group):
    """The program, which lists the options that all commands take."""

    def __init__(self, *args: object, **keywords: object) -> None:
        super().__init__(*args, **keywords)
        self.params.extend(_global_options())
        _tidy(self)


class App(typer.Typer):
    """A `typer.Typer` of these classes."""

    def __init__(self, **keywords: Any) -> None:  # noqa: ANN401 - Typer's own
        super().__init__(**({"cls": Group} | keywords))

    def command(self, name: str | None = None, **keywords: Any) -> Callable[..., Any]:  # noqa: ANN401 - Typer's own
        """See `typer.Typer.command`."""
        return super().command(name, **({"cls": Command} | keywords))


def _declared(
    _verbose: Annotated[
        int,
        typer.Option(
            "-v",
            "--verbose",
            count=True,
            callback=output.be_verbose,
            expose_value=False,
            is_eager=True,
            show_default=False,
            help="Show log messages of mlops and MLflow, and the traceback of an error; -vv: "
            "debug messages too.",
        ),
    ] = 0,
    _quiet: Annotated[
        bool,
        typer.Option(
            "-q",
            "--quiet",
            callback=output.be_quiet,
            expose_value=False,
            is_eager=True,
            help="Print results and errors only, no progress and no notes.",
        ),
    ] = False,
    _no_color: Annotated[
        bool,
        typer.Option(
            "--no-color",
            callback=output.without_color,
            expose_value=False,
            is_eager=True,
            help="Print without colour, as with NO_COLOR=1.",
        ),
    ] = False,
) -> None:
    """Declare the options that every command takes."""


@functools.cache
def _global_options() -> list[Any]:
    program = typer.Typer(add_completion=False)
    program.command()(_declared)
    options = list(typer.main.get_command(program).params)
    for option in options:
        option.metavar = ""
    return options


def _hidden(options: list[Any]) -> list[Any]:
    copies = [copy.copy(option) for option in options]
    for option in copies:
        option.hidden = True
    return copies


def _tidy(command: Any) -> None:  # noqa: ANN401 - a command or a group
    from rich.markup import escape

    if command.help and not getattr(command, "tidied", False):
        paragraphs = inspect.cleandoc(command.help).split("\n\n")
        joined = [p if p.startswith("    ") else p.replace("\n", " ") for p in paragraphs]
        command.help = escape("\n\n".join(joined))
    command.tidied = True
    for parameter in command.params:
        if getattr(parameter, "tidied", False):
            continue
        parameter.tidied = True
        if isinstance(parameter.show_default, str):
            parameter.help = f"{parameter.help or ''} [default: {parameter.show_default}]"
            parameter.show_default = False
        if isinstance(parameter, TyperOption):
            _show_type(parameter)
        else:
            # The name says what it is; a type beside it would say it twice.
            parameter.metavar = (parameter.metavar or parameter.name).upper().strip("[]…")
            parameter.display_type_rich = lambda ctx: None
        if parameter.help:
            parameter.help = escape(parameter.help.strip())


def _show_type(option: TyperOption) -> None:
    """Name an option's value by what it is; name its choices in its help if they are long."""
    if option.is_flag or option.count:
        option.metavar = ""
        return
    described = option.type_descriptor
    shown = option.metavar or ("|".join(map(str, described.choices or ())) or "")
    name = max(option.opts, key=len).lstrip("-").replace("-", "_").upper()
    if not shown:
        shown = _NUMBERS.get(described.annotation, name.rpartition("_")[2])
    choices = shown.split("|")
    if len(choices) > 1 and all(choice.isalnum() and choice.islower() for choice in choices):
        _complete_with(option, choices)
    if len(choices) > 1 and len(shown) > _LONGEST_CHOICE:
        option.help = f"{option.help or ''} One of {', '.join(choices[:-1])} or {choices[-1]}."
        shown = name.rpartition("_")[2]
    option.metavar = shown


def _complete_with(option: TyperOption, choices: list[str]) -> None:
    """Have a shell complete the choices that an option's help names."""
    if option._custom_shell_complete is None:
        option._custom_shell_complete = lambda _context, _parameter, incomplete: [
            choice for choice in choices if choice.startswith(incomplete)
        ]


def _flag(parameter: Any) -> Any:  # noqa: ANN401 - Typer's own
    if getattr(parameter, "is_flag", False):
        parameter.metavar = ""
    return parameter
