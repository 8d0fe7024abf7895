"""A sticky unit gets the same arm in a file as in serving."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlops.policies.drawing import Draws
from mlops.policies.first_arms import FirstArms
from mlops.registry.stores import open_store
from mlops.scoring import Draw, Job, Scorer, find_inputs, score
from mlops.scoring.job import tables
from mlops.settings import load_settings
from mlops.spec.unit import unit_hash
from mlops.tables.signature import Column, Signature

KEY, SALT = b"k" * 32, b"s" * 16
NUMBER = Column("n", "double")


def job(signature: Signature, kept: FirstArms | None = None) -> Job:
    def ask(_: Any, n: int) -> Sequence[Any]:
        return [0.5] * n

    scorers = tuple(Scorer(name, name, (name,), ask, signature) for name in "ab")
    return Job(scorers, Draw((0.5, 0.5), KEY, SALT, "user", kept), form="csv")


def arm(unit: object) -> str:
    number = int.from_bytes(unit_hash(unit, KEY, SALT) or b"", "big") / 2.0**64
    return "ab"[Draws((0.5, 0.5)).choose(number).arm]


@pytest.mark.parametrize("packed", [[NUMBER], []])
@pytest.mark.parametrize(
    ("cells", "units"),
    [
        ([f"{n:04}" for n in range(40)], [f"{n:04}" for n in range(40)]),
        ([f"{n}" for n in range(40)], list(range(40))),
        # As pandas writes whole numbers of a column with missing cells.
        ([f"{n}.0" for n in range(40)], list(range(40))),
        ([f"{10**19 + n}" for n in range(40)], [f"{10**19 + n}" for n in range(40)]),
        ([f"{n:03}" for n in range(40)] + ["x"], [f"{n:03}" for n in range(40)] + ["x"]),
    ],
)
def test_units_of_digits_are_drawn_as_clients_write_them(
    tmp_path: Path, cells: list[str], units: list[object], packed: list[Column]
) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("user,n\n" + "".join(f"{cell},1\n" for cell in cells))
    settings = load_settings(tmp_path, environ={})
    inputs = find_inputs([str(rows)], lambda uri: open_store(uri, settings))
    work = job(Signature(tuple(packed)))
    out = open_store(str(tmp_path / "out"), settings)
    (part,) = score(work, inputs, out).parts
    lines = (tmp_path / "out" / part).read_text().splitlines()[1:]
    assert [line.split(",")[2] for line in lines] == [arm(unit) for unit in units]
    # Models and kept columns get the cells typed, as before.
    ((_, _, table),) = tables(inputs, work)
    assert type(table.columns["n"][0]) is (float if packed else int)
    if cells[0] == "0":
        assert list(table.columns["user"]) == list(range(40))


def test_a_model_gets_its_own_columns_alone(tmp_path: Path) -> None:
    """MLflow warns of others once for each chunk and arm."""
    rows = tmp_path / "rows.csv"
    rows.write_text("user,n,note\n" + "".join(f"{n},1,x\n" for n in range(20)))
    settings = load_settings(tmp_path, environ={})
    inputs = find_inputs([str(rows)], lambda uri: open_store(uri, settings))
    seen: set[str] = set()

    def ask(payload: Any, n: int) -> Sequence[Any]:
        seen.update(payload.values)
        return [0.5] * n

    plain = job(Signature((NUMBER,)))
    work = replace(plain, scorers=tuple(replace(each, ask=ask) for each in plain.scorers))
    done = score(work, inputs, open_store(str(tmp_path / "out"), settings))
    assert (seen, done.ignored) == ({"n"}, ("note",))
