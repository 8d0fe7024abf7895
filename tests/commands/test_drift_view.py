"""`mlops monitor drift` shows what alarms first, and says the rest in a line."""

from __future__ import annotations

import io
import math
from typing import Any

from rich.console import Console

from mlops.commands.monitor import _render
from mlops.monitoring.drift import DriftReport
from mlops.monitoring.drift_streams import Stream


def _stream(feature: str, e_value: float = 1.0, rows: int = 900, **more: Any) -> Stream:
    usual: dict[str, Any] = {
        "arm": "a",
        "kind": "number",
        "against": "training",
        "alarm": e_value > 1_000,
        "since_ms": 0 if e_value > 1_000 else None,
        "psi": math.nan,
        "missing": math.nan,
        "missing_before": math.nan,
        "unseen": (),
        "strange": 0,
        "why_not": "",
        "path": (e_value,) if rows else (),
    }
    return Stream(feature=feature, e_value=e_value, rows=rows, **{**usual, **more})


_STREAMS = (
    _stream("iban", rows=0),
    _stream("age", 68.0),
    *(_stream(f"f{number}", 1.0 + number) for number in range(14)),
    _stream("amount", 1e5),
    _stream("zip", rows=0),
    _stream("colour", unseen=(("mauve", 3),)),
    _stream("income", 1e9),
    _stream("late", rows=0, against="first requests"),
    _stream("prediction", rows=0, why_not="not compared"),
)


def _shown(*, every: bool, streams: tuple[Stream, ...] = _STREAMS) -> list[str]:
    report = DriftReport("wine", 1, 0.01, 1_000, 900, 0, 0, streams)
    text = io.StringIO()
    _render(Console(file=text, width=120), report, every=every)
    return text.getvalue().splitlines()


def _rows(lines: list[str]) -> list[str]:
    start = next(i for i, line in enumerate(lines) if line.startswith("feature"))
    names = [line.split(" ")[0].strip() for line in lines[start + 1 :]]
    return names[: next((i for i, name in enumerate(names) if not name), None)]


def test_alarms_come_first_and_the_rest_is_a_line() -> None:
    lines = _shown(every=False)
    assert _rows(lines)[:4] == ["income", "amount", "age", "colour"]
    assert (
        "14 features or statistics without an alarm, e-values up to 14.0: `--all` shows them"
        in (lines)
    )
    assert "not compared, as the journal has no values of them: iban, zip" in lines
    assert "compared once there are 1,000 values to compare with: late" in lines
    assert "prediction: not compared" in lines
    assert not any("f13" in line or "iban  " in line for line in lines)


def test_all_are_shown_where_they_are_asked_for() -> None:
    lines = _shown(every=True)
    assert _rows(lines)[:4] == ["income", "amount", "age", "f0"]
    assert sum(line.startswith("f1") for line in lines) == 5
    assert not any("--all" in line for line in lines)


def test_without_evidence_there_is_no_table() -> None:
    lines = _shown(every=False, streams=(_stream("age"), _stream("pH")))
    assert lines[0] == "No drift was found."
    assert not any(line.startswith("feature") for line in lines)
    assert "2 features or statistics without an alarm, e-values up to 1.0: `--all` shows them" in (
        lines
    )
