"""`python -m alphabench`."""

from alphabench.cli import main

main()
