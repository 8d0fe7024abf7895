"""Strategies found by name and imported on first use.

One table per family (`CODECS`, `POLICIES`, `REWARDS`, `TARGETS`), written out where the family
lives; other packages add to it by entry points in the family's group. Nothing registers itself by
being imported, so a name cannot be overwritten silently and listing names costs no import.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Generic, TypeVar

from mlops.errors import InvalidInputError, did_you_mean, one_of

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_OURS = "mlops-loop"


@dataclass(frozen=True, slots=True)
class Added:
    """A strategy that another package adds.

    Attributes:
        name: Its name in the family.
        package: The distribution it comes from.
        location: `module:attribute`.
        fault: Why it cannot be used; empty if it can.
    """

    name: str
    package: str
    location: str
    fault: str = ""


class Plugins(Generic[T]):
    """A family of strategies, name to `module:attribute`.

    Iterating gives our own names, and is free; `names` adds those of other packages.

    Args:
        family: The noun used in messages, for example "reward".
        table: Name to location. An entry may name the extra that installs its libraries as
            `module:attribute [extra]`.
        group: Group of entry points by which other packages add to the family. A name that is
            taken already is an error where it is chosen, and nowhere else.
        needs: Attributes that a strategy of another package must have, so that an invalid one
            is reported early.
    """

    def __init__(
        self,
        family: str,
        table: Mapping[str, str],
        *,
        group: str = "",
        needs: tuple[str, ...] = (),
    ) -> None:
        self.family = family
        self._table = dict(table)
        self._group = group
        self._needs = needs

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __contains__(self, name: object) -> bool:
        return name in self._table or any(point.name == name for point in self._points())

    def names(self) -> list[str]:
        """Return every name, our own first."""
        return list(dict.fromkeys([*self._table, *(point.name for point in self._points())]))

    def added(self) -> list[Added]:
        """Return what other packages add, each after trying to load it."""
        return [
            Added(point.name, _package(point), point.value, self._fault(point.name))
            for point in self._points()
        ]

    def others(self) -> dict[str, T]:
        """Load what other packages add, by name; what cannot be used is logged and left out."""
        found = {}
        for name in self.names()[len(self._table) :]:
            try:
                found[name] = self.load(name)
            except InvalidInputError as error:
                _LOG.warning("%s (%s)", error.message, error.hint)
        return found

    def check(self, name: str) -> None:
        """Refuse a name that several packages claim; call it on names that a user gave.

        Raises:
            InvalidInputError: They are named.
        """
        owners = [_OURS] * (name in self._table)
        owners += [_package(point) for point in self._points() if point.name == name]
        if len(owners) > 1:
            packages = " and ".join(f"`{owner}`" for owner in owners)
            raise InvalidInputError(
                f"The {self.family} `{name}` comes from {packages}.",
                hint=f"Uninstall one of them: pip uninstall {owners[-1]}",
            )

    def load(self, name: str) -> T:
        """Import and return the strategy called `name`; a built-in one has precedence.

        Raises:
            InvalidInputError: The name is unknown (the closest is offered), two other packages
                claim it, its extra is not installed, or another package's cannot be used.
        """
        location = self._table.get(name)
        if location is not None:
            return self._ours(name, location)
        self.check(name)
        for point in self._points():
            if point.name == name:
                return self._theirs(point)
        known = self.names()
        hint = did_you_mean(name, known) or f"Use {one_of(known)}."
        raise InvalidInputError(f"There is no {self.family} called `{name}`.", hint=hint)

    def _points(self) -> list[EntryPoint]:
        """Return the entry points of other packages."""
        return _entry_points(self._group) if self._group else []

    def _ours(self, name: str, location: str) -> T:
        path, _, extra = location.partition(" ")
        module, _, attribute = path.partition(":")
        try:
            loaded: T = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not extra:
                raise
            raise InvalidInputError(
                f"The {self.family} `{name}` needs `{error.name}`, which is not installed.",
                hint=f"pip install 'mlops-loop{extra}'",
            ) from error
        return loaded

    def _theirs(self, point: EntryPoint) -> T:
        package = _package(point)
        what = f"The {self.family} `{point.name}` of the package `{package}`"
        hint = f"Tell its authors, or `pip uninstall {package}`; nothing else needs it."
        try:
            loaded: T = point.load()
        except Exception as error:
            raise InvalidInputError(
                f"{what} cannot be loaded: {type(error).__name__}: {error}", hint=hint
            ) from error
        missing = [need for need in self._needs if not hasattr(loaded, need)]
        if missing:
            raise InvalidInputError(
                f"{what} is not a valid {self.family}: `{point.value}` has no {one_of(missing)}.",
                hint=hint,
            )
        return loaded

    def _fault(self, name: str) -> str:
        try:
            self.check(name)
            self.load(name)
        except InvalidInputError as error:
            return error.message
        return ""


@cache
def _entry_points(group: str) -> list[EntryPoint]:
    # Takes 20 ms and more, which listing names for `--help` need not pay.
    from importlib.metadata import entry_points

    found = entry_points(group=group)
    return sorted(found, key=lambda point: (point.name, _package(point)))


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.module
