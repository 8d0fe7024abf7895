"""The single unseen loss that would turn a verdict."""

import numpy as np
import pytest

from mlops.stats.difference import difference_sequence
from mlops.stats.sequence import ConfidenceSequence
from mlops.stats.weakest import turning_loss


def decided(better: int = 1, n: int = 3000, share: float = 0.3) -> tuple[ConfidenceSequence, ...]:
    rng = np.random.default_rng(0)
    arms = (rng.random(n) < share).astype(np.int64)
    rewards = rng.normal(0.4 * (arms == better), 1.0)
    loss = turning_loss(compare(arms, rewards, share), (share, 1 - share), within=0)
    assert loss is not None
    grown = np.append(arms, better), np.append(rewards, 0.4 - 0.9 * loss.loss)
    turned = np.append(arms, better), np.append(rewards, 0.4 - 1.1 * loss.loss)
    return compare(arms, rewards, share), compare(*grown, share), compare(*turned, share)


def compare(arms: np.ndarray, rewards: np.ndarray, share: float) -> ConfidenceSequence:
    return difference_sequence(
        arms, rewards, np.where(arms == 1, share, 1 - share), candidate=1, baseline=0
    )


@pytest.mark.parametrize("better", [1, 0])
def test_a_loss_of_that_size_turns_the_verdict_and_a_smaller_one_does_not(better: int) -> None:
    before, smaller, larger = decided(better)

    assert before.excludes()[-1]
    assert smaller.excludes()[-1]
    assert not larger.excludes()[-1]


def test_more_evidence_by_then_takes_a_larger_loss() -> None:
    rng = np.random.default_rng(1)
    arms = rng.integers(0, 2, 2000)
    found = compare(arms, rng.normal(0.4 * arms), 0.5)

    soon, later = (turning_loss(found, (0.5, 0.5), within=m) for m in (0, 2000))

    assert soon is not None
    assert later is not None
    assert later.loss > 1.3 * soon.loss
    assert soon.unseen_rate == pytest.approx(3 / min((arms == 0).sum(), (arms == 1).sum()))


def test_nothing_decided_nothing_to_turn() -> None:
    rng = np.random.default_rng(2)
    arms = rng.integers(0, 2, 500)

    assert turning_loss(compare(arms, rng.normal(size=500), 0.5), (0.5, 0.5)) is None
    with pytest.raises(ValueError, match="shares"):
        turning_loss(compare(arms, rng.normal(size=500), 0.5), (0.0, 0.5))
