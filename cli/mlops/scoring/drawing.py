"""Which arm each row of a deployment's files gets: the one that a request with it would get.

Units that keep an arm in production keep it here, as they were when the job began: they are stored
beside the parts, so that a job that continues does not depend on what came into the journal since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import BadZipFile

import numpy as np

from mlops.errors import ConflictError, NotFoundError
from mlops.policies.drawing import Draws
from mlops.policies.first_arms import FirstArms
from mlops.registry.stores import Store
from mlops.spec.unit import unit_hash
from mlops.tables.table import Table

_UNITS = "_units.npz"
_COLUMNS = ("units", "arms", "propensities")
_FULL = 2.0**64


@dataclass(frozen=True, slots=True)
class Draw:
    """How the arms of a job's rows are drawn.

    Attributes:
        shares: Probability of each of the k arms.
        key: Of the deployment, by which units are drawn; empty for a model alone.
        salt: Of its experiment.
        unit: Name of the column with the sticky unit; empty for none.
        kept: Arms that units keep from earlier revisions; None for none.
    """

    shares: tuple[float, ...]
    key: bytes = b""
    salt: bytes = b""
    unit: str = ""
    kept: FirstArms | None = None

    @property
    def has_units(self) -> bool:
        """Whether rows of one unit get one arm."""
        return bool(self.unit) and len(self.shares) > 1

    def rows(self, table: Table, file: str, first: int) -> Drawn:
        """Draw the rows of a table: by the sticky unit, as in serving, else by file and position.

        Args:
            table: The n rows.
            file: Where they are from.
            first: Position of the first one there.
        """
        n = len(table)
        if len(self.shares) == 1:
            return Drawn([0] * n, [1.0] * n)
        draws = Draws(self.shares)
        units = _units(table, self.unit) if self.unit else ()
        drawn = Drawn([], [], [] if self.has_units else None)
        for at in range(n):
            unit = unit_hash(units[at], self.key, self.salt) if len(units) else None
            place = f"{file}\0{first + at}"
            number = unit or unit_hash(place, self.key, self.salt) or b""
            kept = self.kept.of(unit) if unit and self.kept is not None else None
            choice = kept or draws.choose(int.from_bytes(number, "big") / _FULL)
            drawn.arms.append(choice.arm)
            drawn.propensities.append(choice.propensity)
            if drawn.kept is not None:
                drawn.kept.append(kept is not None)
        return drawn


@dataclass(frozen=True, slots=True)
class Drawn:
    """What n rows were drawn.

    Attributes:
        arms: (n,) index of the arm of each.
        propensities: (n,) probability with which it was drawn.
        kept: (n,) whether its unit has the arm from an earlier revision; None without units.
    """

    arms: list[int]
    propensities: list[float]
    kept: list[bool] | None = None


def _units(table: Table, name: str) -> Sequence[Any]:
    """Return the sticky units, as a client writes them in JSON.

    Text has no types: `007` is a code, which a number is not, but pandas writes the number 7 as
    `7.0` where cells are missing.
    """
    units = table.columns.get(name, ())
    if name not in table.written:
        return units
    return [
        text.strip() if type(unit) is int or (type(unit) is float and "." not in text) else unit
        for unit, text in zip(units, table.written[name], strict=True)
    ]


def write_units(store: Store, kept: FirstArms) -> None:
    """Store the arms that units keep beside the parts of a job."""
    with TemporaryDirectory(prefix="mlops-batch-") as folder:
        path = Path(folder, _UNITS)
        np.savez(path, **{name: getattr(kept, name) for name in _COLUMNS})
        store.put(path, _UNITS)


def read_units(store: Store) -> FirstArms:
    """Read the arms that units keep in a job that was begun.

    Raises:
        ConflictError: They are not there, or damaged.
    """
    with TemporaryDirectory(prefix="mlops-batch-") as folder:
        path = Path(folder, _UNITS)
        try:
            store.get(_UNITS, path)
            with np.load(path, allow_pickle=False) as columns:
                return FirstArms(*(columns[name] for name in _COLUMNS))
        except (NotFoundError, BadZipFile, EOFError, ValueError, KeyError, OSError) as error:
            raise ConflictError(
                f"`{store.location}/{_UNITS}`, with the arms that units keep in this job, is "
                "missing or damaged.",
                hint="Choose another `--out`, or empty that one.",
            ) from error
