"""Networks: trunks, heads, fusions, their weights on file and the layouts others published."""

from autolabel.models.cards import HuggingFaceCard, NetworkCard, TrunkCard, WeightsCard
from autolabel.models.huggingface import HuggingFaceModel
from autolabel.models.model import ScaleOutput, SegmentationModel, TrainOutput, build_model
from autolabel.models.network import Network, network_from_bytes, network_to_bytes
from autolabel.models.normalise import normalise
from autolabel.models.published import load_published, published_keys, published_state
from autolabel.models.start import start_from
from autolabel.models.weights import weights_from_bytes, weights_to_bytes

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
