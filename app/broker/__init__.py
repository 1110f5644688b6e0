"""The only package that speaks the broker's language."""
