"""Class sets: names, palettes, and the mapping between a data set's own ids and train ids 0..K-1."""

from autolabel.classes.class_set import IGNORE, ClassSet
from autolabel.classes.files import (
    id_of_name,
    mapillary_classes,
    parse_class_file,
    parse_mask_classes,
    read_class_set,
)
from autolabel.classes.known import CLASS_SETS
from autolabel.classes.mask_classes import MaskClasses

__all__ = [
    "CLASS_SETS",
    "IGNORE",
    "ClassSet",
    "MaskClasses",
    "id_of_name",
    "mapillary_classes",
    "parse_class_file",
    "parse_mask_classes",
    "read_class_set",
]
