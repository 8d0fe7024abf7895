"""Strategies by name: imported when used, and explained when they cannot be."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from mlops.consumers import CONSUMERS
from mlops.errors import InvalidInputError
from mlops.plugins import Plugins
from mlops.policies import POLICIES
from mlops.protocols import CODECS
from mlops.rewards import REWARDS
from mlops.runtimes import RUNTIMES
from mlops.sinks import SINKS

FAMILIES: list[Plugins[Any]] = [POLICIES, REWARDS, CODECS, RUNTIMES, CONSUMERS, SINKS]

FRUIT: Plugins[Any] = Plugins(
    "fruit",
    {
        "apple": "math:pi",
        "pear": "no_such_module_of_ours:x [orchard]",
        "plum": "no_such_module_of_ours:x",
        "quince": "math:no_such_attribute",
    },
)


def test_names_cost_no_import() -> None:
    assert list(FRUIT) == ["apple", "pear", "plum", "quince"]
    assert "pear" in FRUIT
    assert "peach" not in FRUIT


def test_a_strategy_is_imported_on_use() -> None:
    import math

    assert FRUIT.load("apple") == math.pi


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("aple", "Did you mean `apple`?"),
        ("zzz", "Use `apple`, `pear`, `plum` or `quince`."),
    ],
)
def test_an_unknown_name_is_explained(name: str, hint: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        FRUIT.load(name)
    assert caught.value.message == f"There is no fruit called `{name}`."
    assert caught.value.hint == hint


def test_a_missing_extra_says_what_to_install() -> None:
    with pytest.raises(InvalidInputError) as caught:
        FRUIT.load("pear")
    assert "`no_such_module_of_ours`" in caught.value.message
    assert caught.value.hint == "pip install 'mlops-loop[orchard]'"


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(ModuleNotFoundError):
        FRUIT.load("plum")
    with pytest.raises(AttributeError):
        FRUIT.load("quince")


@pytest.mark.parametrize("family", FAMILIES)
def test_every_entry_of_our_tables_loads(family: Plugins[Any]) -> None:
    for name in family:
        assert family.load(name) is not None


def test_tables_are_light() -> None:
    code = (
        "import sys, mlops.policies, mlops.rewards\n"
        "heavy = {'numpy', 'mlops.policies.weighted', 'mlops.rewards.errors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
