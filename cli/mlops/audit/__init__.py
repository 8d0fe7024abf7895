"""The audit trail of a deployment: who changed what, and when, in a file that shows tampering.

The contract:

- **One entry a change**, one line of the file `.mlops/audit/NAME.jsonl`, never changed or removed.
  Each holds the SHA-256 of the one before, so changing an entry means rewriting all
  later ones. The hash of the last one is tagged in MLflow: on the deployment, where a missing
  end shows, and on each of its revisions, where a second beginning does.
- **The change comes first, where it leaves a trace of its own.** Revisions are in the ledger,
  voided outcomes and policy epochs in the journal. The trail takes them over from there
  (`sources`), each under an id by which it is taken once. A command that is killed between a change
  and its entry leaves nothing out: the next one finds the change and records it.
- **The entry comes first, where it does not.** What is to be forgotten is announced; if that cannot
  be written it is not forgotten.
- **A state is compared with the last one recorded** (configuration, keys), so a change that
  was made by hand shows, too.

Nothing removes entries: an entry is about 1 kB, and what must be kept for six months is kept for
longer.
"""

from mlops.audit.entries import Entry, Event, State
from mlops.audit.trail import Trail

__all__ = ["Entry", "Event", "State", "Trail"]
