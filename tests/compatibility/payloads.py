"""Requests of all kinds for one model: every form, borderline and wrong values, broken bodies.

A payload's name is a path, such as `cell/long/1.5/split`, by which `differences.py` speaks of it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tests.compatibility.models import Case

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
NAN = float("nan")
#: What is put into a cell of every type, by the name it has in paths.
CELLS: dict[str, Any] = {
    "0": 0,
    "1": 1,
    "2": 2,
    "1.0": 1.0,
    "1.5": 1.5,
    "-7": -7,
    "1e10": 10**10,
    "2^63": 2**63,
    "1e30": 10**30,
    "1e300": 1e300,
    "true": True,
    "false": False,
    "null": None,
    "NaN": NAN,
    "Infinity": float("inf"),
    "'1'": "1",
    "'1.0'": "1.0",
    "'1.5'": "1.5",
    "'abc'": "abc",
    "''": "",
    "'true'": "true",
    "'NaN'": "NaN",
    "'null'": "null",
    "date": "2024-05-01",
    "time": "2024-05-01T10:00:00",
    "zone": "2024-05-01T10:00:00+02:00",
    "a space": "2024-05-01 10:00:00",
    "fraction": "2024-05-01T10:00:00.123456789",
    "month": "2024-05",
    "digits": "20240501",
    "one digit": "2024-05-01 9:05",
    "year 9999": "9999-12-31",
    "'01.05.2024'": "01.05.2024",
    "20240501": 20240501,
    "unicode": "Zoë 漢字 🍷",
    "list": [1],
    "object": {"a": 1},
}
_TABLE_CELLS = frozenset(
    {"1", "1.0", "1.5", "true", "null", "'1'", "'abc'", "date", "unicode", "NaN"}
)

#: Models that get every cell in every form; to the others only the common ones are sent.
_THOROUGH = frozenset(
    {"doubles and a long", "floats and an integer", "text, double and boolean", "dates", "binary"}
    | {"long, integer, boolean, text", "optional columns", "array", "any type", "unsigned"}
)


#: Models that get bodies that are no rows at all.
_BROKEN = frozenset({"doubles", "one column", "tensor", "list[str]", "chat", "unsigned"})


@dataclass(frozen=True, slots=True)
class Payload:
    """One request."""

    name: str
    body: bytes
    media: str = JSON


def _json(name: str, document: Any) -> Payload:
    return Payload(name, json.dumps(document).encode())


def payloads(case: Case) -> Iterator[Payload]:
    """Yield every request for one model."""
    if case.columns:
        names, rows = list(case.columns), [list(row) for row in case.rows]
        yield from _forms(names, rows, (1, 3) if case.name in _THOROUGH else (2,))
        yield from _cells(case, names, rows)
        yield from _shapes(names, rows)
        options: list[Any] = [{"k": 4}, {"k": "x"}, {"unknown": 1}, {}, [], None, "x"]
        for params in options:
            name = f"params/{json.dumps(params)}"
            yield _json(name, {"dataframe_split": _split(names, rows), "params": params})
    else:
        yield from _inputs(case.inputs)
    if case.name in _BROKEN:
        yield from _broken()


def _split(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    return {"columns": list(names), "data": [list(row) for row in rows]}


def _records(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def _csv(names: Sequence[str], rows: Sequence[Sequence[Any]], **style: Any) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", **style)
    writer.writerow(names)
    writer.writerows(rows)
    return text.getvalue().encode()


def _parquet(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    body = io.BytesIO()
    pd.DataFrame(list(map(list, rows)), columns=list(names)).to_parquet(body)
    return body.getvalue()


def _forms(names: list[str], rows: list[list[Any]], counts: Sequence[int]) -> Iterator[Payload]:
    for count in counts:
        some = (rows * 2)[:count]
        columns = {name: [row[i] for row in some] for i, name in enumerate(names)}
        yield _json(f"form/split/{count}", {"dataframe_split": _split(names, some)})
        yield _json(f"form/split unnamed/{count}", {"dataframe_split": {"data": some}})
        yield _json(f"form/records/{count}", {"dataframe_records": _records(names, some)})
        for key in ("instances", "inputs"):
            yield _json(f"form/{key} lists/{count}", {key: some})
            yield _json(f"form/{key} objects/{count}", {key: _records(names, some)})
            yield _json(f"form/{key} columns/{count}", {key: columns})
        yield Payload(f"form/csv/{count}", _csv(names, some), CSV)
        yield Payload(f"form/csv quoted/{count}", _csv(names, some, quoting=csv.QUOTE_ALL), CSV)
        yield Payload(f"form/parquet/{count}", _parquet(names, some), PARQUET)
    index = {**_split(names, rows), "index": [f"r{i}" for i in range(len(rows))]}
    yield _json("form/split index", {"dataframe_split": index})
    yield _json("form/inputs one object", {"inputs": _records(names, rows)[0]})
    yield _json("form/instances one object", {"instances": _records(names, rows)[0]})
    backwards = [list(reversed(row)) for row in rows]
    turned = list(reversed(names))
    yield _json("columns/reordered/split", {"dataframe_split": _split(turned, backwards)})
    yield _json("columns/reordered/inputs", {"inputs": _records(turned, backwards)})
    yield Payload("columns/reordered/csv", _csv(turned, backwards), CSV)
    more = [[*row, "more"] for row in rows]
    yield _json("columns/extra/split", {"dataframe_split": _split([*names, "extra"], more)})
    yield _json("columns/extra/records", {"dataframe_records": _records([*names, "extra"], more)})
    yield Payload("columns/extra/csv", _csv([*names, "extra"], more), CSV)
    for index_, name in enumerate(names):
        fewer = [row[:index_] + row[index_ + 1 :] for row in rows]
        left = [other for other in names if other != name]
        if left:
            yield _json(f"columns/missing/{name}/split", {"dataframe_split": _split(left, fewer)})
            yield _json(f"columns/missing/{name}/inputs", {"inputs": _records(left, fewer)})
            yield Payload(f"columns/missing/{name}/csv", _csv(left, fewer), CSV)
            uneven = [_records(names, rows)[0], _records(left, fewer)[1]]
            yield _json(f"columns/uneven/{name}/records", {"dataframe_records": uneven})


def _cells(case: Case, names: list[str], rows: list[list[Any]]) -> Iterator[Payload]:
    seen: set[str] = set()
    for index, (_, kind) in enumerate(case.columns.items()):
        if kind in seen:
            continue
        seen.add(kind)
        for label, cell in CELLS.items():
            if case.name not in _THOROUGH and label not in _TABLE_CELLS:
                continue
            row = [*rows[0]]
            row[index] = cell
            path = f"cell/{kind}/{label}"
            yield _json(f"{path}/split", {"dataframe_split": _split(names, [row])})
            if label in _TABLE_CELLS and case.name in _THOROUGH:
                two = [row, rows[1]]
                yield _json(
                    f"{path}/split beside a good one", {"dataframe_split": _split(names, two)}
                )
                columns = {other: [r[i] for r in two] for i, other in enumerate(names)}
                yield _json(f"{path}/inputs", {"inputs": columns})
                text = "" if cell is None else cell
                written = [text if i == index else c for i, c in enumerate(row)]
                yield Payload(f"{path}/csv", _csv(names, [written]), CSV)


def _shapes(names: list[str], rows: list[list[Any]]) -> Iterator[Payload]:
    yield _json("empty/split", {"dataframe_split": _split(names, [])})
    yield _json("empty/split nothing", {"dataframe_split": {"data": []}})
    yield _json("empty/split object", {"dataframe_split": {}})
    yield _json("empty/records", {"dataframe_records": []})
    yield _json("empty/columns", {"inputs": {name: [] for name in names}})
    yield Payload("empty/csv header", _csv(names, []), CSV)
    yield _json(
        "shape/short row", {"dataframe_split": {"columns": names, "data": [rows[0], rows[1][:-1]]}}
    )
    yield _json("shape/long row", {"dataframe_split": {"columns": names, "data": [[*rows[0], 1]]}})
    yield _json("shape/no rows but cells", {"dataframe_split": {"columns": names, "data": rows[0]}})
    yield _json("shape/unknown key", {"dataframe_split": {**_split(names, rows), "x": 1}})
    yield _json("shape/repeated name", {"dataframe_split": _split([names[0]] * len(names), rows)})
    yield _json("shape/uneven columns", {"inputs": {n: [1] * i for i, n in enumerate(names, 1)}})
    yield _json("shape/records object", {"dataframe_records": _records(names, rows)[0]})
    yield _json("shape/other keys", {"dataframe_split": _split(names, rows), "model": "x"})
    yield _json("shape/signature_name", {"inputs": _records(names, rows), "signature_name": "x"})


def _inputs(value: Any) -> Iterator[Payload]:
    for key in ("inputs", "instances"):
        yield _json(f"form/{key}", {key: value})
        yield _json(f"wrong/{key} object", {key: {"nobody": 1}})
        yield _json(f"wrong/{key} nested", {key: [value]})
    if isinstance(value, list):
        for count in (1, 3):
            yield _json(f"form/inputs/{count}", {"inputs": (value * 3)[:count]})
        yield _json("form/split", {"dataframe_split": {"data": value}})
        yield _json("form/records", {"dataframe_records": value})
        for label, cell in CELLS.items():
            yield _json(f"value/{label}", {"inputs": [cell]})
    else:
        for name in value:
            for label, cell in CELLS.items():
                if label not in _TABLE_CELLS:
                    continue
                yield _json(f"value/{name}/{label}", {"inputs": {**value, name: [cell]}})
    for label in ("1", "1.5", "'abc'", "null", "list", "object"):
        cell = CELLS[label]
        yield _json(f"single/{label}", {"inputs": cell})
    yield _json("empty/inputs", {"inputs": []})
    yield _json("empty/instances", {"instances": []})


def _broken() -> Iterator[Payload]:
    yield Payload("broken/empty", b"")
    yield Payload("broken/no JSON", b"{")
    yield Payload("broken/list", b"[1]")
    yield Payload("broken/number", b"1")
    yield Payload("broken/no form", b'{"rows": []}')
    yield Payload("broken/two forms", b'{"inputs": [1], "instances": [1]}')
    yield Payload("broken/not UTF-8", b'{"inputs": ["\xff"]}')
    yield Payload("broken/UTF-16", '{"inputs": [1]}'.encode("utf-16"))
    yield Payload("broken/text", b"a", "text/plain")
    yield Payload("broken/form encoded", b"a=1", "application/x-www-form-urlencoded")
    yield Payload("broken/charset", b'{"inputs": [1]}', f"{JSON}; charset=latin-1")
    yield Payload("broken/parameter", b'{"inputs": [1]}', f"{JSON}; format=pandas-split")
    yield Payload("broken/utf-8 charset", b"{}", f"{JSON}; charset=UTF-8")
    yield Payload("broken/capitals", b"{}", "Application/JSON")
    yield Payload("broken/csv", b'a\n"x\n', CSV)
    yield Payload("broken/csv empty", b"", CSV)
    yield Payload("broken/csv not UTF-8", b"a\n\xff\n", CSV)
    yield Payload("broken/parquet", b"PAR1", PARQUET)
    yield _json("chat/messages", {"messages": [{"role": "user", "content": "hi"}]})
    options = {"temperature": 0.5, "max_tokens": 3}
    yield _json("chat/options", {"messages": [{"role": "user", "content": "hi"}], **options})
    yield _json("chat/no role", {"messages": [{"content": "hi"}]})
    yield _json("chat/prompt", {"prompt": "hi"})
    yield _json("chat/input", {"input": ["hi"]})
