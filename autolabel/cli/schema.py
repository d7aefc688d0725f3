"""Command `schema`: the JSON schema of experiment files, for editors."""

from __future__ import annotations

import json

import click


@click.command()
def schema() -> None:
    """Print the JSON schema of experiment files: editors check and complete settings with it."""
    from autolabel.config.reference import experiment_schema

    click.echo(json.dumps(experiment_schema(), indent=2))


COMMANDS = [schema]
