"""`mlops batch`: what a server answers, for every row of any file, once."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from mlops.commands.batch import _render
from mlops.registry.stores import open_store
from mlops.scoring import find_inputs, score
from mlops.workflows import batch as work
from mlops.workflows.batch import Options
from tests.commands.schemas import fits
from tests.fixtures_deployment import Shop
from tests.minio import Minio


def names(shop: Shop) -> list[str]:
    request = shop.state.request
    assert request is not None
    found: list[str] = request["dataframe_split"]["columns"]
    return found


def rows_of(shop: Shop, n: int, seed: int = 0) -> list[dict[str, float]]:
    values = np.random.default_rng(seed).uniform(0, 40, (n, len(names(shop))))
    return [dict(zip(names(shop), row, strict=True)) for row in values.tolist()]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
        return path
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    with plain.open("w", newline="") as file:
        if plain.suffix == ".csv":
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


def served(shop: Shop, rows: list[dict[str, Any]], arm: str) -> list[float]:
    split = {"columns": list(rows[0]), "data": [list(row.values()) for row in rows]}
    answer, _ = shop.post("/invocations", {"dataframe_split": split}, X_Mlops_Arm=arm)
    found: list[float] = answer["predictions"]
    return found


def read(path: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return lines


CELLS = st.floats(allow_nan=False, width=64, min_value=-1e6, max_value=1e6) | st.integers(0, 400)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), form=st.sampled_from([".parquet", ".csv", ".jsonl", ".csv.gz"]))
def test_it_answers_what_the_server_answers(
    shop: Shop, loaded: work._Arms, tmp_path_factory: pytest.TempPathFactory, data: Any, form: str
) -> None:
    """To the last digit, whatever the form: a chunk is as a request with its rows.

    Rows that are predicted alone may have another last digit, in serving too.
    """
    folder = tmp_path_factory.mktemp("same")
    cells = st.lists(CELLS, min_size=len(names(shop)), max_size=len(names(shop)))
    drawn = data.draw(st.lists(cells, min_size=1, max_size=12))
    rows = [dict(zip(names(shop), map(float, row), strict=True)) for row in drawn]
    write(folder / f"rows{form}", rows)
    inputs = find_inputs([str(folder / "rows*")], lambda uri: open_store(uri, shop.settings))
    size = data.draw(st.integers(1, 13))
    job = work._job(loaded, Options(all_arms=True, rows=size), "parquet")
    out = open_store(str(folder / "out"), shop.settings)
    done = score(job, inputs, out)
    found = [line for key in done.parts for line in read(folder / "out" / key)]
    assert [line["row"] for line in found] == list(range(len(rows)))
    for arm in ("modelA", "modelB"):
        starts = range(0, len(rows), size)
        parts = [served(shop, rows[start : start + size], arm) for start in starts]
        answers = [each for part in parts for each in part]
        assert [line[f"prediction_{arm}"] for line in found] == answers
    for line in found:
        assert line["prediction"] == line[f"prediction_{line['arm']}"]
        assert line["propensity"] == 0.5


@pytest.fixture(scope="module")
def loaded(shop: Shop) -> Any:
    with work._arms(shop.settings, "wine", "auto") as arms:
        yield arms


def test_files_arms_and_columns(shop: Shop, tmp_path: Path) -> None:
    rows = [{"id": f"c{n}", "note": "x", **row} for n, row in enumerate(rows_of(shop, 400))]
    write(tmp_path / "one.parquet", rows[:250])
    write(tmp_path / "two.csv", rows[250:])
    out = tmp_path / "scored.csv"
    words = ("--data", f"{tmp_path}/one.*", "--data", f"{tmp_path}/two.csv", "--out", str(out))
    said = shop.ok("batch", "wine", *words, "--keep", "id", "--chunk-rows", "90", "--json")
    fits("batch", said.document)
    assert (said.document["rows"], said.document["files"], said.document["resumed"]) == (400, 2, 0)
    assert said.document["ignored"] == ["note"]
    with out.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["id"] for line in lines] == [f"c{n}" for n in range(400)]
    assert [int(line["row"]) for line in lines] == [*range(250), *range(150)]
    counts = Counter(line["arm"] for line in lines)
    assert counts == said.document["by_arm"]
    # Half and half within five and a half standard deviations.
    assert abs(counts["modelA"] - 200) < 55
    answers = dict(zip(("modelA", "modelB"), (served(shop, [
        {name: row[name] for name in names(shop)} for row in rows], arm
    ) for arm in ("modelA", "modelB")), strict=True))  # fmt: skip
    for index, line in enumerate(lines):
        # To the last digit only with the same rows beside it.
        assert float(line["prediction"]) == pytest.approx(answers[line["arm"]][index], rel=1e-12)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "one.parquet", "scored.csv", "two.csv",
    ]  # fmt: skip
    # Sticky units are not in this test; the draw is the same each time.
    again = (*words[:-1], f"{tmp_path}/again.csv", "--chunk-rows", "33", "--runtime", "pyfunc")
    said = shop.ok("batch", "wine", *again)
    assert "no model takes these columns, which are ignored: `id`, `note`" in said.out
    with (tmp_path / "again.csv").open() as file:
        assert [line["arm"] for line in csv.DictReader(file)] == [line["arm"] for line in lines]


def test_what_is_counted_of_a_job_that_was_continued(capsys: pytest.CaptureFixture[str]) -> None:
    done = work.Batched(
        "wine", "out", 1, 90, 80, 0, {"a": 6, "b": 4}, 3, {"a": 0.5, "b": 0.5}, {"a": "x", "b": "x"}
    )
    _render(Console(width=200), done)
    said = capsys.readouterr().out
    assert "90 rows of 1 file, 80 of them by an earlier run" in said
    assert "a: 6 rows now, " in said
    assert "of the rows scored now: 3 rows of units that keep" in said
    _render(Console(width=200), replace(done, resumed=0))
    assert "now" not in capsys.readouterr().out


def test_a_job_that_was_ended_goes_on(shop: Shop, tmp_path: Path) -> None:
    write(tmp_path / "rows.parquet", rows_of(shop, 100))
    out = tmp_path / "out"
    words = ("batch", "modelA", "--data", f"{tmp_path}/rows.parquet", "--out", str(out))
    shop.ok(*words, "--chunk-rows", "30")
    parts = sorted(out.glob("part-*"))
    whole = [part.read_bytes() for part in parts]
    assert len(parts) == 4
    parts[1].unlink()
    kept = parts[0].stat().st_mtime_ns
    said = shop.ok(*words, "--chunk-rows", "30", "--json").document
    assert (said["rows"], said["resumed"]) == (100, 70)
    assert [part.read_bytes() for part in parts] == whole
    assert parts[0].stat().st_mtime_ns == kept
    # Not with another chunk, another model or another file.
    for other in (
        (*words, "--chunk-rows", "40"), (*words, "--chunk-rows", "30", "--keep", "alcohol"),
        ("batch", "modelB", *words[2:], "--chunk-rows", "30"),
    ):  # fmt: skip
        said_no = shop.run(*other, "--json")
        assert said_no.code == 7, said_no.out
    write(tmp_path / "rows.parquet", rows_of(shop, 100, seed=1))
    assert shop.run(*words, "--chunk-rows", "30").code == 7


def test_rows_that_are_refused(shop: Shop, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [*rows_of(shop, 20)]
    rows[13]["alcohol"] = "strong"
    write(tmp_path / "rows.jsonl", rows)
    words = ("batch", "modelA", "--data", f"{tmp_path}/rows.jsonl", "--out")
    said = shop.run(*words, f"{tmp_path}/out.jsonl", "--json")
    assert said.code == 3
    assert said.error["message"].startswith(f"`{tmp_path}/rows.jsonl`, row 13: wine/1: Column ")
    assert said.error["message"].endswith("`alcohol` takes numbers; row 13 has `strong`.")
    done = shop.ok(*words, f"{tmp_path}/ok.jsonl", "--skip-errors", "--json").document
    assert (done["rows"], done["errors"]) == (20, 1)
    lines = [json.loads(line) for line in (tmp_path / "ok.jsonl").read_text().splitlines()]
    assert [line["row"] for line in lines if line["prediction"] is None] == [13]
    assert lines[13]["error"].endswith("`alcohol` takes numbers; row 13 has `strong`.")
    assert len(lines) == 20


def test_two_models_compared(shop: Shop, tmp_path: Path) -> None:
    rows = rows_of(shop, 60)
    write(tmp_path / "rows.csv", [dict(row) for row in rows])
    words = ("batch", "modelA", "--compare", "modelB", "--data", f"{tmp_path}/rows.csv")
    found = shop.ok(*words, "--chunk-rows", "17", "--json").document
    a, b = (np.array(served(shop, rows, arm)) for arm in ("modelA", "modelB"))
    fits("batch-compare", found)
    numbers = found["numbers"]
    assert found["rows"] == 60
    assert numbers["mean"] == pytest.approx((b - a).mean(), rel=1e-9)
    assert numbers["sd"] == pytest.approx((b - a).std(ddof=1), rel=1e-9)
    assert numbers["correlation"] == pytest.approx(np.corrcoef(a, b)[0, 1], rel=1e-9)
    assert numbers["quantiles_abs"][3] == pytest.approx(np.abs(b - a).max())
    worst = [int(at) for at in np.argsort(-np.abs(b - a))[:10]]
    assert [place["row"] for place in found["worst"]] == worst
    same = shop.ok("batch", "modelA", "--compare", "modelA", *words[4:], "--json").document
    assert (same["equal"], same["worst"]) == (60, [])
    assert "rows that differ most" in shop.ok(*words).out


def test_from_a_store_to_a_store(shop: Shop, minio: Minio, tmp_path: Path) -> None:
    bucket = minio.bucket()
    client = minio.client("s3")
    for number in (1, 2):
        path = write(tmp_path / f"rows-{number}.parquet", rows_of(shop, 10, seed=number))
        client.upload_file(str(path), bucket, f"in/{path.name}")
    client.put_object(Bucket=bucket, Key="in/readme.txt", Body=b"no rows")
    there = Shop(shop.folder, shop.name, minio.environ)
    words = ("--data", f"s3://{bucket}/in/*.parquet", "--out", f"s3://{bucket}/out")
    said = there.ok("batch", "wine", *words, "--json").document
    assert (said["rows"], said["files"]) == (20, 2)
    listed = client.list_objects_v2(Bucket=bucket, Prefix="out/")["Contents"]
    assert sorted(each["Key"] for each in listed) == [
        "out/_batch.json", "out/part-00000-0000000.parquet", "out/part-00001-0000000.parquet",
    ]  # fmt: skip
    assert there.ok("batch", "wine", *words, "--json").document["resumed"] == 20


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("modelA", "--data", "none/*.csv", "--out", "x"), 5, "No file fits"),
        (("modelA", "--data", "rows.xls", "--out", "x"), 3, "form of"),
        (("modelA", "--data", "rows.csv"), 2, "--out"),
        (("modelA", "--data", "rows.csv", "--out", "x", "--keep", "age"), 3, "`age`"),
        (("nobody", "--data", "rows.csv", "--out", "x"), 5, "nobody"),
    ],
)
def test_what_is_wrong_is_told(
    shop: Shop, tmp_path: Path, words: tuple[str, ...], code: int, said: str
) -> None:
    write(tmp_path / "rows.csv", [dict(row) for row in rows_of(shop, 2)])
    shutil.copy(tmp_path / "rows.csv", tmp_path / "rows.xls")
    at = {"rows.csv", "rows.xls", "none/*.csv", "x"}
    found = shop.run("batch", *(f"{tmp_path}/{word}" if word in at else word for word in words))
    assert (found.code, said in found.err) == (code, True), found.err
