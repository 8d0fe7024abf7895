"""Deployments: plan a change, show the difference, apply it.

A target turns a spec into a plan and then applies it; nothing is changed before the plan is known.
The local target starts `python -m mlops.serving` as a plain child process and talks to it through
its Unix socket; it never imports the server. Cluster targets render manifests.
"""
