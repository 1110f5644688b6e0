"""Alive, and able."""
