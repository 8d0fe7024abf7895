"""Does traffic arrive in the declared ratio? Asked in PromQL, at every evaluation.

Symbols:
    x_i    drawn requests of arm i, summed over all running servers
    e_i    what arm i should have got of them: the sum of its shares at each draw
    n      sum of x_i; k arms with e_i > 0
    X2     Pearson's statistic, sum (x_i - e_i)^2 / e_i
    c      concentration of the prior on the real shares, in requests
    E      e-value: how much better another split explains the counts than the declared one

    log E = X2/2 * n / (n + c)  -  (k - 1)/2 * log(1 + n / c)

Pearson's test with its critical value is made for one look, and a rule is evaluated every half
minute: evaluated forever, it rejects a right split with certainty. So the statistic is put into
the normal mixture (Robbins, "Statistical methods related to the law of the iterated logarithm",
1970), which is what the report's own test (`mlops.stats.sample_ratio`; Lindon & Malek, arXiv
2011.03567) becomes where counts are large. Under the declared split E exceeds 1/alpha with
probability at most about alpha, ever. "About", because X2 is normal only in the limit: so nothing
is said while an arm expects fewer than `FEWEST` requests.

Counters are taken as they are, and not through `increase`: x and e are of the same process from
its start, so a restart resets both, and there is no window at whose edges one
would be stretched otherwise than the other. A test so begins with its servers; `mlops report` looks
at the whole life of the experiment, and its answer counts.

Shares may change (another revision in the same process): e adds them up draw by draw. The variance
that X2 assumes is then no smaller than the real one, which errs towards no alarm.

Requests must be independent draws. Where a unit sticks to its arm they are not, and no rule is
made; the report counts units there. Retries with one Idempotency-Key are drawn once and counted
each time, so many retries of one arm's failures can raise an alarm.
"""

from __future__ import annotations

import math

from mlops.deployment.prometheus.queries import ARM, Queries, summed
from mlops.spec import metrics as m
from mlops.spec.deployment import DeploymentSpec

#: Probability of a false alarm in the life of a set of servers, as in the report.
ALPHA = 0.01
#: Prior concentration c; detects small drifts soonest near ten times as many requests.
CONCENTRATION = 1000
#: Least expected count of an arm.
FEWEST = 20


def testable(spec: DeploymentSpec) -> bool:
    """Whether the counts of requests of `spec` can be tested against its weights."""
    return len(spec.arms) > 1 and not spec.sticky_by


def evidence(queries: Queries) -> str:
    """PromQL of log E; not there while nothing was drawn."""
    x, e = queries.now(m.DRAWN, ARM), queries.now(m.EXPECTED, ARM)
    n, c = queries.now(m.DRAWN), CONCENTRATION
    statistic = summed(f"({x} - {e}) ^ 2\n/ ({e} > 0)")
    return (
        f"0.5 * {statistic}\n* {n}\n/ ({n} + {c})\n"
        f"- 0.5 * (count ({e} > 0) - 1)\n* ln(1 + {n} / {c})"
    )


def least_expected(queries: Queries) -> str:
    """PromQL of the least count that an arm expects."""
    return f"min ({queries.now(m.EXPECTED, ARM)} > 0)"


#: log E beyond which there is an alarm.
LIMIT = round(math.log(1 / ALPHA), 3)
