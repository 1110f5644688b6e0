"""What is left of the broker's limits."""
