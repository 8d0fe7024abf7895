"""Files whose columns keep their types, without leftovers of attempts that failed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from mlops.sinks import Event, Sink, checked_sinks, open_sink
from mlops.spec.request_log import sink_from

HOUR_MS = 3_600_000
NOON = 1_700_049_600_000


def request(seq: int, time_ms: int, *rows: dict[str, Any]) -> Event:
    fields = {
        "request_id": f"r{seq}", "nonce": f"{seq:024x}", "revision": 1, "arm": "a", "model": "m/1",
        "propensity": 0.5, "epoch": 0, "unit": None, "status": 200, "latency_ms": 1.5,
        "protocol": "mlflow", "client_id": None, "n_rows": len(rows),
        "predictions": [float(seq)] * len(rows),
    }  # fmt: skip
    names = list(rows[0]) if rows else None
    cells = [list(row.values()) for row in rows]
    return Event("request", f"r{seq}", seq, time_ms, f"r{seq}", "a", names, cells, fields)


def opened(folder: Path) -> Sink:
    (spec,) = checked_sinks([sink_from("lake", {"kind": "parquet", "to": str(folder)})])
    return open_sink(spec, "wine")


def files(folder: Path) -> list[str]:
    root = folder / "wine/requests"
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.parquet"))


def table(folder: Path) -> list[dict[str, Any]]:
    found = pyarrow.dataset.dataset(folder / "wine/requests", partitioning="hive").to_table()
    lines: list[dict[str, Any]] = found.to_pylist()
    return sorted(lines, key=lambda line: (line["request_id"], line["row"]))


def test_columns_keep_their_type_whatever_comes(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.send([request(1, NOON, {"alcohol": 9, "status": "odd"}, {"alcohol": 9.5, "status": None})])
    sink.send([request(2, NOON, {"alcohol": "nine", "status": "odd", "ph": 3.1, "list": [1]})])
    sink.close()
    # Another process goes on with the same columns.
    again = opened(tmp_path)
    again.send([request(3, NOON, {"alcohol": 2**60, "ph": True})])
    again.close()
    one, two, three = (
        pq.read_schema(tmp_path / "wine/requests" / name) for name in files(tmp_path)
    )
    assert two.equals(three)
    assert [two.field(name) for name in one.names] == list(one)
    lines = table(tmp_path)
    assert [line["alcohol"] for line in lines] == [9.0, 9.5, None, None]
    assert [line["feature_status"] for line in lines] == ["odd", None, "odd", None]
    assert [line["status"] for line in lines] == [200] * 4
    assert json.loads(lines[2]["other"]) == {"alcohol": "nine", "list": [1]}
    assert json.loads(lines[3]["other"]) == {"alcohol": 2**60, "ph": True}
    assert lines[0]["other"] is None
    assert str(two.field("time").type) == "timestamp[ms, tz=UTC]"


def test_one_folder_for_each_hour(tmp_path: Path) -> None:
    sink = opened(tmp_path)
    sink.send([request(1, NOON, {"a": 1.0}), request(2, NOON + HOUR_MS, {"a": 2.0})])
    sink.close()
    assert [name[:-17] for name in files(tmp_path)] == [
        "hour=2023-11-15T12/000000000001-000000000001",
        "hour=2023-11-15T13/000000000002-000000000002",
    ]
    assert {line["hour"] for line in table(tmp_path)} == {"2023-11-15T12", "2023-11-15T13"}


def test_what_a_failed_attempt_left_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = request(1, NOON, {"a": 1.0})
    first, second = request(2, NOON, {"a": 2.0}), request(3, NOON + HOUR_MS, {"a": 3.0})
    sink = opened(tmp_path)
    sink.send([before])
    put = sink._store.put  # type: ignore[attr-defined]

    def full(source: Path, key: str, **more: Any) -> Any:
        if "T13" in key:
            raise OSError("no space")
        return put(source, key, **more)

    monkeypatch.setattr(sink._store, "put", full)  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="no space"):
        sink.send([first, second])
    monkeypatch.undo()
    # By then more has come, so the batch is cut otherwise; and the process may be another.
    batch = [first, request(4, NOON + 1, {"a": 4.0}), second]
    for each in (sink, opened(tmp_path)):
        each.send(batch)
        assert [line["request_id"] for line in table(tmp_path)] == ["r1", "r2", "r3", "r4"]
        each.close()


def test_rows_without_names_and_failures(tmp_path: Path) -> None:
    bare = Event("request", "r1", 1, NOON, "r1", "a", None, [[1.0, "x"]], {
        **request(1, NOON).fields, "n_rows": 1, "predictions": ["good"],
    })  # fmt: skip
    failed = Event("request", "r2", 2, NOON, "r2", "a", None, None, {
        **request(2, NOON).fields, "n_rows": 2, "predictions": None, "status": 500,
    })  # fmt: skip
    sink = opened(tmp_path)
    sink.send([bare, failed])
    sink.close()
    lines = table(tmp_path)
    assert (lines[0]["feature_0"], lines[0]["feature_1"]) == (1.0, "x")
    assert (lines[0]["prediction"], lines[0]["prediction_json"]) == (None, '"good"')
    assert [(line["row"], line["status"]) for line in lines[1:]] == [(0, 500), (1, 500)]
    # Rows that are no lists have one feature.
    texts: list[list[Any]] = [[5.1, 6.2], ["good", "bad"], [0, None], [[1.0, 2.0], [3.0, 4.0]]]
    for seq, rows in enumerate(texts, start=3):
        sink = opened(tmp_path / str(seq))
        sink.send([replace(bare, seq=seq, rows=rows, fields={**bare.fields, "n_rows": 2})])
        sink.close()
    found = [[line["feature_0"] for line in table(tmp_path / str(seq))] for seq in range(3, 7)]
    assert found == [[5.1, 6.2], ["good", "bad"], [0.0, None], [1.0, 3.0]]


def test_the_columns_are_stored_though_the_store_was_away_at_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = opened(tmp_path)

    def away(*_: Any) -> Any:
        raise OSError("away")

    monkeypatch.setattr(sink._store, "put", away)  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="away"):
        sink.send([request(1, NOON, {"a": 1.0})])
    monkeypatch.undo()
    sink.send([request(1, NOON, {"a": 1.0})])
    schema = tmp_path / "wine/requests/_schema.json"
    assert json.loads(schema.read_text())["features"] == {"a": "number"}
    # Someone deletes it: the columns of the files that are there keep their types.
    schema.unlink()
    sink.send([request(2, NOON, {"a": "x", "b": 1.0})])
    sink.close()
    assert json.loads(schema.read_text())["features"] == {"a": "number", "b": "number"}


def test_files_of_another_journal_stay(tmp_path: Path) -> None:
    """A journal that was made again, or another project's with the same name and folder."""
    for who in ("old", "new"):
        sink = opened(tmp_path)
        for seqs in ([1, 2], [1, 2, 3]) if who == "new" else ([1, 2],):
            made = [request(seq, NOON, {"a": 1.0}) for seq in seqs]
            sink.send([
                replace(each, id=f"{who}{each.seq}",
                        fields={**each.fields, "request_id": f"{who}{each.seq}"})
                for each in made
            ])  # fmt: skip
        sink.close()
    assert [line["request_id"] for line in table(tmp_path)] == [
        "new1", "new2", "new3", "old1", "old2",
    ]  # fmt: skip


def test_two_projects_with_one_folder_give_a_feature_one_type(tmp_path: Path) -> None:
    """Both write at once, and each has features that the other has with another type, or not."""
    one, other = opened(tmp_path), opened(tmp_path)
    sent: list[tuple[Sink, dict[str, Any]]] = [
        (one, {"a": 1.0}), (other, {"a": 2.0, "b": "x"}), (one, {"b": 3.0, "c": True}),
        (other, {"c": "y", "d": 4.0}), (one, {"a": 5.0, "b": 6.0}),
    ]  # fmt: skip
    for seq, (sink, row) in enumerate(sent, start=1):
        sink.send([request(seq, NOON, row)])
    one.close()
    other.close()
    stored = json.loads((tmp_path / "wine/requests/_schema.json").read_text())
    kinds = {"a": "number", "b": "text", "c": "boolean", "d": "number"}
    assert stored["features"] == kinds
    arrow = {"number": "double", "text": "string", "boolean": "bool"}
    for name in files(tmp_path):
        schema = pq.read_schema(tmp_path / "wine/requests" / name)
        here = {
            feature: str(schema.field(feature).type) for feature in set(schema.names) & {*kinds}
        }
        assert here == {feature: arrow[kinds[feature]] for feature in here}
    others = [json.loads(line["other"] or "{}") for line in table(tmp_path)]
    assert others == [{}, {}, {"b": 3.0}, {"c": "y"}, {"b": 6.0}]


def test_a_leftover_is_found_by_whichever_piece_has_its_events(tmp_path: Path) -> None:
    """Before the crash the events were cut otherwise."""
    events = [request(seq, NOON, {"a": 1.0}) for seq in range(1, 6)]
    for pieces in ([events[2:4]], [events[:2], events[2:]]):
        sink = opened(tmp_path)
        for piece in pieces:
            sink.send(piece)
        sink.close()
    assert [line["request_id"] for line in table(tmp_path)] == ["r1", "r2", "r3", "r4", "r5"]
