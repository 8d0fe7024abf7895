"""The server against MLflow's own: the same models, the same requests, the same answers.

`python -m tests.compatibility` prints the table; `test_mlflow_server.py` fails on any difference
that `differences.py` does not list, and on any listed one that no longer occurs.
"""
