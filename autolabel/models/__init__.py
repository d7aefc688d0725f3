"""Networks: trunks, heads, fusions, weights files, and the checkpoint layouts of other projects."""

from autolabel.models.checkpoint import (
    Network,
    network_from_bytes,
    network_to_bytes,
    start_from,
    weights_from_bytes,
    weights_to_bytes,
)
from autolabel.models.huggingface import HuggingFaceModel
from autolabel.models.layers import normalise
from autolabel.models.model import ScaleOutput, SegmentationModel, TrainOutput, build_model
from autolabel.models.published import load_published, published_keys, published_state
from autolabel.models.weights_file import HuggingFaceCard, NetworkCard, TrunkCard, WeightsCard

__all__ = [
    "HuggingFaceCard",
    "HuggingFaceModel",
    "Network",
    "NetworkCard",
    "ScaleOutput",
    "SegmentationModel",
    "TrainOutput",
    "TrunkCard",
    "WeightsCard",
    "build_model",
    "load_published",
    "network_from_bytes",
    "network_to_bytes",
    "normalise",
    "published_keys",
    "published_state",
    "start_from",
    "weights_from_bytes",
    "weights_to_bytes",
]
