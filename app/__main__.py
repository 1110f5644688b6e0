"""`python -m app`: the same as the console script `partner`."""

from app.cli import main

main()
