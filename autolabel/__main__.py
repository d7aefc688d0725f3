"""`python -m autolabel`: the same command line as the console script."""

from autolabel.cli import main

main()
