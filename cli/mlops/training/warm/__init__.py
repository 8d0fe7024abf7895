"""The warm parent: a process that has imported everything once and forks for every run.

This package runs inside the interpreter of the project's environment, which need not have mlops'
dependencies; so it imports nothing but the standard library, MLflow and what a script of the
project imported before (and threadpoolctl, if scikit-learn installed it).

What makes the fork safe: the pools of BLAS, OpenMP and numexpr are limited to one thread before
the imports, so that no native thread is lost in the fork, and get their natural size back in the
child; the parent refuses to fork with a second Python thread; and it never opens a store, so no
connection is shared. What makes the child faithful is in `script`.
"""
