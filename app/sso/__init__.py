"""Signing in at the broker and coming back."""
