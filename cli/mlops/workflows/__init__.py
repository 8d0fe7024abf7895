"""Flows that cross parts: replay against a deployment, promotion, rollback, the demo.

This is the only place where the loop closes: evidence from `monitoring` becomes a new spec for
`deployment` and moves names in the `registry`.
"""
