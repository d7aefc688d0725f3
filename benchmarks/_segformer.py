"""Several scales of a SegFormer against the library's own pipeline: its network as it is, all resizing in plain torch.

The library's network runs on every scale (and on the flipped image), its logits are resized to the image, their softmax
is averaged at full size, and the maximum is cut at 0.5. Both begin with an 8-bit image and end with a label map.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _dense import CLASSES, Size, fit_classifier
from _measure import seconds_in_turn
from _scopes import THRESHOLD

from autolabel.inference.model import InferenceModel
from autolabel.labels.codebook import Codebook
from autolabel.models import HuggingFaceModel, NetworkCard, normalise
from autolabel.models.huggingface.architectures import ARCHITECTURES
from streetscenes import Scene, render

B2: dict[str, Any] = {"depths": [3, 4, 6, 3], "hidden_sizes": [64, 128, 320, 512], "decoder_hidden_size": 768}


def measure(
    *,
    settings: dict[str, Any] = B2,
    scales: Sequence[float] = (0.5, 1.0, 2.0),
    flip: bool = False,
    size: Size = (512, 1024),
    precision: str = "fp32",
) -> dict[str, float]:
    """CPU seconds of theirs / ours in one round, and the shares of pixels with another label or most probable class."""
    scene = render(0, 0, size=size)
    network = fitted(settings, scene)
    model = HuggingFaceModel(network, ARCHITECTURES["segformer"], range(CLASSES), CLASSES).eval()
    card, book = NetworkCard(class_names=tuple(f"class {k}" for k in range(CLASSES))), Codebook(CLASSES)
    teacher = InferenceModel(model, card, book, scales=scales, flip=flip, precision=precision)
    found: dict[str, np.ndarray] = {}

    def theirs(image: np.ndarray) -> None:
        found["winner"], found["labels"] = library_labels(network, image, scales, flip=flip)

    def ours(image: np.ndarray) -> None:
        found["codes"] = teacher(torch.from_numpy(image[None]))[0].numpy()

    for work in (theirs, ours):
        work(scene.image[:128, :128].copy())  # loads libraries
    both = partial(theirs, scene.image), partial(ours, scene.image)
    ((their_seconds, our_seconds),) = seconds_in_turn(*both, device="cpu", rounds=1, warm_up=False)
    return {
        "segformer.time_ratio": their_seconds / our_seconds,
        "segformer.seconds": our_seconds,
        "segformer.labels_differ": float(np.mean(found["labels"] != book.lut(THRESHOLD)[found["codes"]])),
        "segformer.winners_differ": float(np.mean(found["winner"] != book.lut(0.0)[found["codes"]])),
        "segformer.ignored": float(np.mean(found["labels"] == 255)),
        "segformer.classes": len(set(np.unique(found["labels"])) - {255}),
    }


@torch.inference_mode()
def library_labels(
    network: Any, image: np.ndarray, scales: Sequence[float], *, flip: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) uint8 each: the most probable class, and the same with 255 where its probability does not exceed 0.5."""
    images = normalise(torch.from_numpy(image[None]))
    height, width = image.shape[:2]
    total = torch.zeros(1, CLASSES, height, width)
    for flipped in (False, True)[: 1 + flip]:
        for scale in scales:
            inputs = F.interpolate(images, size=(int(height * scale), int(width * scale)), mode="bilinear")
            logits = network(pixel_values=inputs.flip(-1) if flipped else inputs).logits
            found = F.interpolate(logits, size=(height, width), mode="bilinear").softmax(1)
            total += found.flip(-1) if flipped else found
    highest, winner = (total / (len(scales) * (1 + flip)))[0].max(0)
    classes = winner.numpy().astype(np.uint8)
    return classes, np.where(highest.numpy() > THRESHOLD, classes, 255).astype(np.uint8)


def fitted(settings: dict[str, Any], scene: Scene) -> Any:
    """The library's network with random features, and a classifier fitted to a scene."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    torch.manual_seed(0)
    network = SegformerForSemanticSegmentation(SegformerConfig(**settings, num_labels=CLASSES)).eval()
    classifier, features = network.decode_head.classifier, []
    with torch.no_grad():
        for layer in network.modules():  # larger than for training, so that features differ from pixel to pixel
            if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d):
                layer.weight.normal_(0, (1 / layer.weight[0].numel()) ** 0.5)
        hook = classifier.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
        network(pixel_values=normalise(torch.from_numpy(scene.image[None])))
        hook.remove()
        fit_classifier(classifier, features[0], torch.from_numpy(scene.fine))
    return network
