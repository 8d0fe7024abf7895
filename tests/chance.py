"""Tests whose requests draw their arms, and chance.

In a sound experiment one look in twenty to forty finds the split in doubt, and one in hundreds a
mismatch. The verdict then waits, as it should, and a test of what it says has to draw again.
"""

import pytest

#: How a report says so; a table may break it between any words.
_DOUBT = r"further\W+from\W+the\W+weights|did\W+not\W+follow\W+the\W+weights"

#: Repeats a test that failed with a report in its message which says that the split is in doubt.
by_chance = pytest.mark.flaky(reruns=3, only_rerun=[_DOUBT])
