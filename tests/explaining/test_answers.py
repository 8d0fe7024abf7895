"""What callers of `:explain` are told, who may be anyone with the scope `score`."""

from __future__ import annotations

import json
import logging
import operator
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlops.errors import InvalidInputError
from mlops.explaining import Explainable, Importance, explain
from mlops.explaining.__main__ import answered
from mlops.journal.features import Hiding, features_of
from mlops.journal.sql import SqlJournal
from mlops.protocols.base import Columns, Kind, ProtocolError, Records
from mlops.serving.explaining import output_of
from mlops.serving.importance import LiveImportance
from mlops.tables.signature import Column, Signature
from tests.journal.rows import decision

ROWS = [{"n": 3.0, "c": 1.0}]
PAYLOAD = Columns({"n": [1.0], "c": [2.0]})


class Model:
    """Answers the sum; fails as it is told to."""

    fault: Exception | None = None
    answer: Any = staticmethod(operator.add)

    def predict(self, payload: Any, _: Any) -> Any:
        if self.fault is not None:
            raise self.fault
        return self.answer(np.array(payload.values["n"]), np.array(payload.values["c"]))


def models(fault: Exception | None = None) -> dict[str, Explainable]:
    model = Model()
    model.fault = fault
    signature = Signature((Column("n", "double"), Column("c", "double")))
    return {"a": Explainable(signature, model, None)}


def asked(folder: Path, **requests: Any) -> dict[str, Any]:
    url = f"sqlite:///{folder / 'journal.db'}"
    journal = SqlJournal(url)
    if requests:
        journal.append([decision(1)._replace(**requests)], [])
    journal.close()
    return {"deployment": "wine", "journal_url": url, "arms": []}


def test_the_shares(tmp_path: Path) -> None:
    answer = answered(
        asked(tmp_path, features=features_of(PAYLOAD, "all")), models(), {"rows": ROWS}
    )
    found = answer["explanations"][0]["a"]
    assert found["shares"] == pytest.approx({"n": 2.0, "c": -1.0})
    assert found["note"].startswith("The shares count from 1 row; with fewer than 30,")


@pytest.mark.parametrize(
    ("requests", "said"),
    [
        ({}, "no requests yet"),
        ({"features": None}, "has all features"),
        ({"features": features_of(PAYLOAD, ("n",))}, "has all features"),
        ({"features": features_of(PAYLOAD, "all", (), Hiding(dropped=("c",)))}, "has all features"),
        (
            {"features": features_of(PAYLOAD, "all", (), Hiding(hashed=("c",), key=b"k"))},
            "has all features",
        ),
    ],
)
def test_features_that_are_not_kept_are_not_called_no_requests(
    tmp_path: Path, requests: dict[str, Any], said: str
) -> None:
    assert said in answered(asked(tmp_path, **requests), models(), {"rows": ROWS})["refused"]


def test_locations_and_causes_go_to_the_log_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    kept = asked(tmp_path, features=features_of(PAYLOAD, "all"))
    arm = {"name": "a", "path": str(tmp_path / "secret-place"), "python": ""}
    away = {**kept, "journal_url": "postgresql+psycopg://secret-user:pw@127.0.0.1:1/db"}
    unreadable = {**kept, "journal_url": "env:SECRET_VARIABLE"}
    cases = [
        answered({**kept, "arms": [arm]}, {}, {"rows": ROWS}),
        answered(away, models(), {"rows": ROWS}),
        answered(unreadable, models(), {"rows": ROWS}),
        answered(kept, models(ValueError("secret cells")), {"rows": ROWS}),
    ]
    for answer in cases:
        assert list(answer) == ["failed"]
        assert "log says why" in answer["failed"]
        assert "secret" not in answer["failed"].lower()
    for word in ("secret-place", "secret-user", "SECRET_VARIABLE", "secret cells"):
        assert word in caplog.text


def test_callers_are_told_what_is_wrong_with_their_rows(tmp_path: Path) -> None:
    kept = asked(tmp_path, features=features_of(PAYLOAD, "all"))
    refusing = models(ProtocolError(Kind.MISMATCH, "`n` must be a number"))
    assert "`n` must be a number" in answered(kept, refusing, {"rows": ROWS})["refused"]


def test_one_of_several_outputs_can_be_asked_for(tmp_path: Path) -> None:
    kept = asked(tmp_path, features=features_of(PAYLOAD, "all"))
    several = models()
    model: Any = several["a"].model

    def told(output: str) -> tuple[str, float]:
        question = {"rows": ROWS, "output": output}
        found = answered(kept, several, question)["explanations"][0]["a"]
        assert found["base"] + sum(found["shares"].values()) == pytest.approx(found["prediction"])
        return found["output"], found["prediction"]

    model.answer = lambda n, c: {"sum": n + c, "difference": n - c}
    assert told("") == ("output sum, the first of 2", 4.0)
    assert told("difference") == ("output difference", 2.0)
    refused = answered(kept, several, {"rows": ROWS, "output": "price"})["refused"]
    assert "no output `price`, only `sum`, `difference`" in refused
    model.answer = lambda n, c: np.stack([n + c, n - c], axis=1)
    assert told("1") == ("output 1", 2.0)


@pytest.mark.parametrize(
    ("document", "output"),
    [({}, ""), ({"output": None}, ""), ({"output": "sum"}, "sum"), ({"output": 1}, "1")],
)
def test_the_output_that_a_request_asks_for(document: dict[str, Any], output: str) -> None:
    assert output_of(document) == output


@pytest.mark.parametrize("output", [True, 1.5, ["sum"], {}])
def test_an_output_that_is_no_name_is_refused(output: Any) -> None:
    with pytest.raises(ProtocolError, match="`output` must be a name or a position"):
        output_of({"output": output})


def test_no_rows_cannot_be_explained() -> None:
    nothing: dict[str, list[Any]] = {"n": [], "c": []}
    with pytest.raises(InvalidInputError, match=r"^There are no rows to explain\.$"):
        explain(models()["a"], nothing, {"n": [1.0], "c": [2.0]})


def test_importance_is_the_mean_size_of_a_share(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    journal = SqlJournal(url)
    rows = [{"n": float(i), "c": float(i % 2)} for i in range(20)]
    journal.append(
        [
            decision(i)._replace(features=features_of(Records([row]), "all"))
            for i, row in enumerate(rows)
        ],
        [],
    )  # fmt: skip
    journal.close()
    kept = {"deployment": "wine", "journal_url": url, "arms": []}
    (document,) = answered(kept, models(), {"importance": True})["importance"]
    found = Importance.read(document)
    assert (found.arm, found.method, found.exact, found.rows) == ("a", "permutations", False, 20)
    first, second = found.features
    # Of a sum a share is the cell minus its mean.
    assert (first.feature, second.feature) == ("n", "c")
    assert [first.mean, second.mean] == pytest.approx([5.0, 0.5])
    sizes = [abs(i - 9.5) for i in range(20)]
    assert first.error == pytest.approx(np.std(sizes, ddof=1) / 20**0.5)


def test_few_requests_say_nothing_of_importance(tmp_path: Path) -> None:
    kept = asked(tmp_path, features=features_of(PAYLOAD, "all"))
    said = answered(kept, models(), {"importance": True})
    assert "needs 20 requests with all features; of the newest, 1 are such" in said["refused"]


def test_importance_beside_a_server_is_made_once_somebody_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked_for, now = [], [0.0]
    spec = SimpleNamespace(arms=[SimpleNamespace(name="a"), SimpleNamespace(name="far")])
    served = SimpleNamespace(
        revision=SimpleNamespace(spec=spec), paths=("here", ""), python_of=lambda _: ""
    )

    def run(_: object, **options: Any) -> Any:
        asked_for.append([json.loads(line) for line in options["input"].splitlines()])
        return SimpleNamespace(stdout='{"importance": [{"arm": "a"}]}')

    monkeypatch.setattr(subprocess, "run", run)
    live = SimpleNamespace(served=served)
    looking = LiveImportance(lambda: live, "wine", "url", lambda: now[0])  # type: ignore[arg-type,return-value]

    def look() -> dict[str, Any]:
        found = looking()
        assert looking._thread is not None
        looking._thread.join()
        return found

    assert look() == {}
    assert look() == look() == {"importance": [{"arm": "a"}]}
    (first,) = asked_for
    assert first[0]["arms"] == [{"name": "a", "path": "here", "python": ""}]
    assert first[1] == {"importance": True}
    now[0] = 601.0
    look()
    assert len(asked_for) == 2
    # What was made of other models is not shown.
    live.served = SimpleNamespace(revision=served.revision, paths=("b", ""), python_of=lambda _: "")
    assert look() == {}
    assert look() == {"importance": [{"arm": "a"}]}


@pytest.mark.parametrize(
    ("stdout", "why"),
    [('{"refused": "too few"}', "too few"), ('{"failed": "no model"}', "no model"), ("", "log")],
)
def test_where_importance_cannot_be_made_it_is_said_and_tried_ever_less(
    monkeypatch: pytest.MonkeyPatch, stdout: str, why: str
) -> None:
    tried, now = [], [0.0]
    spec = SimpleNamespace(arms=[SimpleNamespace(name="a")])
    served = SimpleNamespace(
        revision=SimpleNamespace(spec=spec), paths=("here",), python_of=lambda _: ""
    )

    def run(*_: object, **__: object) -> Any:
        tried.append(now[0])
        return SimpleNamespace(stdout=stdout)

    monkeypatch.setattr(subprocess, "run", run)
    looking = LiveImportance(
        lambda: SimpleNamespace(served=served),  # type: ignore[arg-type,return-value]
        "wine", "url", lambda: now[0],
    )  # fmt: skip
    for minute in range(80):
        now[0] = 30.0 * minute
        looking()
        assert looking._thread is not None
        looking._thread.join()
    assert why in looking()["no_importance"]
    assert tried == [0, 30, 90, 210, 450, 930, 1_530, 2_130]
