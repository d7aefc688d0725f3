"""Networks: trunks, heads, fusions, their weights on file and the layouts others published."""

from autolabel.models.cards import TrunkCard, WeightsCard
from autolabel.models.model import ScaleOutput, SegmentationModel, TrainOutput, build_model
from autolabel.models.normalise import normalise
from autolabel.models.published import load_published, published_keys, published_state
from autolabel.models.start import start_from
from autolabel.models.weights import weights_from_bytes, weights_to_bytes

__all__ = [
    "ScaleOutput",
    "SegmentationModel",
    "TrainOutput",
    "TrunkCard",
    "WeightsCard",
    "build_model",
    "load_published",
    "normalise",
    "published_keys",
    "published_state",
    "start_from",
    "weights_from_bytes",
    "weights_to_bytes",
]
