"""PromQL from metric families: no query names a series by itself.

Language: https://prometheus.io/docs/prometheus/latest/querying/basics/. Only what Prometheus 2.42
has is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import indent

from mlops.spec import metrics as m
from mlops.spec.metrics import Family

#: How arms are told apart: another version may have had the same name before.
ARM = ("arm", "version")
SHADOW = ("shadow", "version")
_FAILED = "5.."


@dataclass(frozen=True, slots=True)
class Queries:
    """Queries about one deployment.

    Attributes:
        deployment: Its name.
        namespace: Where it is, so that one of the same name elsewhere is not counted in; empty
            where that is not known or there are none.
    """

    deployment: str
    namespace: str = ""

    def of(self, family: Family, suffix: str = "", **matchers: str) -> str:
        """Select the series of a family.

        Args:
            family: The family.
            suffix: `_bucket`, `_sum` or `_count` of a histogram.
            matchers: Label to a regular expression that its value must match.

        Raises:
            ValueError: The family has no such label, or needs a suffix.
        """
        unknown = set(matchers) - set(family.labels)
        if unknown or bool(suffix) != (family.kind == "histogram"):
            raise ValueError(f"{family.name}: {sorted(unknown)} {suffix!r}")
        where = [f'deployment="{self.deployment}"']
        where += [f'namespace="{self.namespace}"'] if self.namespace else []
        where += [f'{label}=~"{pattern}"' for label, pattern in matchers.items()]
        return f"{family.series}{suffix}{{{','.join(where)}}}"

    def total(self, family: Family, by: Sequence[str], window: str, **matchers: str) -> str:
        """Sum the growth per second of a counter over all replicas."""
        _check(family, by)
        return summed(f"rate({self.of(family, **matchers)}[{window}])", by)

    def grown(self, family: Family, window: str, ago: str = "", **matchers: str) -> str:
        """Sum what a counter grew by within a window, or within one that ended some time `ago`."""
        offset = f" offset {ago}" if ago else ""
        return summed(f"increase({self.of(family, **matchers)}[{window}]{offset})")

    def errors(self, window: str, by: Sequence[str] = ARM, family: Family = m.REQUESTS) -> str:
        """Share of the answers that are server errors; 0 without any, nothing without requests."""
        every = self.total(family, by, window)
        failed = self.total(family, by, window, code=_FAILED)
        return f"({failed} or 0 * {every})\n/ {every}"

    def latency(
        self, quantile: float, window: str, by: Sequence[str] = ARM, family: Family = m.DURATION
    ) -> str:
        """Latency in seconds that a share `quantile` of the requests does not exceed."""
        _check(family, by)
        buckets = summed(f"rate({self.of(family, '_bucket')}[{window}])", (*by, "le"))
        return f"histogram_quantile({quantile:g}, {buckets})"

    def mean_reward(self, window: str) -> str:
        """Mean reward by arm."""
        positive = self.total(m.REWARD_POSITIVE, ARM, window)
        negative = self.total(m.REWARD_NEGATIVE, ARM, window)
        return f"({positive} - {negative})\n/ {self.total(m.REWARDS, ARM, window)}"

    def per(self, family: Family, count: Family, window: str) -> str:
        """Growth of one counter for each step of another, by arm."""
        return f"{self.total(family, ARM, window)}\n/ {self.total(count, ARM, window)}"

    def share(self, family: Family, window: str) -> str:
        """Share that each arm has of a counter's growth."""
        every = self.total(family, (), window)
        return f"{self.total(family, ARM, window)}\n/ on () group_left () {every}"

    def now(self, family: Family, by: Sequence[str] = ()) -> str:
        """Sum the values of a family over all replicas as they are."""
        _check(family, by)
        return summed(self.of(family), by)


def summed(query: str, by: Sequence[str] = ()) -> str:
    """Sum a query's series, in lines that can be read."""
    head = f"sum by ({', '.join(by)})" if by else "sum"
    return f"{head} (\n{indent(query, '  ')}\n)"


def _check(family: Family, by: Sequence[str]) -> None:
    unknown = set(by) - set(family.labels)
    if unknown:
        raise ValueError(f"{family.name} has no {sorted(unknown)}")
