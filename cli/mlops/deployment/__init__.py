"""Deployments: plan a change, show the difference, apply it.

A target turns a request into a plan and then applies it; nothing is changed before the plan is
known. Each has the same verbs (`mlops.deployment.targets.contract`), and one pipeline drives all of
them (`mlops.deployment.deploy`):

    local_target     this machine: starts `python -m mlops.serving` as a child process and talks to
                     its Unix socket; never imports the server
    clusters.target  platforms on Kubernetes; what renders their manifests is in `targets`
    files_target     those that only write files

`locate` says which target a deployment is on: by the ledger, which is asked only where it has to.
"""
