"""What stands between a caller and harm."""
