"""What the journal says: evidence, report, verdict.

Everything here is a fold over the journal, so it needs neither MLflow nor a running server, and
says the same after a crash as before.
"""
