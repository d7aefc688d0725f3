"""Suspicious patterns in masks and images: what is certainly wrong, what must be confirmed, and what is worth a note.

A finding "error" ends a run. A finding "doubt" ends it until the experiment confirms it (`data.confirmed`). A single
faulty file is no finding: it is quarantined (`build`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from autolabel.classes import IGNORE
from autolabel.data.leaking_split import frames_beside
from autolabel.data.near_duplicates import near_duplicates
from autolabel.data.scan import MaskFacts
from autolabel.data.survey import Survey
from autolabel.errors import DataError

_VOID = {
    "void", "unlabeled", "unlabelled", "ignore", "ignored", "unknown", "undefined", "nodata", "no data", "none",
    "border", "dont care", "don't care", "not labelled", "not labeled",
}  # fmt: skip
_SMOOTHED = 5  # values between two others in one mask: fewer may be thin objects
_NOISY, _FEW_PIXELS = 8, 0.3  # number of unknown values in one mask, and the fraction of its pixels that they have
_MOST_IGNORED = 0.8  # fraction of the pixels of fine masks
_TRAIN_IDS = 0.3  # fraction of the pixels that mean "no class" where train ids are taken for other ids
_FEW_MASKS = 3  # with fewer masks a missing class means little
_INSTANCE_FACTORS = (256, 1000)
_LEAKING = 0.25  # fraction of the validation images beside a training image
_Thumbnail = tuple[str, bytes]  # path, thumbnail


@dataclass(frozen=True)
class Finding:
    code: str
    level: Literal["error", "doubt", "note"]
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


def findings(
    survey: Survey, images: Sequence[tuple[str, str, bytes]], confirmed: Collection[str], *, val_is_drawn: bool = False
) -> list[Finding]:
    """All findings, errors first. `images` holds (path, split, thumbnail); a confirmed doubt is a note.

    `val_is_drawn`: the source drew the validation images itself.
    """
    masks = survey.masks
    found = [finding for check in _CHECKS for finding in check(survey)] if masks else []
    if any(finding.level == "error" for finding in found):  # what follows from a mistake is no finding of its own
        return [finding for finding in found if finding.level == "error"]
    train, val = ([(path, small) for path, of, small in images if of == split and small] for split in ("train", "val"))
    found += [*_near_duplicates(train, val), *_leaking_split(train, val, val_is_drawn)]
    missing = survey.missing
    if missing and masks:
        found.append(Finding("missing_classes", "note", f"no mask has a pixel of: {', '.join(missing)}"))
    levels = ("doubt", "note")
    settled = [
        Finding(x.code, "note", f"{x.what} (confirmed)") if x.level == "doubt" and x.code in confirmed else x
        for x in found
    ]
    return sorted(settled, key=lambda finding: levels.index(finding.level))


def raise_findings(found: Sequence[Finding]) -> None:
    """Raise DataError for the first error or unconfirmed doubt."""
    serious = [finding for finding in found if finding.level != "note"]
    if not serious:
        return
    first, others = serious[0], [finding.code for finding in serious[1:]]
    remedy = first.remedy
    if first.level == "doubt":
        remedy += f'; if it is right as it is, set data.confirmed = ["{first.code}"]'
    if others:
        remedy += f" (also found: {', '.join(others)})"
    raise DataError("data", first.what, remedy)


def _unknown_values(survey: Survey) -> Iterator[Finding]:
    """Values that no class has, in at least half of the masks."""
    wrong = [mask for mask in survey.masks if any(value not in survey.table for value in mask.values)]
    if len(wrong) * 2 < len(survey.masks) or len(wrong) < min(2, len(survey.masks)) or not wrong:
        return
    where = f"{len(wrong)} of {len(survey.masks)} masks"
    if _are_smoothed(wrong, survey):
        yield _smoothed("error", where)
        return
    if survey.values != "colours":
        special = _binary(survey) or _shifted(survey) or _instances(survey)
        if special is not None:
            yield special
            return
    shown = ", ".join(map(survey.show, survey.unknown[:5])) + (", ..." if len(survey.unknown) > 5 else "")
    keys = "palette, or ignored_colours" if survey.values == "colours" else "ids, or ignored_ids"
    remedy = f'write them into the class file: {keys} if they mean "no class"'
    yield Finding("unknown_values", "error", f"{where} hold values that no class has: {shown}", remedy)


def _are_smoothed(masks: Sequence[MaskFacts], survey: Survey) -> bool:
    count = sum(mask.num_smoothed >= _SMOOTHED or _is_noisy(mask, survey) for mask in masks)
    return bool(masks) and count * 2 >= len(masks)


def _is_noisy(mask: MaskFacts, survey: Survey) -> bool:
    """Whether a mask holds many unknown values with few pixels, as JPEG makes them around borders."""
    unknown = [n for value, n in zip(mask.values, mask.pixels, strict=True) if value not in survey.table]
    return len(unknown) >= _NOISY and sum(unknown) < _FEW_PIXELS * sum(mask.pixels)


def _smoothed(level: Literal["error", "doubt"], where: str) -> Finding:
    what = f"{where} hold many values that stand only at borders: they were smoothed, resized or saved with loss"
    remedy = "export the masks again without smoothing (nearest neighbour, PNG)"
    return Finding("smoothed_masks", level, what, remedy)


def _binary(survey: Survey) -> Finding | None:
    """Masks of 0 and 255 with a class set that does not have both."""
    if set(survey.pixels) != {0, 255} or {IGNORE, None}.isdisjoint(survey.table.get(value) for value in (0, 255)):
        return None
    unknown = [value for value in (0, 255) if value not in survey.table]
    level: Literal["error", "doubt"] = "error" if unknown else "doubt"
    lost = 255 if survey.table.get(255, IGNORE) == IGNORE else 0
    what = (
        f"all masks hold only 0 ({_percent(survey.fraction(0))}) and 255 ({_percent(survey.fraction(255))}),"
        f" and {lost} {'is no known id' if lost in unknown else 'means no class'}: the object may be lost"
    )
    if survey.missing and not unknown:
        what += f" (no pixel of {', '.join(survey.missing)})"
    remedy = "write ids = [0, 255] into the class file"
    if survey.classes.num_classes == 1:
        remedy = 'write names = ["background", ...] and ids = [0, 255] into the class file'
    return Finding("binary_masks", level, what, remedy)


def _binary_doubt(survey: Survey) -> Iterator[Finding]:
    finding = _binary(survey) if survey.values != "colours" and not survey.unknown else None
    if finding is not None:
        yield finding


def _shifted(survey: Survey) -> Finding | None:
    """Ids 1 to K where the class file counts from 0."""
    count = survey.classes.num_classes
    counts_from_zero = all(survey.table.get(k) == k for k in range(count))
    objects = {value for value in survey.pixels if survey.table.get(value) != IGNORE and value != 0}
    if not counts_from_zero or survey.unknown != [count] or not objects <= set(range(1, count + 1)):
        return None
    remedy = f"write ids = [{_range(1, count)}] into the class file"
    if 0 in survey.pixels:
        what = f"the masks hold ids from 0 to {count}, one more than the {count} classes: 0 may be the background"
        remedy += ', with ignored_ids = [0, 255]; or add a first name for it, such as "background"'
    else:
        what = f"the masks hold ids from 1 to {count}, and the class file counts {count} classes from 0"
    return Finding("shifted_ids", "error", what, remedy)


def _shifted_doubt(survey: Survey) -> Iterator[Finding]:
    """One class at an end is missing, and the masks hold all other ids: they may be shifted by one."""
    names, pixels = survey.classes.names, survey.pixels
    count = len(names)
    if survey.values == "colours" or count < 3 or len(survey.masks) < _FEW_MASKS or len(survey.missing) != 1:
        return
    if any(survey.table.get(k) != k for k in range(count)):
        return
    if (
        survey.missing == [names[-1]]
        and survey.num_masks.get(0) == len(survey.masks)
        and max(pixels, key=pixels.__getitem__) == 0
    ):
        what = (
            f"no mask has the last class {names[-1]!r}, and id 0 ({names[0]!r}) covers {_percent(survey.fraction(0))}"
        )
        what += " of the pixels: 0 may be the background and the ids count from 1"
        remedy = f"write ids = [{_range(1, count)}] and ignored_ids = [0, 255] into the class file"
    elif survey.missing == [names[0]]:
        what = f"no mask has the first class {names[0]!r}: the ids may count from 1, shifted by one"
        remedy = f"write ids = [{_range(1, count)}] into the class file"
    else:
        return
    yield Finding("shifted_ids", "doubt", what, remedy)


def _train_ids(survey: Survey) -> Iterator[Finding]:
    """Fine masks without an id of K or more, under classes whose ids go further, and with much of "no class".

    Ids from 1 to K are left to `_shifted_doubt`.
    """
    survey = survey.layers().get("fine", survey)
    count, ids = survey.classes.num_classes, [value for value, k in survey.table.items() if k != IGNORE]
    if survey.values == "colours" or len(survey.masks) < _FEW_MASKS or max(ids) <= count or survey.unknown:
        return
    values = [value for value in survey.pixels if value != IGNORE]
    lost = sorted(value for value in values if survey.table[value] == IGNORE)
    fraction = sum(survey.fraction(value) for value in lost)
    if max(values, default=count) < count and fraction > _TRAIN_IDS:
        shown = ", ".join(map(survey.show, lost[:5]))
        what = (
            f"the masks hold no id above {count - 1}, and {_percent(fraction)} of their pixels are {shown}, no class: "
        )
        remedy = "if they are, state the classes by names alone, in the order of the train ids, without ids or dataset"
        yield Finding("train_ids", "doubt", f"{what}these may be train ids, counted from 0", remedy)


def _instances(survey: Survey) -> Finding | None:
    """Unknown values that are all id * 256 + number (KITTI, Mapillary) or id * 1000 + number (Cityscapes)."""
    if len(survey.unknown) < 2:
        return None
    for factor in _INSTANCE_FACTORS:
        if all(value >= factor and value // factor in survey.table for value in survey.unknown):
            shown = ", ".join(map(survey.show, survey.unknown[:3]))
            what = f"the masks hold {shown}: these look like instances, id * {factor} + number"
            remedy = "name masks of class ids in data.masks or data.mask_name, or write these ids into the class file"
            return Finding("instance_ids", "error", what, remedy)
    return None


def _sizes(survey: Survey) -> Iterator[Finding]:
    """Masks of another size than their images, in at least half of the masks."""
    wrong = [mask for mask in survey.masks if mask.size not in (mask.image_size, mask.image_size[::-1])]
    if len(wrong) * 2 < len(survey.masks) or len(wrong) < 2:
        return
    (height, width), (image_height, image_width) = wrong[0].size, wrong[0].image_size
    same = abs(height * image_width - width * image_height) <= max(image_width, image_height)
    what = (
        f"{len(wrong)} of {len(survey.masks)} masks have another {'size' if same else 'aspect ratio'} than their image:"
        f" {wrong[0].path} is {width} x {height}, its image {image_width} x {image_height}"
    )
    remedy = "export the masks in the size of their images, or resize them with nearest neighbour"
    if not same:
        remedy = "they belong to other images, or were cropped: export them again"
    yield Finding("mask_sizes", "error", what, remedy)


def _nothing_labelled(survey: Survey) -> Iterator[Finding]:
    """No training mask has a pixel of a class."""
    train = [mask for mask in survey.masks if mask.split == "train"]
    labelled = any(survey.table.get(value) != IGNORE for mask in train for value in mask.values)
    if train and not labelled:
        values = sorted({value for mask in train for value in mask.values})
        shown = ", ".join(map(survey.show, values[:5]))
        what = f"no training mask has a pixel of a class: all pixels are ignored ({shown})"
        yield Finding("nothing_labelled", "error", what, "correct the masks, or ids and ignored_ids in the class file")


def _mostly_ignored(survey: Survey) -> Iterator[Finding]:
    """One ignored value covers nearly all of the fine masks: it may be the background."""
    fine = [mask for mask in survey.masks if mask.role == "fine"]
    total = sum(sum(mask.pixels) for mask in fine)
    for value in sorted(survey.pixels):
        if survey.table.get(value) != IGNORE:
            continue
        pixels = sum(dict(zip(mask.values, mask.pixels, strict=True)).get(value, 0) for mask in fine)
        if pixels > _MOST_IGNORED * total:
            what = f'{survey.show(value)} means "no class" and covers {_percent(pixels / total)} of the fine masks'
            remedy = (
                "if it is everything outside the objects, make it a class of its own in the class file (background)"
            )
            yield Finding("mostly_ignored", "doubt", what, remedy)


def _void_class(survey: Survey) -> Iterator[Finding]:
    for index, name in enumerate(survey.classes.names):
        if name.strip().lower() in _VOID:
            fraction = sum(survey.fraction(value) for value in survey.pixels if survey.table.get(value) == index)
            what = f"class {name!r} ({_percent(fraction)} of the pixels) is trained like any other class"
            remedy = f'if it means "no class", write drop = ["{name}"] into the class file'
            yield Finding("void_class", "doubt", what, remedy)


def _smoothed_doubt(survey: Survey) -> Iterator[Finding]:
    if not survey.unknown and survey.values != "colours" and _are_smoothed(survey.masks, survey):
        count = sum(mask.num_smoothed >= _SMOOTHED for mask in survey.masks)
        yield _smoothed("doubt", f"{count} of {len(survey.masks)} masks")


def _near_duplicates(train: Sequence[_Thumbnail], val: Sequence[_Thumbnail]) -> Iterator[Finding]:
    pairs = near_duplicates([small for _, small in val], [small for _, small in train])
    if pairs:
        shown = ", ".join(f"{val[i][0]} and {train[k][0]}" for i, k in pairs[:3])
        what = f"{len(pairs)} of {len(val)} validation images are almost the same as a training image: {shown}"
        remedy = "they make the validation too good: put such images into one split (folders train and val)"
        yield Finding("near_duplicates", "note", what, remedy)


def _leaking_split(train: Sequence[_Thumbnail], val: Sequence[_Thumbnail], is_drawn: bool) -> Iterator[Finding]:
    """A user's own split is doubtful; one that was drawn here is no mistake of theirs, and a note."""
    pairs = frames_beside(val, train)
    if len(pairs) < _FEW_MASKS or len(pairs) < _LEAKING * len(val):
        return
    shown = ", ".join(f"{val[i][0]} and {train[k][0]}" for i, k in pairs[:3])
    what = f"{len(pairs)} of {len(val)} validation images are frames beside training images of the same film: {shown}"
    remedy = (
        "figures measured on them are too good, and thresholds promised by them do not hold: "
        "put whole drives into one split (folders train and val)"
    )
    yield Finding("leaking_split", "note" if is_drawn else "doubt", what, remedy)


_CHECKS: tuple[Callable[[Survey], Iterator[Finding]], ...] = (
    _unknown_values,
    _sizes,
    _nothing_labelled,
    _binary_doubt,
    _shifted_doubt,
    _train_ids,
    _mostly_ignored,
    _void_class,
    _smoothed_doubt,
)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"


def _range(first: int, last: int) -> str:
    numbers = list(range(first, last + 1))
    shown = numbers if len(numbers) <= 40 else [first, first + 1, "...", last]
    return ", ".join(map(str, shown))
