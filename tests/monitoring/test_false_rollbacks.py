"""Few runs of `benchmarks/guardrails.py`, which has many and prints them."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.stats.tolerance import fewest, most

_FILE = Path(__file__).parents[2] / "benchmarks" / "guardrails.py"
_RUNS = 12


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("guardrails_benchmark", _FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Its records look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "name", ["rare errors, 0.1 %", "season: errors and latency up to threefold"]
)
def test_an_equal_canary_is_seldom_taken_back(benchmark: ModuleType, name: str) -> None:
    (case,) = (each for each in benchmark.CASES if each.name == name)
    minutes = benchmark.simulate(case, _RUNS)["mlops"]
    assert sum(map(math.isfinite, minutes)) <= most(_RUNS, benchmark.ALPHA)


def test_a_bad_one_is_found_and_soon(benchmark: ModuleType) -> None:
    (case,) = (each for each in benchmark.CASES if each.name == "5 % errors in place of 1 %")
    minutes = benchmark.simulate(case, _RUNS)["mlops"]
    assert sum(each < benchmark.MINUTES / 2 for each in minutes) >= fewest(_RUNS, 0.9)


def test_the_rules_of_others_find_what_is_gross(benchmark: ModuleType) -> None:
    """A comparison with a rule that never speaks would be none."""
    gross = benchmark.Case("gross", error_rate=0.02, more_errors=30.0, slower=3.0)
    rng = benchmark.np.random.default_rng(1)
    stream = benchmark.draw(gross, rng)
    assert benchmark.flagger(stream) < 10
    assert benchmark.kayenta(stream, rng) < 30
    assert benchmark.ours(stream) < 5
