"""The live page of a server, at `/ui`.

A page that is not open costs nothing: with the first viewer begins one sample of the counters a
second, and one process beside the server that reads the journal (`mlops.live_page`); both end with
the last one. Every viewer of a process gets the same bytes, so that the work does not depend on how
many there are.
"""
