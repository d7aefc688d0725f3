"""The command line: a command opens, calls one function, prints. Torch is imported only by commands that compute."""

from autolabel.cli.main import main

__all__ = ["main"]
