"""OneFormer for inference: the same function with fewer operations.

- The 1x1 convolution behind the finest map is a part of each product that reads it: of a query's vector with the
  features, and of the keys and values of the query transformer, together with the projections that follow. It never
  runs on the map itself.
- The attention mask of a layer is a mask resized to 1/8, 1/16 or 1/32 of the image. The features are resized before
  the product with the queries, once for each size, and only the last prediction has masks at 1/4, and class logits.
- A position embedding is a part that depends on the row plus one that depends on the column. Products with it (a part
  of the keys of the query transformer, and all of its values) are formed for rows and columns, not for pixels.
- The task is always the same, so its token is a constant. Mean attention over heads, padding masks, and ratios of
  padded images are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autolabel.inference.optimize_hrnet import Decision
from autolabel.inference.query_masks import mask_logits
from autolabel.models.huggingface.architectures import semantic_task
from autolabel.models.huggingface.scores import Queries
from autolabel.models.layers import at_least_float32, without_autocast
from autolabel.models.resize import resize

Size = tuple[int, int]


def optimize_oneformer(network: Any) -> None:
    """Change transformers' `OneFormerForUniversalSegmentation` in place, for `run_oneformer`."""
    model = network.model
    token = model.task_encoder(semantic_task(network).to(model.dtype))
    projection = model.pixel_level_module.decoder.mask_projection
    model.pixel_level_module.decoder = PixelDecoder(model.pixel_level_module.decoder)
    model.transformer_module = QueryDecoder(model.transformer_module, projection, token)


def run_oneformer(network: Any, images: Tensor) -> Queries:
    """Run a network that `optimize_oneformer` has changed; images (B, 3, h, w)."""
    module = network.model.pixel_level_module
    levels, finest = module.decoder(module.encoder(images).feature_maps)
    output: Queries = network.model.transformer_module(levels, finest)
    return output


class PixelDecoder(nn.Module):
    """In the place of transformers' `OneFormerPixelDecoder`, without the convolution to the mask features."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.projections, self.layers = decoder.input_projections, decoder.encoder.layers
        self.position, self.level_embed = decoder.position_embedding, decoder.level_embed
        self.lateral, self.output = nn.ModuleList(decoder.lateral_convs), nn.ModuleList(decoder.output_convs)
        for layer in self.layers:
            layer.self_attn = DeformableAttention(layer.self_attn)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Backbone maps (B, C_b, h_b, w_b), the finest first -> maps (B, C, h_l, w_l) of three levels, the coarsest
        first, and the finest map (B, C, h, w)."""
        sources = [conv(x) for conv, x in zip(self.projections, reversed(features), strict=False)]
        sizes: list[Size] = [(x.shape[-2], x.shape[-1]) for x in sources]
        hidden = torch.cat([x.flatten(2).transpose(1, 2) for x in sources], dim=1)
        embedded = [
            _positions(self.position, size, self.level_embed) + level
            for size, level in zip(sizes, self.level_embed, strict=True)
        ]
        options = {"position_embeddings": torch.cat(embedded), "reference_points": _grid_centres(sizes, hidden)}
        for layer in self.layers:
            (hidden,) = layer(hidden, None, spatial_shapes_list=sizes, **options)
        parts = hidden.transpose(1, 2).split([height * width for height, width in sizes], dim=2)
        levels = [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]
        finest = levels[-1]
        finer = list(features)[: len(self.lateral)][::-1]
        for lateral, output, x in zip(self.lateral, self.output, finer, strict=True):
            beside = lateral(x)
            finest = output(beside + resize(finest, (beside.shape[-2], beside.shape[-1])))
        return levels, finest


class DeformableAttention(nn.Module):
    """In the place of transformers' multi-scale deformable attention, for whole images; level by level."""

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.offsets, self.weights = attention.sampling_offsets, attention.attention_weights
        self.value, self.output = attention.value_proj, attention.output_proj
        self.heads, self.levels, self.points = attention.n_heads, attention.n_levels, attention.n_points

    def forward(
        self,
        hidden_states: Tensor,
        position_embeddings: Tensor,
        reference_points: Tensor,
        spatial_shapes_list: Sequence[Size],
        **_: object,
    ) -> tuple[Tensor, None]:
        """Tokens (B, N, C), their embedding (N, C) and their place (N, 2) in [-1, 1] -> (B, N, C)."""
        queries = hidden_states + position_embeddings
        batch, tokens, _channels = queries.shape
        weights = self.weights(queries).unflatten(2, (self.heads, -1)).softmax(dim=-1)
        weights = (
            weights.unflatten(3, (self.levels, self.points)).permute(3, 0, 2, 1, 4).flatten(1, 2)
        )  # (L, B H, N, P)
        offsets = self.offsets(queries).unflatten(2, (self.heads, self.levels, self.points, 2))
        offsets = offsets.permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # (L, B H, N, P, 2)
        values = self.value(hidden_states).transpose(1, 2)
        values = values.split([height * width for height, width in spatial_shapes_list], dim=2)
        total: Tensor | None = None
        for size, value, offset, weight in zip(spatial_shapes_list, values, offsets, weights, strict=True):
            maps = value.reshape(batch * self.heads, -1, *size)
            grid = reference_points[:, None] + offset * _per_pixel(size, offset)  # bf16 would be too coarse
            sampled = F.grid_sample(maps.to(grid.dtype), grid, align_corners=False)  # (B H, C / H, N, P)
            part = (sampled * weight[:, None]).sum(dim=-1)
            total = part if total is None else total + part
        assert total is not None
        output: Tensor = self.output(total.reshape(batch, -1, tokens).transpose(1, 2))
        return output, None


class QueryDecoder(nn.Module):
    """In the place of transformers' `OneFormerTransformerModule`. `projection`: the convolution that a `PixelDecoder`
    leaves out; `token`: that of the task, (1, C)."""

    def __init__(self, module: Any, projection: nn.Conv2d, token: Tensor) -> None:
        super().__init__()
        decoder = module.decoder
        self.level_convs, self.level_embed = nn.ModuleList(module.input_projections), module.level_embed
        self.embedder, self.position = module.queries_embedder, module.position_embedder
        self.norm, self.mask_embed, self.projection = decoder.decoder_norm, decoder.mask_embed, projection
        self.classifier = Decision(decoder.class_embed)
        self.layers = decoder.layers
        for layer in self.layers:
            layer.cross_attn.multihead_attn = MaskedAttention(layer.cross_attn.multihead_attn)
        first = decoder.query_transformer.decoder
        projections = [projection, decoder.query_input_projection]
        self.first_layers = nn.ModuleList(_QueryLayer(layer, projections) for layer in first.layers)
        self.first_norm = first.norm
        self.use_task_norm = decoder.use_task_norm
        self.register_buffer("token", token)

    def forward(self, levels: Sequence[Tensor], finest: Tensor) -> Queries:
        token = cast(Tensor, self.token).expand(1, len(finest), -1)
        token = self.norm(token) if self.use_task_norm else token
        embeddings = self.embedder.weight[:, None]  # (Q, 1, C)
        hidden = self._object_queries(token, embeddings[:-1], finest)
        hidden = torch.cat([hidden, token], dim=0)
        sizes: list[Size] = [(x.shape[-2], x.shape[-1]) for x in levels]
        features = [resize(finest, size) for size in sizes]
        memory = [
            (conv(x).flatten(2) + level[:, None]).permute(2, 0, 1)
            for conv, x, level in zip(self.level_convs, levels, self.level_embed.weight, strict=True)
        ]
        positions = [_positions(self.position, size, self.level_embed.weight)[:, None] for size in sizes]
        for index, layer in enumerate(self.layers):
            level = index % len(levels)
            outside = self._masks(self.norm(hidden), features[level]).flatten(2) < 0
            outside &= ~outside.all(dim=-1, keepdim=True)  # a query that may look nowhere looks everywhere
            hidden, _ = layer.cross_attn(
                hidden, memory[level], memory_mask=outside, pos=positions[level], query_pos=embeddings
            )
            hidden, _ = layer.self_attn(hidden, query_pos=embeddings.expand_as(hidden))
            hidden = layer.ffn(hidden)
        normalised = self.norm(hidden)
        return Queries(self.classifier(normalised.transpose(0, 1)), self._masks(normalised, finest))

    def _object_queries(self, token: Tensor, embeddings: Tensor, finest: Tensor) -> Tensor:
        """(Q - 1, B, C)"""
        positions = _row_and_column(self.position, (finest.shape[-2], finest.shape[-1]), self.level_embed.weight)
        start = token if self.use_task_norm else torch.zeros_like(token)
        hidden = start.expand(len(embeddings), -1, -1)
        for layer in self.first_layers:
            hidden = layer(hidden, embeddings, finest, positions)
        hidden = hidden if self.first_norm is None else self.first_norm(hidden)
        return hidden

    def _masks(self, hidden: Tensor, features: Tensor) -> Tensor:
        """(B, Q, h, w) of the normalised queries (Q, B, C) and features that are not projected."""
        vectors = self.mask_embed(hidden.transpose(0, 1))
        with without_autocast(features.device):
            vectors = at_least_float32(vectors)
            masks = mask_logits(vectors @ self.projection.weight.flatten(1), features)
            return masks if self.projection.bias is None else masks + (vectors @ self.projection.bias)[..., None, None]


class MaskedAttention(nn.Module):
    """In the place of an `nn.MultiheadAttention` whose weights nobody reads. Tokens come first: (N, B, C)."""

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        super().__init__()
        self.query, self.key, self.value = _linear_layers(attention)
        self.output, self.heads = attention.out_proj, attention.num_heads

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **_: object
    ) -> tuple[Tensor, None]:
        """`attn_mask`: (B, Q, N) bool, True where a query must not look."""
        parts = (self.query(query), self.key(key), self.value(value))
        queries, keys, values = (x.transpose(0, 1).unflatten(2, (self.heads, -1)).transpose(1, 2) for x in parts)
        allowed = None if attn_mask is None else ~attn_mask[:, None]
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=allowed)
        output: Tensor = self.output(found.transpose(1, 2).flatten(2).transpose(0, 1))
        return output, None


class _QueryLayer(nn.Module):
    """A layer of the query transformer, which looks at the finest map through several linear layers at once."""

    def __init__(self, layer: Any, projections: Sequence[nn.Conv2d]) -> None:
        super().__init__()
        self.self_attn, self.cross = MaskedAttention(layer.self_attn), layer.multihead_attn.out_proj
        self.query, key, value = _linear_layers(layer.multihead_attn)
        self.heads, self.normalize_before = layer.multihead_attn.num_heads, layer.normalize_before
        self.position = nn.Parameter(key.weight, requires_grad=False)
        self.key, self.value = _composed([*projections, key]), value
        self.norms = nn.ModuleList([layer.norm1, layer.norm2, layer.norm3])
        self.ffn = nn.Sequential(layer.linear1, layer.activation, layer.linear2)

    def forward(self, x: Tensor, embeddings: Tensor, finest: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
        """Queries (Q, B, C), their embeddings (Q, 1, C), the map (B, C', h, w), its positions by row and column."""

        steps: list[Callable[[Tensor], Tensor]] = [
            lambda x: cast(Tensor, self.self_attn(x + embeddings, x + embeddings, x)[0]),
            lambda x: self._look(x + embeddings, finest, positions),
            self.ffn,
        ]
        for norm, step in zip(self.norms, steps, strict=True):
            x = x + step(norm(x)) if self.normalize_before else norm(x + step(x))
        return x

    def _look(self, x: Tensor, finest: Tensor, positions: tuple[Tensor, Tensor]) -> Tensor:
        """Keys are of features and positions; values are of positions alone, as in the published network."""
        rows, columns = (part @ self.position.t() for part in positions)
        keys = self.key(finest.permute(0, 2, 3, 1)) + rows[:, None] + columns
        rows, columns = self.value(positions[0]), positions[1] @ self.value.weight.t()
        values = (rows[:, None] + columns).expand_as(keys)
        parts = (self.query(x).transpose(0, 1), keys.flatten(1, 2), values.flatten(1, 2))
        queries, keys, values = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        found = F.scaled_dot_product_attention(queries, keys, values)
        output: Tensor = self.cross(found.transpose(1, 2).flatten(2).transpose(0, 1))
        return output


def _linear_layers(attention: nn.MultiheadAttention) -> list[nn.Linear]:
    """The projections to queries, keys and values."""
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    return [_linear(weight, bias) for weight, bias in zip(weights, biases, strict=True)]


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")
    layer.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
    layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
    return layer


def _composed(layers: Sequence[Any]) -> nn.Linear:
    """Several linear layers or 1x1 convolutions, one after another, as one; in float64, so a weight is rounded once."""
    dtype = layers[0].weight.dtype
    weight, bias = layers[0].weight.flatten(1).double(), layers[0].bias.double()
    for layer in layers[1:]:
        after = layer.weight.flatten(1).double()
        weight, bias = after @ weight, after @ bias + layer.bias.double()
    return _linear(weight.to(dtype), bias.to(dtype))


def _row_and_column(embedding: Any, size: Size, like: Tensor) -> tuple[Tensor, Tensor]:
    """The parts (h, C) and (w, C) of a sine position embedding; their sum at each pixel is the embedding."""
    height, width = size
    dtype = torch.promote_types(like.dtype, torch.float32)
    by_row = embedding((1, 1, height, 1), like.device, dtype)[0, :, :, 0].t()
    by_column = embedding((1, 1, 1, width), like.device, dtype)[0, :, 0].t()
    half = by_row.shape[1] // 2
    rows, columns = torch.zeros_like(by_row), torch.zeros_like(by_column)
    rows[:, :half], columns[:, half:] = by_row[:, :half], by_column[:, half:]
    return rows.to(like.dtype), columns.to(like.dtype)


def _positions(embedding: Any, size: Size, like: Tensor) -> Tensor:
    """(h w, C)"""
    rows, columns = _row_and_column(embedding, size, like)
    return (rows[:, None] + columns).flatten(0, 1)


def _grid_centres(sizes: Sequence[Size], like: Tensor) -> Tensor:
    """(N, 2): the centre (x, y) of each pixel of all levels, in [-1, 1] from edge to edge."""
    options: dict[str, Any] = {"dtype": torch.promote_types(like.dtype, torch.float32), "device": like.device}
    found = []
    for height, width in sizes:
        y, x = ((2 * torch.arange(side, **options) + 1) / side - 1 for side in (height, width))
        found.append(torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], dim=-1).flatten(0, 1))
    return torch.cat(found)


def _per_pixel(size: Size, like: Tensor) -> Tensor:
    """(2,): the width and height of a pixel on the grid."""
    return torch.stack([like.new_full((), 2 / size[1]), like.new_full((), 2 / size[0])])
