"""Tests whose requests draw their arms, and chance.

In a sound experiment one look in twenty to forty finds the split in doubt, one in hundreds a
mismatch, and as many find labels that seem to depend on the answer. The verdict then waits, as it
should, and a test of what it says has to draw again.
"""

import pytest

#: How a report says so; a table may break it between any words.
_DOUBTS = (
    "further from the weights",
    "did not follow the weights",
    "Labels depend on the answer",
)
_DOUBT = "|".join(each.replace(" ", r"\W+") for each in _DOUBTS)

#: Repeats a test that failed with a report in its message which says that the split is in doubt.
#: The message must be text: pytest cuts out the middle of anything else.
by_chance = pytest.mark.flaky(reruns=3, only_rerun=[_DOUBT])
