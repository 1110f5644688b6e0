"""A broker that fits in a terminal: Gopocket's sign-in, reads and order entry, from our own reading of its contract.

It knows nothing of the backend and is reached by URL only.
"""
