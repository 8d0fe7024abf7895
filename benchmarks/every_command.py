"""Every command of the program, for faults that any of them may meet.

`tests/faults/test_faults.py` holds the list against the program.
"""

from __future__ import annotations

REASON = "a fault is played"
_ROWS = "data/customers.csv"
_NO_RUN = "0" * 32

#: Requests of a server, and feedback for some of them.
WITH_ROWS: tuple[tuple[str, ...], ...] = (
    ("predict", "--data", _ROWS),
    ("feedback", "--data", _ROWS, "--truth-column", "quality", "--limit", "5"),
)
#: Those that change nothing.
LOOK: tuple[tuple[str, ...], ...] = (
    ("status",),
    ("report",),
    ("history",),
    ("models", "list"),
    ("logs",),
    ("doctor",),
    ("audit", "show"),
    ("audit", "verify"),
    ("audit", "export", "--out", "trail.jsonl"),
    ("audit", "replay", "--request-id", "A" * 48),
    ("journal", "export", "--out", "journal.csv"),
    ("keys", "list"),
    ("models", "show", "wine/1"),
    ("models", "compare", "wine/1", "wine/2"),
    ("lineage", "wine/1"),
    ("cache", "list"),
    ("config", "show"),
    ("plan", "--lift", "0.1"),
    ("project", "show"),
    ("project", "validate"),
    ("project", "requirements"),
    ("stores", "check"),
    ("stores", "secret", "--for", "kserve"),
    ("lint", "--rules"),
    ("evaluate", "--policy", "wine-1=0.2,wine-2=0.8"),
    ("monitor", "drift"),
    ("monitor", "outliers"),
    ("monitor", "quality"),
    ("monitor", "test-alert"),
    ("explain", "--data", _ROWS),
)
#: Those that change something; together they leave the deployment as it was found, or stopped.
CHANGE: tuple[tuple[str, ...], ...] = (
    *WITH_ROWS,
    ("deploy", "--ab", "wine/1", "wine/2", "--split", "30/70"),
    ("promote", "--arm", "wine-2", "--force", REASON),
    ("rollback",),
    ("ramp",),
    ("train", "-P", "alpha=0.5", "--no-register"),
    ("models", "alias", "wine/2", "tried"),
    ("models", "register", _NO_RUN),
    ("models", "push", "wine/1", "pushed"),
    ("models", "pull", "wine/1", "pulled"),
    ("keys", "create", "tried", "--scope", "predict"),
    ("keys", "revoke", "tried"),
    ("journal", "void", "--request-id", "A" * 48, "--reason", REASON),
    ("journal", "prune", "--older-than", "30"),
    ("journal", "forget", "--unit", "nobody"),
    ("journal", "archive", "--older-than", "30"),
    ("batch", "wine/1", "--data", _ROWS, "--out", "scored.csv"),
    ("cache", "prune"),
    ("cache", "clear"),
    ("init", "another", "--template", "minimal"),
    ("stop",),
    ("start",),
)
EVERY = LOOK + CHANGE
#: First words of those that need no MLflow, also where no server runs.
WITHOUT_MLFLOW = ("status", "logs", "keys", "config", "cache", "project", "lint", "init")
#: Run until they are stopped: one serves pages, the other runs the commands above.
LEFT_OUT = (("ui",), ("demo",))
