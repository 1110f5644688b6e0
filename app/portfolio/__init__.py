"""Holdings and positions."""
