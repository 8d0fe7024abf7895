"""The probabilities by which arms are drawn, epoch by epoch, and what traffic made of them."""

from __future__ import annotations

from mlops.journal.records import PolicyEpoch
from mlops.live_page.looking import Look
from mlops.live_page.templates import finite, render

_MOST, _TABLE = 200, 8


def shares(look: Look) -> str:
    """Write the part."""
    live, spec, journal = look.live, look.spec, look.journal
    every = journal.epochs([live.revision])
    # Vectors for requests of one kind each are no steps in time.
    found = [each for each in every if each.of_vectors is None]
    picked = _thinned(found)
    traffic = {each.arm: each for each in journal.traffic() if each.revision == live.revision}
    total = sum(each.drawn for each in traffic.values())
    got = [
        traffic[i].drawn / total if total and i in traffic else None for i in range(len(spec.arms))
    ]
    drawn = [traffic[i].drawn if i in traffic else 0 for i in range(len(spec.arms))]
    return render(
        "shares",
        revision=live.revision,
        policy=spec.policy,
        arms=[arm.name for arm in spec.arms],
        now=found[-1].probabilities if found else tuple(arm.weight for arm in spec.arms),
        got=got,
        drawn=drawn,
        epochs=found[: -_TABLE - 1 : -1],
        count=len(found),
        by_request=len(found) < len(every),
        chart={
            "arms": [arm.name for arm in spec.arms],
            "t": [each.time_ms / 1000 for each in picked],
            "shares": [
                [finite(each.probabilities[i]) for each in picked] for i in range(len(spec.arms))
            ],
        },
    )


def _thinned(found: list[PolicyEpoch]) -> list[PolicyEpoch]:
    """Take at most `_MOST` epochs, evenly, and the newest."""
    step = -(-len(found) // _MOST) or 1
    return found[::-step][::-1]
