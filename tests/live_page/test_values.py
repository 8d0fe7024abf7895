"""Drift and Outliers: hostile values are text, and values of hidden features are not there."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mlops.journal.records import Decision, RevisionEvent
from mlops.journal.sql import SqlJournal
from mlops.live_page.drift import Card
from mlops.live_page.looking import Look
from mlops.live_page.sections import part
from mlops.monitoring.drift import CONSUMER, Features, watch
from mlops.monitoring.drift_panel import REPORT, report_document
from mlops.monitoring.drift_streams import watch_feature
from mlops.spec.deployment import Arm, to_dict
from mlops.spec.metrics import PREDICTION
from mlops.stats import outlier_document, profile_document
from mlops.stats.profiles import profile_feature
from mlops.stats.row_codes import codings
from tests.live_page.test_parts import HOSTILE, desk_of, words
from tests.monitoring.journals import START_MS, spec_of

_REQUESTS = 400
_PERSON = "Muster"


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqlJournal]:
    """What drifted and was flagged, of a model that knows more features than are kept."""
    rng = np.random.default_rng(5)
    columns = {
        "alcohol": rng.normal(10, 1, 1000).tolist(),
        "grape": rng.choice(["red", HOSTILE], 1000).tolist(),
        # Not kept, and kept as a hash.
        "surname": rng.choice([_PERSON, "Beispiel"], 1000).tolist(),
        "city": rng.choice([_PERSON, "Beispiel"], 1000).tolist(),
    }
    features = {name: profile_feature(cells) for name, cells in columns.items()}
    profile = profile_document.Profile("wine", "", "", 1000, 1000, features)
    (tmp_path / profile_document.PROFILE_FILE).write_text(profile_document.to_json(profile))
    kept = {name: features[name] for name in ("alcohol", "grape")}
    found = outlier_document.fit_rows(columns, codings(kept))
    (tmp_path / outlier_document.OUTLIER_FILE).write_text(outlier_document.to_json(found))
    monkeypatch.setattr(Look, "folder", lambda _look, _arm: tmp_path)

    made = SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")
    spec = spec_of(["a", "b"], [0.5, 0.5], "squared-error", "")
    made.record([RevisionEvent(1, START_MS, "started", to_dict(spec))])
    rows = [[20.0 + n, HOSTILE + "?", f"{n % 7:032x}"] for n in range(_REQUESTS)]
    names = json.dumps(["alcohol", "grape", "city"]).encode()
    # The last answers are as large as a caller can make them.
    answers = [1.0] * (_REQUESTS - 2) + [1e308, -1e308]
    made.append(
        [
            Decision(
                nonce=n.to_bytes(12, "big"), time_ms=START_MS + n, revision=1, arm=n % 2,
                propensity=0.5, n_rows=1, latency_us=900, status=200, protocol="mlflow",
                features=names + b"\n" + json.dumps([row]).encode(), predictions=[answers[n]],
            )
            for n, row in enumerate(rows)
        ],
        [],
    )  # fmt: skip

    def known(arm: Arm) -> Features:
        return dict(features)

    report = watch(made, "wine", known, 0.05)
    assert report is not None
    made.remember(CONSUMER, {REPORT: report_document(report, START_MS)}, START_MS)
    yield made
    made.close()


def test_values_are_text_and_none_is_of_hidden_features(journal: SqlJournal) -> None:
    source = dataclasses.replace(desk_of(journal, "drift"), hidden=frozenset({"city"}))
    found = {name: part(source, name, 1)["html"] for name in ("drift", "outliers")}
    for name, text in found.items():
        assert "could not be made" not in text, name
        assert not re.search(r"<(script|img)", text), name
        assert HOSTILE[:40] in words(text), name
        assert _PERSON not in text, name
        # Hashes of people are no distribution to look at either.
        assert "00000000000" not in text, name
    titles = re.findall(r"<h3>(.*?)</h3>", found["drift"])
    assert sorted(titles) == ["What the arms answer", "alcohol", "grape"]
    assert "`alcohol`" not in words(found["drift"])
    assert "have drifted" in words(found["drift"])
    assert "the journal hashes or drops them: city" in words(found["drift"])
    assert "What each arm answered lately" in found["drift"]


def test_values_of_refused_requests_are_not_drawn(journal: SqlJournal) -> None:
    names = json.dumps(["alcohol", "grape", "city"]).encode()
    refused = [
        Decision(
            nonce=(_REQUESTS + n).to_bytes(12, "big"), time_ms=START_MS + n, revision=1, arm=0,
            propensity=0.5, n_rows=1, latency_us=900, status=400, protocol="mlflow",
            features=names + b"\n" + json.dumps([[1.0, "refused", "x"]]).encode(), predictions=None,
        )
        for n in range(3 * _REQUESTS)
    ]  # fmt: skip
    before = part(desk_of(journal, "drift"), "drift", 1)["html"]
    journal.append(refused, [])
    assert part(desk_of(journal, "drift"), "drift", 1)["html"] == before
    assert "median" in before


def test_answers_that_are_texts_are_said_to_be_compared() -> None:
    paid = watch_feature(None)
    paid.take(["paid"] * 1_009, np.zeros(1_009, dtype=np.int64))
    few = watch_feature(None)
    few.take(["late"] * 9, np.zeros(9, dtype=np.int64))
    streams = [paid.stream("a", PREDICTION, 600.0), few.stream("b", PREDICTION, 600.0)]
    assert Card(PREDICTION, streams).not_drawn == (
        "Only answers that are numbers are drawn. a: 9 were compared with the first 1,000; "
        "b: its reference is the first 1,000 values, of which 9 came."
    )
