"""EoMT (on DINOv2 and DINOv3) for inference: the same function with fewer operations.

- The attention mask of a layer is a mask of each query at the size of the patches. The enlarged features are resized to
  it before the product with the queries, and only the last layer computes masks at full size.
- All heads share one mask, which the library writes once for each.
- Intermediate class logits, which only a training reads, are left out.

Published networks are trained until they need no attention masks. Then only the last prediction is left of this.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from autolabel.inference.optimize_hrnet import Decision
from autolabel.inference.query_masks import mask_logits
from autolabel.models.huggingface.scores import Queries
from autolabel.models.resize import resize


def optimize_eomt(network: Any) -> bool:
    """Change transformers' `EomtForUniversalSegmentation` or `EomtDinov3ForUniversalSegmentation` in place, for `run`.

    False where it must stay as it is: it then drops some attention masks at random.
    """
    probabilities = network.attn_mask_probs
    # Without values, where memory is counted, all layers have a mask: this takes the most.
    masked = [True] * len(probabilities) if probabilities.is_meta else [p > 0 for p in probabilities.tolist()]
    if not probabilities.is_meta and any(0 < p < 1 for p in probabilities.tolist()):
        return False
    network.class_predictor = Decision(network.class_predictor)
    network.masked_blocks = masked
    return True


def run_eomt(network: Any, images: Tensor) -> Queries:
    """Run a network that `optimize_eomt` has changed; images (B, 3, h, w)."""
    hidden = network.embeddings(images)
    rotary = getattr(network, "rope_embeddings", None)
    options = {} if rotary is None else {"position_embeddings": rotary(images.to(hidden.dtype))}
    first = len(network.layers) - len(network.masked_blocks)
    mask: Tensor | None = None  # a block without one of its own keeps that of the block before it
    for index, layer in enumerate(network.layers):
        if index == first:
            hidden = torch.cat((network.query.weight.expand(len(hidden), -1, -1).to(hidden.dtype), hidden), dim=1)
        if index >= first and network.masked_blocks[index - first]:
            mask = _attention_mask(network, hidden)
        hidden = layer(hidden, attention_mask=mask, **options)
    queries, patches = _split(network, hidden)
    masks = mask_logits(network.mask_head(queries), network.upscale_block(patches))
    return Queries(network.class_predictor(queries), masks)


def _split(network: Any, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Queries (B, Q, C) and patches (B, C, h, w) of all tokens, normalised."""
    normalised, count = network.layernorm(hidden), network.config.num_queries
    patches = normalised[:, count + network.embeddings.num_prefix_tokens :].transpose(1, 2)
    return normalised[:, :count], patches.reshape(*patches.shape[:2], *network.grid_size)


def _attention_mask(network: Any, hidden: Tensor) -> Tensor:
    """(B, 1, N, N), zero where a token may attend and minus infinity where not: a query to patches outside its mask."""
    queries, patches = _split(network, hidden)
    features = resize(network.upscale_block(patches), network.grid_size)
    outside = mask_logits(network.mask_head(queries), features).flatten(2) <= 0
    tokens, count = hidden.shape[1], queries.shape[1]
    mask = hidden.new_zeros((len(hidden), 1, tokens, tokens))
    mask[:, 0, :count, tokens - outside.shape[-1] :].masked_fill_(outside, -torch.inf)
    return mask
