"""Frozen records that the parts pass to each other: references, arms, revisions, request ids.

Data makes a loop, imports make a line: training → model version → deployment spec → plan →
server → journal → evidence → new spec. Each arrow is a record of this package, so no part needs
to import its neighbour.
"""
