"""``nbinterp serve``: a server of NDIF on one's own machines.

The main process starts and ends the others, and needs neither torch nor Ray: a key-value store (Valkey or Redis), a
store for large answers (nanio), a node of Ray, and NDIF's own two processes, its web service and its dispatcher. What
of NDIF has to be told anything (where a model lies, that there is no GPU) is told through the places that NDIF provides
for that; nothing that is installed is changed.
"""
