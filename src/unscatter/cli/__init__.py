"""The command line: thin commands over the public API."""

from unscatter.cli.app import main

__all__ = ["main"]
