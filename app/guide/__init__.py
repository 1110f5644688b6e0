"""Pages that explain: problems, API, portal."""
