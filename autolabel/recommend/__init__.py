"""Settings that fit the data and the machine: `facts` measures both, `choose` decides, `write` explains the choice."""

from autolabel.recommend.choose import Recommendation, recommend
from autolabel.recommend.facts import DataFacts, MachineFacts, data_facts, machine_facts
from autolabel.recommend.timing import Timing, measure
from autolabel.recommend.write import experiment_text

__all__ = [
    "DataFacts",
    "MachineFacts",
    "Recommendation",
    "Timing",
    "data_facts",
    "experiment_text",
    "machine_facts",
    "measure",
    "recommend",
]
