"""Measurements beside what others use; a person starts them, nothing depends on them."""
