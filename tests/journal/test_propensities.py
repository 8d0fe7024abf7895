"""Probabilities in force, from the epochs of a journal."""

from __future__ import annotations

import pytest

from mlops.journal.propensities import Propensities
from mlops.journal.records import PolicyEpoch, RevisionEvent
from mlops.journal.sql import SqlJournal
from tests.journal.rows import T0


def test_a_decision_finds_the_probabilities_it_was_drawn_with() -> None:
    journal = SqlJournal("sqlite://")
    weights = {"arms": [{"name": "a", "weight": 0.25}, {"name": "b", "weight": 0.75}]}
    journal.record([RevisionEvent(1, T0, "started", weights)])
    journal.record([PolicyEpoch(1, 2, T0 + 20, (0.1, 0.9)), PolicyEpoch(1, 1, T0 + 10, (0.5, 0.5))])
    known = Propensities(journal.epochs())
    assert [known.of(1, epoch) for epoch in (0, 1, 2)] == [(0.25, 0.75), (0.5, 0.5), (0.1, 0.9)]
    assert [known.at(1, T0 + ms)[0] for ms in (-5, 0, 9, 10, 99)] == [0.25, 0.25, 0.25, 0.5, 0.1]
    assert known.newest(1).epoch == 2
    for revision, epoch in ((1, 9), (2, 0)):
        with pytest.raises(KeyError):
            known.of(revision, epoch)
    with pytest.raises(KeyError):
        known.at(2, T0)
    journal.close()
