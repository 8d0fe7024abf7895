"""Every metric family of `/metrics`: the one table that the server and its readers share.

The server exposes from these records, and alerts, dashboard and documentation are made from them,
so that a family has its name in one place. Labels that Prometheus adds, such as `pod`, are not
here.

Names: https://prometheus.io/docs/practices/naming/. A counter's series end in `_total`; a
histogram's in `_bucket`, `_sum` and `_count`. Counters restart at 0 with the process.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

#: Upper bounds of the buckets of all latencies, in seconds; one more is for what is beyond.
LATENCY_BOUNDS_S = (
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)


@dataclass(frozen=True, slots=True)
class Family:
    """Series of one name.

    Attributes:
        name: Its name, without a counter's `_total`.
        kind: What Prometheus calls its type.
        help: What it counts, one sentence.
        labels: Names of its labels.
        unit: Of its values; empty for plain numbers.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    unit: str = ""

    @property
    def series(self) -> str:
        """Name of its series, without a histogram's suffix.

        >>> ROWS.series, REVISION.series
        ('mlops_rows_total', 'mlops_revision')
        """
        return f"{self.name}_total" if self.kind == "counter" else self.name


_SERVER = ("deployment",)
_ARM = ("deployment", "arm", "version")
_SHADOW = ("deployment", "shadow", "version")

REQUESTS = Family("mlops_requests", "counter", "Answered prediction requests.", (*_ARM, "code"))
DURATION = Family(
    "mlops_request_duration_seconds",
    "histogram",
    "From request read to answer written.",
    _ARM,
    "seconds",
)
ROWS = Family("mlops_rows", "counter", "Rows asked about.", _ARM)
FORCED = Family("mlops_forced_requests", "counter", "Requests whose arm a tester chose.", _ARM)
DRAWN = Family(
    "mlops_drawn_requests", "counter", "Requests whose arm was drawn: all but the forced.", _ARM
)
EXPECTED = Family(
    "mlops_expected_requests",
    "counter",
    "Drawn requests of all arms times this arm's share: what it should have got.",
    _ARM,
)
WEIGHT = Family(
    "mlops_arm_weight",
    "gauge",
    "Share of the traffic that the live revision gives the arm.",
    _ARM,
    "ratio",
)

QUEUE = Family(
    "mlops_queue_duration_seconds",
    "histogram",
    "From an arm's queue entered to the model called; no sample without a queue.",
    _ARM,
    "seconds",
)
MODEL = Family(
    "mlops_model_duration_seconds", "histogram", "From the model called to its answer.", _ARM,
    "seconds",
)  # fmt: skip
CALLS = Family(
    "mlops_model_calls", "counter", "Calls of the model, which several requests may share.", _ARM
)
QUEUED = Family("mlops_queued_requests", "gauge", "Requests in an arm's queue.", _ARM)
RUNNING = Family("mlops_running_requests", "gauge", "Requests that an arm's model has.", _ARM)
REJECTED = Family(
    "mlops_rejected_requests", "counter", "Requests that found an arm's queue full.", _ARM
)
EXPIRED = Family(
    "mlops_expired_requests", "counter", "Requests whose deadline passed at an arm.", _ARM
)

REWARDS = Family("mlops_rewards", "counter", "Rewards received.", _ARM)
REWARD_POSITIVE = Family("mlops_reward_positive", "counter", "Sum of positive rewards.", _ARM)
REWARD_NEGATIVE = Family(
    "mlops_reward_negative", "counter", "Sum of negative rewards, sign dropped.", _ARM
)
TRUTHS = Family("mlops_truths", "counter", "Numeric truths received.", _ARM)
SQUARED_ERROR = Family("mlops_squared_error", "counter", "Sum of squared errors.", _ARM)
ABSOLUTE_ERROR = Family("mlops_absolute_error", "counter", "Sum of absolute errors.", _ARM)
RMSE = Family(
    "mlops_rmse",
    "gauge",
    "Root mean squared error against the truth, since the process started.",
    _ARM,
)
MAE = Family(
    "mlops_mae", "gauge", "Mean absolute error against the truth, since the process started.", _ARM
)
LABELS = Family("mlops_labels", "counter", "Labels received that are not numbers.", _ARM)
CORRECT = Family("mlops_correct_labels", "counter", "Predictions equal to such a truth.", _ARM)
ACCURACY = Family(
    "mlops_accuracy",
    "gauge",
    "Share of predictions equal to the truth, since the process started.",
    _ARM,
    "ratio",
)

SHADOW_REQUESTS = Family(
    "mlops_shadow_requests", "counter", "Copies that a shadow answered.", (*_SHADOW, "code")
)
SHADOW_DURATION = Family(
    "mlops_shadow_duration_seconds",
    "histogram",
    "From a copy's turn to the shadow's answer.",
    _SHADOW,
    "seconds",
)
SHADOW_DROPPED = Family(
    "mlops_shadow_dropped", "counter", "Copies that found a shadow's queue full.", _SHADOW
)
SHADOW_WAITING = Family(
    "mlops_shadow_waiting", "gauge", "Copies that a shadow has not answered yet.", _SERVER
)

FEEDBACK = Family(
    "mlops_feedback", "counter", "Feedback by what became of it.", (*_SERVER, "outcome")
)
REFUSED = Family(
    "mlops_refused_requests",
    "counter",
    "Requests that could not be read, by protocol.",
    (*_SERVER, "protocol"),
)
ENDPOINT_UP = Family(
    "mlops_endpoint_up",
    "gauge",
    "Whether the endpoint of an arm or shadow answered the last probe.",
    (*_SERVER, "arm"),
)
REVISION = Family("mlops_revision", "gauge", "Number of the live revision.", _SERVER)
JOURNAL_PENDING = Family(
    "mlops_journal_pending", "gauge", "Decisions that are not written yet.", _SERVER
)
JOURNAL_SHED = Family(
    "mlops_journal_shed",
    "counter",
    "Decisions shed; the journal lacks their rows.",
    _SERVER,
)
JOURNAL_FEATURES = Family(
    "mlops_journal_features_left_out",
    "counter",
    "Requests written without their features: too large, or the disk or `max_mb` was reached.",
    _SERVER,
)

_CONSUMER = (*_SERVER, "consumer")
CONSUMER_LAG = Family(
    "mlops_consumer_lag_events",
    "gauge",
    "Events of the journal that a consumer has not taken yet.",
    _CONSUMER,
)
CONSUMER_LAG_SECONDS = Family(
    "mlops_consumer_lag_seconds",
    "gauge",
    "How long the oldest event waits for a consumer.",
    _CONSUMER,
    "seconds",
)
CONSUMER_SENT = Family("mlops_consumer_sent", "counter", "Events a consumer took.", _CONSUMER)
CONSUMER_FAILED = Family(
    "mlops_consumer_failed",
    "counter",
    "Batches that a consumer could not take, and is given again.",
    _CONSUMER,
)
CONSUMER_DROPPED = Family(
    "mlops_consumer_dropped", "counter", "Events a consumer left out to sample.", _CONSUMER
)

_FEATURE = (*_ARM, "feature")
DRIFT_E_VALUE = Family(
    "mlops_drift_e_value",
    "gauge",
    "Evidence that a feature, or the answers, moved from the reference: the largest e-value.",
    _FEATURE,
)
DRIFT_ALARM = Family(
    "mlops_drift_alarm", "gauge", "1 once that evidence is an alarm, else 0.", _FEATURE
)
DRIFT_PSI = Family(
    "mlops_drift_psi",
    "gauge",
    "Population stability index of about the last 3,000 values: how far they moved.",
    _FEATURE,
)
_MEASURE = (*_ARM, "measure")
QUALITY = Family(
    "mlops_quality", "gauge", "A measure of the last 500 rows whose truth is known.", _MEASURE
)
QUALITY_LIMIT = Family(
    "mlops_quality_limit", "gauge", "Beyond what it is worse than in validation.", _MEASURE
)
QUALITY_E_VALUE = Family(
    "mlops_quality_e_value", "gauge", "Evidence that it is: the largest e-value.", _MEASURE
)
QUALITY_ALARM = Family(
    "mlops_quality_alarm", "gauge", "1 once that evidence is an alarm, else 0.", _MEASURE
)
QUALITY_JUDGED = Family(
    "mlops_quality_judged_up_to_seconds",
    "gauge",
    "When the newest request whose truth is known was asked; no sample before the first.",
    _ARM,
    "seconds",
)
OUTLIER_SHARE = Family(
    "mlops_outlier_share",
    "gauge",
    "Share of about the last 1,000 rows that is flagged; 1 % of rows as in training.",
    _ARM,
    "ratio",
)
OUTLIER_ROWS = Family("mlops_outlier_rows", "gauge", "Rows that were flagged so far.", _ARM)
#: The value of the label `feature` for the answers of an arm.
PREDICTION = "prediction"

VERDICT = Family(
    "mlops_verdict",
    "gauge",
    "1 go on, 0 not decided, -1 stop: as /verdict.json, where guardrails are declared.",
    _SERVER,
)
GUARDRAILS = Family(
    "mlops_guardrails",
    "gauge",
    "1 all kept, 0 not known, -1 one is broken, where guardrails are declared.",
    _SERVER,
)

#: What consumers of the journal measure.
READINGS = (
    DRIFT_E_VALUE, DRIFT_ALARM, DRIFT_PSI, QUALITY, QUALITY_LIMIT, QUALITY_E_VALUE, QUALITY_ALARM,
    QUALITY_JUDGED, OUTLIER_SHARE, OUTLIER_ROWS,
)  # fmt: skip

#: Every family, in the order in which they are documented.
FAMILIES = (
    REQUESTS,
    DURATION,
    ROWS,
    DRAWN,
    EXPECTED,
    FORCED,
    WEIGHT,
    QUEUE,
    MODEL,
    CALLS,
    QUEUED,
    RUNNING,
    REJECTED,
    EXPIRED,
    REWARDS,
    REWARD_POSITIVE,
    REWARD_NEGATIVE,
    TRUTHS,
    SQUARED_ERROR,
    ABSOLUTE_ERROR,
    RMSE,
    MAE,
    LABELS,
    CORRECT,
    ACCURACY,
    SHADOW_REQUESTS,
    SHADOW_DURATION,
    SHADOW_DROPPED,
    SHADOW_WAITING,
    FEEDBACK,
    REFUSED,
    ENDPOINT_UP,
    REVISION,
    JOURNAL_PENDING,
    JOURNAL_SHED,
    JOURNAL_FEATURES,
    CONSUMER_LAG,
    CONSUMER_LAG_SECONDS,
    CONSUMER_SENT,
    CONSUMER_FAILED,
    CONSUMER_DROPPED,
    *READINGS,
    VERDICT,
    GUARDRAILS,
)
