"""Whether folders are classes, parts of a data set or kinds of files, judged by their names."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable

LEARNT = frozenset(["train", "training", "trainval"])

PARTS = LEARNT | {
    "test", "testing", "val", "valid", "validation", "dev", "eval", "evaluation", "holdout",
    "pred", "predict", "prediction", "predictions", "labeled", "labelled", "unlabeled",
    "unlabelled", "unsup", "fold", "folds", "cv", "split", "part", "partition", "subset", "shard",
    "batch",
}  # fmt: skip
"""Words in names of folders of a part of the data, which are taken for classes by mistake."""

GENERIC = frozenset([
    "set", "sets", "data", "dataset", "image", "images", "img", "imgs", "mask", "masks", "label",
    "labels", "annotation", "annotations", "gt", "x", "y", "public", "private", "final", "full",
    "all", "folder", "samples",
])  # fmt: skip
"""Words beside these that say nothing of a class: "training_set", "test_images"."""

KINDS = frozenset([
    "image", "images", "img", "imgs", "jpegimages", "imagesets", "mask", "masks", "annotation",
    "annotations", "label", "labels", "gt", "groundtruth", "segmentation", "segmentations",
    "segmentationclass", "segmentationobject", "bbox", "bboxes", "boundingboxes", "metadata",
])  # fmt: skip
"""Whole names of folders of images, or of what belongs to images."""


def are_parts(names: Iterable[str]) -> bool:
    """Whether all folders are parts of one data set, by their names: "seg_train", "seg_test".

    "test_tube" and "train" are none, since what is left of them differs.
    """
    groups = _group_parts(name for name in names if not _is_kind(name))
    if not groups or None in groups:
        return False
    return list(groups) == [()] or all(len(group) > 1 for group in groups.values())


def are_kinds(names: Collection[str]) -> bool:
    """Whether all folders are kinds of files, by their names: "images", "masks"."""
    return all(map(_is_kind, names))


def parts_among(names: Iterable[str]) -> list[str]:
    """Return the names that, beside each other, are unlikely to be of classes.

    "train" and "test" are; "train" beside "bus" and "car" is not.
    """
    names = list(names)
    groups = _group_parts(names)
    groups.pop(None, None)
    found = {
        name
        for group in groups.values()
        if 0 < sum(not LEARNT.isdisjoint(_words(name)) for name in group) < len(group)
        for name in group
    }
    kinds = {name for name in names if _is_kind(name)}
    if found or len(kinds) > 1:
        found |= kinds
    return sorted(found)


def names_alike(names: Iterable[str]) -> list[str]:
    """Return names that differ in upper and lower case or spaces alone; single letters may."""
    groups = defaultdict(list)
    for name in names:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        if len(plain) > 1:
            groups[plain].append(name)
    return [name for group in groups.values() if len(group) > 1 for name in group]


def _is_kind(name: str) -> bool:
    return re.sub(r"[\W_]+", "", name).lower() in KINDS


def _words(name: str) -> list[str]:
    """Split a name at all but letters, and before capitals: "PublicTest" is "public", "test"."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word.lower() for word in re.findall(r"[^\W\d_]+", spaced)]


def _group_parts(names: Iterable[str]) -> dict[tuple[str, ...] | None, list[str]]:
    """Group names of parts by their other words; None has the names of no part."""
    groups: dict[tuple[str, ...] | None, list[str]] = defaultdict(list)
    for name in names:
        words = _words(name)
        rest = tuple(word for word in words if word not in PARTS and word not in GENERIC)
        groups[None if PARTS.isdisjoint(words) else rest].append(name)
    return groups
