"""What the broker's book says."""
