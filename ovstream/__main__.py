"""`python -m ovstream`."""

from ovstream.cli import main

main()
