"""Deployments on a cluster: plan by the server's dry run, apply, wait, prune, record.

The order lets a kill at any point be mended by the next command: the ledger knows the intent, and
which objects it is about, before anything is applied; applying is idempotent; the ledger moves
once all is ready. What is no longer needed goes last: whatever becomes of it, the ledger is right.
"""
