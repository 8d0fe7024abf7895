"""The journal: decisions and outcomes, append-only, the only source of evidence.

Metrics, reports, bandit state, drift and off-policy estimates are all folds over these rows, so
after a kill they are the same as before. Administrative rows (revisions going live, servers
stopping) are copies of the ledger, there to align times.

An outcome is answered after its commit, so what was acknowledged is never lost; decisions are
written in batches off the request path and are shed, and counted, under overload.
"""
