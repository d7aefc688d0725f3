"""The published weights that autolabel knows by hub id: their purpose, size, licence and pinned revision.

A revision of 40 hex digits is a commit, which the hub cannot change. Where only a branch is known, the commit and the
digests that it has at the first fetch are recorded, and everything later must match them (`record`).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Setting = Literal["weights", "huggingface"]  # the setting of an experiment that takes them

# Licences that allow any use with attribution at most: the word of model cards -> the SPDX name.
PERMISSIVE = {
    "apache-2.0": "Apache-2.0",
    "bsd-2-clause": "BSD-2-Clause",
    "bsd-3-clause": "BSD-3-Clause",
    "bsl-1.0": "BSL-1.0",
    "cc-by-4.0": "CC-BY-4.0",
    "cc0-1.0": "CC0-1.0",
    "isc": "ISC",
    "mit": "MIT",
    "unlicense": "Unlicense",
    "zlib": "Zlib",
}


class Licence(NamedTuple):
    text: str
    restricts: bool  # it limits the use, or the limits are not known


class Entry(NamedTuple):
    id: str
    setting: Setting
    purpose: str
    data: str  # that they were trained on
    megabytes: float  # of the weights, about
    card_licence: str  # as the model card names it
    revision: str = "main"
    sha256: str = ""  # of model.safetensors, where it is known
    trunk: str = ""  # that they fit, where they are those of a trunk
    terms: str = ""  # the licence in words, where it restricts the use or the card says "other"

    @property
    def licence(self) -> Licence:
        return Licence(self.terms, restricts=True) if self.terms else Licence(PERMISSIVE[self.card_licence], False)


def _trunk(id: str, trunk: str, megabytes: float, licence: str, revision: str = "main", sha256: str = "") -> Entry:
    purpose = f"start a network with trunk {trunk}"
    return Entry(id, "weights", purpose, "ImageNet", megabytes, licence, revision, sha256, trunk)


_NVIDIA = (
    "NVIDIA Source Code License for SegFormer: research or evaluation only, no commercial use "
    "(https://github.com/NVlabs/SegFormer/blob/master/LICENSE)"
)
_META = "other, without terms in its card (its code is MIT: https://github.com/facebookresearch/Mask2Former)"


def _segformer(id: str, data: str, megabytes: float, revision: str) -> Entry:
    purpose = f"label as it is (the classes of {data}), or start a SegFormer"
    return Entry(f"nvidia/{id}", "huggingface", purpose, data, megabytes, "other", revision, terms=_NVIDIA)


def _teacher(id: str, data: str, megabytes: float, licence: str, revision: str = "main", terms: str = "") -> Entry:
    purpose = f"label as it is (the classes of {data})"
    return Entry(id, "huggingface", purpose, data, megabytes, licence, revision, terms=terms)


_ENTRIES = (
    _trunk(
        "timm/hrnet_w18.ms_aug_in1k", "hrnet_w18", 85.6, "mit",
        "7c3e065603bdb0ef05e7dacf4ad18833442a9962",
        "f9e3c451448c037d4dd549c96f3013d2926b492f69f27c74bbcc909e053e677c",
    ),
    _trunk("timm/hrnet_w32.ms_in1k", "hrnet_w32", 165, "mit", "d3f87a845807b80ae4cfd95815416cfbe90fab99"),
    _trunk("timm/hrnet_w48.ms_in1k", "hrnet_w48", 310, "mit"),
    _trunk(
        "timm/resnet50.a1_in1k", "resnet50", 102, "apache-2.0",
        "5d9e13b8fdab4d9718bcf2c8f5c3af01878367e8",
        "773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb",
    ),
    _trunk(
        "timm/resnet101.a1h_in1k", "resnet101", 179, "apache-2.0",
        "21721ac354aff8c4fbc371f3c4e46fa8832d4d68",
        "1a076c0384295e7d3704f201c5711ff245507db934230bab72ff3014a95f90fe",
    ),
    # Not efficientnet_b4.ra2_in1k: it was trained with another padding and another epsilon of norms than our trunk's.
    _trunk("timm/tf_efficientnet_b4.aa_in1k", "efficientnet_b4", 77.9, "apache-2.0"),
    # The branches refs/pr/N hold the safetensors files that the hub's converter made of pytorch_model.bin.
    _segformer("segformer-b0-finetuned-cityscapes-1024-1024", "Cityscapes", 14.9, "refs/pr/4"),
    _segformer("segformer-b2-finetuned-cityscapes-1024-1024", "Cityscapes", 110, "refs/pr/3"),
    _segformer(
        "segformer-b5-finetuned-cityscapes-1024-1024", "Cityscapes", 339, "b6e4c4143a549ac9cf16ee2ea222ab01959d9e04"
    ),
    _segformer("segformer-b0-finetuned-ade-512-512", "ADE20K", 15, "main"),
    _segformer("segformer-b5-finetuned-ade-640-640", "ADE20K", 339, "f4c8e8f5b581b6bc8ed5208e4bd139d95f65610f"),
    _teacher("tue-mps/cityscapes_semantic_eomt_large_1024", "Cityscapes", 1280, "mit"),
    _teacher("tue-mps/ade20k_semantic_eomt_large_512", "ADE20K", 1280, "mit"),
    _teacher(
        "facebook/mask2former-swin-large-cityscapes-semantic", "Cityscapes", 866, "other",
        "20ef8af5f1dd4f9f1548f64870cb6c0c3f5e5c19", _META,
    ),
    _teacher(
        "facebook/mask2former-swin-large-ade-semantic", "ADE20K", 866, "other",
        "aa25c92404a40599614215e76514c79b427c7527", _META,
    ),
)  # fmt: skip

ENTRIES = {entry.id: entry for entry in _ENTRIES}


def licence_of(hub_id: str, on_card: str, name: str = "") -> Licence:
    """The licence of an id; `on_card` is its model card's word for it (empty: none), `name` what it calls an "other".

    The table's own words count as long as the card names the licence that they describe.
    """
    entry = ENTRIES.get(hub_id)
    if entry is not None and on_card in ("", entry.card_licence):
        return entry.licence
    if not on_card:
        return Licence("unknown: its model card names none", restricts=True)
    if on_card in PERMISSIVE:
        return Licence(PERMISSIVE[on_card], restricts=False)
    return Licence(f"{on_card} ({name})" if name else on_card, restricts=True)
