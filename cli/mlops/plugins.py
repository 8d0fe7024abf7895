"""Strategies found by name and imported on first use.

One table per family (`CODECS`, `POLICIES`, `REWARDS`, `TARGETS`), written out where the family
lives. Nothing registers itself by being imported, so a name cannot be overwritten silently and
listing names costs no import.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from mlops.errors import InvalidInputError, did_you_mean, one_of

T = TypeVar("T")


class Plugins(Generic[T]):
    """A family of strategies, name to `module:attribute`.

    Args:
        family: The noun used in messages, for example "reward".
        table: Name to location. An entry may name the extra that brings its libraries as
            `module:attribute [extra]`.
        group: Group of entry points by which other packages add to the family; a name of the
            table is not overridden. Looked at when a name is not in the table.
    """

    def __init__(self, family: str, table: Mapping[str, str], *, group: str = "") -> None:
        self._family = family
        self._table = dict(table)
        self._group = group

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __contains__(self, name: object) -> bool:
        return name in self._table or name in self._added()

    def _added(self) -> dict[str, str]:
        """Return what other packages add, name to location."""
        if not self._group:
            return {}
        # Importing it takes 20 ms, which most commands never need.
        from importlib.metadata import entry_points

        return {point.name: point.value for point in entry_points(group=self._group)}

    def load(self, name: str) -> T:
        """Import and return the strategy called `name`.

        Raises:
            InvalidInputError: The name is unknown (the closest is offered), or its extra is
                not installed.
        """
        location = self._table.get(name) or self._added().get(name)
        if location is None:
            known = [*self._table, *self._added()]
            hint = did_you_mean(name, known) or f"Use {one_of(known)}."
            raise InvalidInputError(f"There is no {self._family} called `{name}`.", hint=hint)
        path, _, extra = location.partition(" ")
        module, _, attribute = path.partition(":")
        try:
            loaded: T = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not extra:
                raise
            raise InvalidInputError(
                f"The {self._family} `{name}` needs `{error.name}`, which is not installed.",
                hint=f"pip install 'mlops-loop{extra}'",
            ) from error
        return loaded
