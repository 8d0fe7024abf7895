"""Configuration of Prometheus and Grafana for a deployment, made from the table of its metrics.

`queries` writes PromQL from the families of `mlops.spec.metrics`, `alerts` and `dashboard` put the
queries into rules and panels, and `files` writes them down: for the Prometheus Operator and
Grafana's sidecar in a cluster, and as plain files for those who run without.

Several replicas: each process counts for itself, so each is scraped, and every query sums over
them. Rates are taken before sums, because a counter that restarts with its process must not
look like a fall of the sum.
"""
