"""Networks of the transformers library (extra `hf`): pretrained teachers; SegFormer and UperNet can also be trained."""

from autolabel.models.huggingface.load import FolderFiles, check_trainable, model_as_it_is, model_to_train
from autolabel.models.huggingface.network import HuggingFaceModel
from autolabel.models.huggingface.weights import huggingface_from_bytes, huggingface_to_bytes

__all__ = [
    "FolderFiles",
    "HuggingFaceModel",
    "check_trainable",
    "huggingface_from_bytes",
    "huggingface_to_bytes",
    "model_as_it_is",
    "model_to_train",
]
