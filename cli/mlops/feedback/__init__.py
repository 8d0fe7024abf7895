"""The client side of feedback: customers played from a file, outcomes from elsewhere, one by hand.

The server owns the HTTP route and the journal; this package only sends. It imports neither MLflow
nor pandas, because it has to answer at once.
"""
