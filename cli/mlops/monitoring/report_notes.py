"""What a report notes about its evidence."""

from __future__ import annotations

from mlops.monitoring.evidence import Evidence, Underived
from mlops.rewards import LARGEST
from mlops.rewards.choosing import no_reward
from mlops.rewards.exact import EXACT


def notes_of(evidence: Evidence) -> tuple[str, ...]:
    """Say what was left out of the evidence, changed in it, or could not be rewarded."""
    notes = list(evidence.notes)
    if evidence.lost:
        notes.append(
            f"{evidence.lost:,} decisions were shed under load; their feedback still counts."
        )
    notes += [_underived(each) for each in evidence.underived]
    if evidence.spec.reward == EXACT.name:
        known = [terms.classes for terms in evidence.terms]
        notes += filter(None, [evidence.truths.unknown_labels(known).sentence(known)])
    if evidence.capped and evidence.bounds:
        low, high = evidence.bounds
        notes.append(
            f"{_outcomes(evidence.capped, 'has', 'have')} a reward outside the range {low:g} to "
            f"{high:g} and {'counts' if evidence.capped == 1 else 'count'} as its nearest end: the "
            "verdict speaks of rewards so capped."
        )
    if evidence.extreme and not evidence.bounds:
        notes.append(
            f"{_outcomes(evidence.extreme, 'has', 'have')} a reward of {LARGEST:g} or more in "
            f"size and {'counts' if evidence.extreme == 1 else 'count'} as that; "
            "`mlops journal void` leaves such outcomes out."
        )
    if evidence.voided:
        notes.append(
            f"{_outcomes(evidence.voided, 'was', 'were')} voided and left out: `mlops journal void "
            "--list` names them, with reasons."
        )
    if evidence.late:
        notes.append(f"{_outcomes(evidence.late)} came after the revision had been replaced.")
    notes += _left_out(evidence)
    return tuple(notes)


def _left_out(evidence: Evidence) -> list[str]:
    """Name the outcomes and units that are not counted."""
    returning, too_late, unknown = evidence.left_out
    notes = list(evidence.over_caps)
    if returning:
        notes.append(
            f"{_outcomes(returning, 'is', 'are')} of units that came under an earlier revision; a "
            "unit counts once, in the revision it met first."
        )
    if too_late:
        notes.append(
            f"{_outcomes(too_late)} came after the feedback window had closed, and did not count."
        )
    if unknown:
        notes.append(
            f"{_outcomes(unknown, 'is', 'are')} left out: the decision, and so the unit, is not "
            "known."
        )
    if evidence.before:
        notes.append(
            f"{evidence.before:,} earlier units are left out: the experiment had been ended, or "
            "had no requests for a long time. `mlops report --all` includes them."
        )
    return notes


def _underived(each: Underived) -> str:
    return f"{_outcomes(each.count)}: {no_reward(each.reason, each.instead)}."


def _outcomes(count: int, one: str = "", many: str = "") -> str:
    """Count outcomes, with the verb that follows.

    >>> _outcomes(1, "was", "were"), _outcomes(2000, "was", "were"), _outcomes(1)
    ('1 outcome was', '2,000 outcomes were', '1 outcome')
    """
    counted = f"{count:,} outcome{'s' * (count != 1)}"
    return f"{counted} {one if count == 1 else many}".rstrip()
