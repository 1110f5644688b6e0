"""What an operator types, by subject; cli.py hangs these on `partner`."""
