"""Your own data: a folder of images, one of masks, and a class file.

    images/**/NAME.jpg   masks/**/NAME.png   coarse/**/NAME.png (optional)   classes.toml

`masks.read_mask` says which mask files are read, and `pairing` how names of images and masks belong together. The
teacher labels the images without a mask. An image's id is its path below the image folder without the suffix. Labels of
autolabel may be masks too: `label_sets` says how they are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from autolabel.classes import ClassSet, MaskClasses, parse_mask_classes
from autolabel.classes.mask_classes import pack
from autolabel.config.sources import FolderConfig
from autolabel.data.schema import unsafe_path
from autolabel.data.sources.base import (
    MaskRules,
    SkippedFiles,
    SourceImage,
    SourceLabel,
    SourceListing,
    first_three,
    raise_if_any,
)
from autolabel.data.sources.label_sets import Mask, refuse_results, with_statements
from autolabel.data.sources.listing import IMAGE_SUFFIXES, by_stem, files_below, require_folder, suffix_of
from autolabel.data.sources.pairing import Key, Template, by_key, composed, pair, template
from autolabel.data.sources.splits import folder_splits, held_out
from autolabel.errors import ConfigError, DataError, LabelError
from autolabel.labels.label_set import CLASSES, FOLDER, TABLE
from autolabel.user_files import read_text

_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".avif")


_MASKS_REMEDY = "put the masks there or set data.masks; `autolabel import labels` makes masks of other annotations"


def plan(settings: FolderConfig) -> SourceListing:
    """List the images.

    Raises DataError for a missing folder or a mask without its image, ConfigError for a wrong setting.
    """
    root = settings.root
    _check_folders(settings)
    image_names, mask_names = template(settings.image_name, "data.image_name"), _mask_template(settings)
    images, skipped = _images(settings, image_names, mask_names)
    if settings.needs_masks:
        require_folder(root / settings.masks, _MASKS_REMEDY)
    if settings.coarse != FolderConfig.model_fields["coarse"].default:
        require_folder(root / settings.coarse, "put the coarse masks there or correct data.coarse")
    classes = _classes(settings)
    layers = {}
    for role, folder in (("fine", settings.masks), ("coarse", settings.coarse)):
        layers[role], left = _masks(settings, folder, images, mask_names, classes.classes)
        skipped += left
    paths = list(images.values())
    del images  # its keys take as much memory as the rows do
    told = folder_splits(paths, settings.splits, settings.root / settings.images)
    splits, val_is_drawn = _splits(told, layers["fine"], settings), "val" not in told.values()
    del told
    listed = tuple(
        SourceImage(
            id=_stem(path),
            split=splits[path],
            group=path.rpartition("/")[0],
            path=f"{settings.images}/{path}",
            labels=tuple(
                SourceLabel(role, masks[path].encoding, masks[path].path)
                for role, masks in layers.items()
                if path in masks
            ),
        )
        for path in paths
    )
    return SourceListing(
        root,
        classes.classes,
        listed,
        masks=_mask_rules(classes, settings),
        skipped=tuple(skipped),
        needs_masks=settings.needs_masks,
        val_is_drawn=val_is_drawn,
    )


def _stem(path: str) -> str:
    return path.removesuffix(suffix_of(path))


def _check_folders(settings: FolderConfig) -> None:
    folders = {"images": settings.images, "masks": settings.masks, "coarse": settings.coarse}
    for key, folder in folders.items():
        unsafe = unsafe_path(folder)
        if unsafe is not None:
            remedy = "name a folder below data.root, such as 'images', or give the folder above it as data.root"
            raise ConfigError(f"data.{key}", f"{folder!r} {unsafe}", remedy)
    own_names = settings.mask_name != FolderConfig.model_fields["mask_name"].default
    for key in ("masks", "coarse"):
        if PurePosixPath(folders[key]).is_relative_to(settings.images) and not own_names:
            remedy = "masks would be taken for images: move them out, or set data.mask_name if their names differ"
            raise ConfigError(f"data.{key}", "lies inside data.images", remedy)


def _mask_template(settings: FolderConfig) -> Template:
    names = template(settings.mask_name, "data.mask_name")
    suffix = PurePosixPath(settings.mask_name).suffix.lower()
    if suffix in _LOSSY:
        raise ConfigError("data.mask_name", f"{suffix} files change ids at borders", "export the masks as PNG")
    return names


def _images(
    settings: FolderConfig, image_names: Template, mask_names: Template
) -> tuple[dict[Key, str], list[SkippedFiles]]:
    """Key -> path below the image folder, without the masks that lie there too; and the files that are not images."""
    folder = require_folder(settings.root / settings.images, "put the images there or set data.images")
    paths = list(files_below(folder))
    own = paths
    for inside in (settings.masks, settings.coarse):
        if PurePosixPath(inside).is_relative_to(settings.images):
            prefix = inside.removeprefix(settings.images).lstrip("/")
            below = f"{prefix}/" if prefix else ""
            paths = [x for x in paths if not (x.startswith(below) and mask_names.key(x.removeprefix(below)))]
            own = [x for x in own if not x.startswith(below)]  # labels of autolabel may be masks
    refuse_results(folder, own)
    images = by_key(paths, image_names, folder)
    used = set(images.values())
    return images, _skipped(settings.images, [path for path in paths if path not in used], image_names)


def _skipped(folder: str, paths: Iterable[str], names: Template) -> list[SkippedFiles]:
    reasons: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        suffix = suffix_of(path).lower()
        readable = suffix in IMAGE_SUFFIXES
        reason = (
            f"do not fit the name {names.text!r}"
            if readable
            else f"are left out because {suffix or 'no suffix'} is not read"
        )
        reasons[reason].append(path)
    return [SkippedFiles(folder, reason, tuple(sorted(paths))) for reason, paths in sorted(reasons.items())]


def _masks(
    settings: FolderConfig, folder: str, images: Mapping[Key, str], names: Template, classes: ClassSet
) -> tuple[dict[str, Mask], list[SkippedFiles]]:
    """Path of an image -> its mask; and the files that are not masks."""
    place = settings.root / folder
    if not place.is_dir():
        return {}, []
    paths = list(files_below(place))
    found, ours = _label_sets(settings, folder, paths, images, classes)
    masks = by_key([path for path in paths if path not in ours], names, place)
    _refuse_lossy(place, masks.values())
    pairs, alone = pair(images, masks, names, place)
    if alone and len(alone) == len(masks) and not found:
        example = next(iter(images.values()), "none")
        what = f"no mask fits an image: {first_three(sorted(alone))}; the first image is {example}"
        raise DataError(place, what, "set data.mask_name and data.image_name to the templates of the names")
    remedy = "a mask is named as its image, or set data.mask_name"
    raise_if_any(map(_stem, alone), place, "masks without an image", remedy)
    raise_if_any(set(pairs) & set(found), place, "images that two masks claim", "keep one mask of each")
    used = {*masks.values(), *ours, *(images.values() if folder == settings.images else ())}
    left = _skipped(folder, [path for path in paths if path not in used], names)
    return found | {image: Mask(f"{folder}/{mask}", "ids") for image, mask in pairs.items()}, left


def _label_sets(
    settings: FolderConfig, folder: str, paths: Sequence[str], images: Mapping[Key, str], classes: ClassSet
) -> tuple[dict[str, Mask], set[str]]:
    """Path of an image -> its label in a label set of autolabel; and all files of label sets, as paths below folder."""
    place = settings.root / folder
    if not any(path.rpartition("/")[2] in (CLASSES, TABLE) for path in paths):
        return {}, set()
    files = by_stem(place, IMAGE_SUFFIXES)
    read = with_statements(
        settings.root, folder, files, classes, settings.root / settings.classes, ids=settings.mask_values == "ids"
    )
    labels = {name: mask for name, mask in read.items() if mask.stated}
    by_id = {composed(_stem(path)): path for path in images.values()}
    remedy = "a label is named as its image, or labels.csv names the image"
    if (place / FOLDER / CLASSES).is_file():
        remedy = f"this is a whole label set, and its masks are in {FOLDER}/: name {folder}/{FOLDER} instead"
    raise_if_any((x for x in labels if composed(x) not in by_id), place, "masks without an image", remedy)
    tables = {path for path in paths if path.rpartition("/")[2] in (CLASSES, TABLE)}
    ours = tables | {mask.path.removeprefix(f"{folder}/") for mask in labels.values()}
    return {by_id[composed(name)]: mask for name, mask in labels.items()}, ours


def _refuse_lossy(place: Path, masks: Iterable[str]) -> None:
    lossy = next((path for path in masks if suffix_of(path).lower() in _LOSSY), None)
    if lossy is not None:
        what = f"is no PNG, so it cannot be a mask: {suffix_of(lossy)} compression changes ids at borders"
        raise LabelError(place / lossy, what, "export the masks as PNG")


def _splits(told: Mapping[str, str | None], masks: Mapping[str, Mask], settings: FolderConfig) -> dict[str, str]:
    """Path of an image -> split. Without a val folder, a fraction of the training images with masks is val."""
    place = settings.root / settings.images
    if "val" in told.values():
        no_mask = {_stem(path) for path, split in told.items() if split == "val" and path not in masks}
        raise_if_any(no_mask, place, "val images without a mask", "add the masks or move them to train")
        return {path: split or "train" for path, split in told.items()}
    names = {_stem(path): path for path in masks if told[path] != "test"}
    val = {names[name] for name in held_out(names, settings.val_share)}
    return {path: "val" if path in val else split or "train" for path, split in told.items()}


def _classes(settings: FolderConfig) -> MaskClasses:
    file = settings.root / settings.classes
    return parse_mask_classes(read_text(file, DataError, 'write one: names = ["road", "car", ...]'), file)


def _mask_rules(classes: MaskClasses, settings: FolderConfig) -> MaskRules:
    if settings.mask_values != "colours":
        return MaskRules(settings.mask_values, classes.ids, classes.in_place)
    if not classes.colours:
        remedy = 'write palette = [[128, 64, 128], ...] there, or palette = "voc"'
        raise ConfigError(
            settings.root / settings.classes, "states no colours, and data.mask_values is colours", remedy
        )
    return MaskRules("colours", {pack(colour): k for colour, k in classes.colours.items()}, False)
