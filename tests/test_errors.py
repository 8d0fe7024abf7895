"""The tree of errors: as drawn, one exit code and one code each."""

from __future__ import annotations

import re
import traceback

import pytest

from mlops import errors
from mlops.errors import MlopsError, did_you_mean, one_of

KINDS: list[type[MlopsError]] = MlopsError.__subclasses__()
OURS: list[type[MlopsError]] = [
    MlopsError,
    *(kind for kind in KINDS if kind.__module__ == "mlops.errors"),
]


def _drawn() -> dict[str, int]:
    """What the picture at the top of the module says."""
    assert errors.__doc__
    return {name: int(code) for name, code in re.findall(r"(\w+Error) +(\d+)  ", errors.__doc__)}


def test_the_tree_is_as_drawn() -> None:
    assert {kind.__name__: kind.exit_code for kind in OURS} == _drawn()


def test_codes_tell_the_kinds_apart() -> None:
    assert len({kind.exit_code for kind in OURS}) == len(OURS)
    assert len({kind.code for kind in OURS}) == len(OURS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_speaks_to_people(kind: type[MlopsError]) -> None:
    error = kind("It broke.", hint="Mend it.")
    assert (str(error), error.message, error.hint) == ("It broke.", "It broke.", "Mend it.")
    assert kind("It broke.").hint is None


def test_a_traceback_shows_the_hint() -> None:
    error = MlopsError("It broke.", hint="Mend it.")
    assert traceback.format_exception(error) == [
        "mlops.errors.MlopsError: It broke.\n",
        "Mend it.\n",
    ]
    error.hint = "Buy another."
    assert "Buy another.\n" in traceback.format_exception(error)
    assert len(traceback.format_exception(MlopsError("It broke."))) == 1


@pytest.mark.parametrize("kind", OURS[1:])
def test_a_kind_is_found_by_either_code(kind: type[MlopsError]) -> None:
    assert errors.kind_of(code=kind.code) is kind
    assert errors.kind_of(exit_code=kind.exit_code) is kind


def test_an_unknown_kind_is_just_an_error() -> None:
    assert errors.kind_of() is MlopsError
    assert errors.kind_of(code="?", exit_code=99) is MlopsError


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("alhpa", ["alpha", "l1_ratio"], "Did you mean `alpha`?"),
        ("l1", ["alpha", "l1_ratio"], "Did you mean `l1_ratio`?"),
        ("x", ["alpha"], None),
        ("", ["alpha"], None),
        ("x", [], None),
    ],
)
def test_the_closest_name(name: str, known: list[str], hint: str | None) -> None:
    assert did_you_mean(name, iter(known)) == hint


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ([], "nothing"),
        (["a"], "`a`"),
        (["a", "b"], "`a` or `b`"),
        (["a", "b", "c"], "`a`, `b` or `c`"),
    ],
)
def test_choices_are_named(known: list[str], text: str) -> None:
    assert one_of(known) == text
