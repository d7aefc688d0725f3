"""Write an experiment file that says why each of its settings is as it is."""

from __future__ import annotations

from importlib.resources import files

from autolabel.config.load import toml_string
from autolabel.recommend.choose import Recommendation
from autolabel.recommend.facts import DataFacts, MachineFacts
from autolabel.recommend.foreign import ForeignTable
from autolabel.recommend.timing import Timing


def experiment_text(
    name: str,
    data_table: dict[str, str],
    *,
    weights: str,
    choice: Recommendation,
    data: DataFacts,
    machine: MachineFacts,
    timing: Timing | None = None,
    foreign: ForeignTable | None = None,
) -> str:
    """The TOML text; `data_table` holds the settings of `[data]`, `weights` is "imagenet" or "random"."""
    from jinja2 import Environment, StrictUndefined

    template = files(__package__).joinpath("experiment.toml.j2").read_text()
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # no HTML
    return environment.from_string(template).render(
        name=toml_string(name),
        data_table="\n".join(f"{key} = {toml_string(value)}" for key, value in data_table.items()),
        weights=toml_string(weights),
        choice=choice,
        data=data,
        unseen=", ".join(toml_string(name) for name in data.unseen),
        machine=_machine(machine),
        timing=timing,
        foreign=foreign,
    )


def _machine(machine: MachineFacts) -> str:
    if machine.device == "cuda":
        return f"GPU with {machine.gpu_bytes / 2**30:.0f} GiB"
    return f"machine of {machine.cores} cores without a GPU"
