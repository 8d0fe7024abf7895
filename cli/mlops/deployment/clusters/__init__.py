"""Deployments on a cluster: plan by the server's dry run, apply, wait, prune, record.

The order lets the next command recover from a kill at any point: the ledger knows the intent, and
which objects it is about, before anything is applied; applying is idempotent; the ledger moves
once all is ready. What is no longer needed is removed last: if that fails, the ledger is right.
"""
