"""Models that another server answers for; those of this process are in `mlops.runtimes`."""
