"""Everything that watches a deployment reads its journal, in a process beside the server.

The server appends, and does not know its readers. A consumer is given what the journal holds, in
the journal's order, from where it was; one that is slow, broken or away delays no prediction and
loses nothing, it lags.

    python -P -m mlops.consumers      started and watched by the server, see `mlops.consumers.host`
"""

from mlops.consumers.base import Batch, Consumed, Consumer, Context, Maker
from mlops.plugins import Plugins

#: Consumers by name; other packages add theirs as entry points.
CONSUMERS: Plugins[Maker] = Plugins(
    "consumer",
    {
        "alerts": "mlops.consumers.webhook:Webhook",
        "journal-size": "mlops.consumers.journal_size:JournalSize",
        "policy": "mlops.consumers.policy_state:PolicyState",
        # Flows across parts; found by name, as their layer is above this one.
        # One for each sink, called `log:NAME`.
        "log": "mlops.workflows.tagged_log:TaggedLog",
        "drift": "mlops.workflows.drift_consumer:DriftConsumer",
        "outliers": "mlops.workflows.outliers_consumer:OutliersConsumer",
        "quality": "mlops.workflows.quality_consumer:QualityConsumer",
        "ramp": "mlops.workflows.auto_ramp:AutoRamp",
    },
    group="mlops.consumers",
    needs=("__call__",),
)

__all__ = ["CONSUMERS", "Batch", "Consumed", "Consumer", "Context", "Maker"]
