"""The schema's history: numbered revisions, run by one process at a time."""
