"""What ours is compared with: the same duty, written for the purpose, small and fair."""
