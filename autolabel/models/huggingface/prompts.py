"""Prompts: a network that finds what a text names is asked for one class at a time.

Its "classes" are the prompts. They are chosen by the names of an experiment and its `class_map`, and become token ids
by the tokenizer of the folder. The card of the teacher keeps the ids, so labelling needs no tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from autolabel.errors import ConfigError, WeightsError
from autolabel.models.huggingface.class_mapping import fold
from autolabel.models.huggingface.scores import Concepts
from autolabel.models.layers import at_least_float32, without_autocast

Tokens = tuple[int, ...]

_DETECTOR = "detector_model."  # of the keys in a file that also holds a tracker for videos


def prompts_for(class_names: Sequence[str], table: Mapping[str, str]) -> tuple[str, ...]:
    """The prompts: the keys of `table` (prompt -> class name, "" = none), then each class that it does not mention."""
    mentioned = {fold(name) for pair in table.items() for name in pair}
    return (*table, *(name for name in class_names if fold(name) not in mentioned))


def token_ids(tokenizer: bytes, prompts: Sequence[str], where: object) -> tuple[Tokens, ...]:
    """The ids of each prompt, with those of start and end, by a `tokenizer.json`. Underscores count as spaces.

    Raises WeightsError, and ConfigError for a prompt without a word.
    """
    from tokenizers import Tokenizer

    try:
        encoder = Tokenizer.from_str(tokenizer.decode())
        encoder.no_padding()
        encoder.no_truncation()
        found = [tuple(encoder.encode(prompt.replace("_", " ")).ids) for prompt in prompts]
        empty = tuple(encoder.encode("").ids)
    except BaseException as error:  # a panic of the library, which is Rust, is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise WeightsError(where, f"tokenizer.json is no tokenizer: {reason}", "save it with transformers 5") from None
    for prompt, ids in zip(prompts, found, strict=True):
        if ids in (empty, ()):
            raise ConfigError(where, f"the prompt {prompt!r} is no text", "name the class by a word in class_map")
    return tuple(found)


def check_tokens(prompts: Sequence[Tokens], text_config: Any, where: object) -> None:
    """WeightsError for ids that the network has not, or more of them than it reads."""
    longest, vocabulary = text_config.max_position_embeddings, text_config.vocab_size
    for ids in prompts:
        if not 0 < len(ids) <= longest:
            what = f"a prompt has {len(ids)} tokens, and the network reads 1 to {longest}"
            raise WeightsError(where, what, "write a shorter prompt in class_map")
        if not all(0 <= number < vocabulary for number in ids):
            what = f"its tokenizer gives token {max(ids)}, and the network has {vocabulary}"
            raise WeightsError(where, what, "use the tokenizer.json that was saved with the weights")


def ask_sam3(network: Any, images: torch.Tensor, prompts: Sequence[Tokens]) -> Concepts:
    """One pass of the image encoder, then one of the detector for each prompt.

    A query's score is that of the library: its own probability times that of the prompt being in the image at all.
    """
    seen = network.get_vision_features(pixel_values=images)
    claims = []
    for ids in prompts:
        output = network(vision_embeds=seen, input_ids=torch.tensor([ids] * len(images), device=images.device))
        with without_autocast(images.device):
            logits, presence = at_least_float32(output.pred_logits), at_least_float32(output.presence_logits)
            scores = (logits.sigmoid() * presence.sigmoid())[..., None, None]  # (B, Q, 1, 1)
            claims.append((at_least_float32(output.pred_masks).sigmoid() * scores).amax(dim=1))
    return Concepts(torch.stack(claims, dim=1))


def detector_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a `sam3_video` config that labels single images; any other config as it is."""
    inner = config.get("detector_config")
    if config.get("model_type") != "sam3_video" or not isinstance(inner, dict):
        return config
    return {**inner, "model_type": "sam3"}


def detector_tensors(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of the detector, from a file that may also hold a tracker."""
    inner = {key.removeprefix(_DETECTOR): value for key, value in tensors.items() if key.startswith(_DETECTOR)}
    return inner or tensors
