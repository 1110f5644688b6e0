"""A broker that fits in a terminal: Gopocket's sign-in and reads, from our own reading of its contract.

It knows nothing of the backend and is reached by URL only.
"""
