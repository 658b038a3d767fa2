"""Runs the command line as `python -m payments.cli`."""

from payments.cli import main

main()
