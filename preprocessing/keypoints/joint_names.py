"""Which joint layout a file means, by the names that it gives its joints.

Files of other makes call the same joint otherwise (root, pelvis, mid hip; ankle, foot). The joints
of the limbs decide; those in the middle of the body are placed differently by almost everyone, and
only have to be in the middle.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from diffpose.platform.base.errors import SourceError
from diffpose.preprocessing.keypoints.joint_layouts import NAMES, Layout

_SAME = {"foot": "ankle", "feet": "ankle", "hand": "wrist", "clavicle": "shoulder"}
_SIDES = {"left": "l", "l": "l", "right": "r", "r": "r"}
_LIMBS = {
    "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "eye", "ear", "bigtoe", "smalltoe",
    "heel",
}  # fmt: skip


def canonical(name: str) -> str:
    """Return a joint's name as side and part (``lankle``), or ``middle`` for one without a side."""
    # LShoulder and LeftShoulder run into one word
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    lower = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]
    first = re.fullmatch(r"(l|r|left|right)(\w+)", lower[0]) if len(lower) == 1 else None
    if first is not None and _part([first[2]]) in _LIMBS:
        lower = [first[1], first[2]]
    sides = [_SIDES[word] for word in lower if word in _SIDES]
    part = _part([word for word in lower if word not in _SIDES])
    return f"{sides[0]}{part}" if sides and part in _LIMBS else "middle"


def _part(words: Sequence[str]) -> str:
    joined = "".join(words)
    return _SAME.get(joined, joined)


def layout_named(names: Sequence[str], where: str) -> Layout:
    """Return the layout whose joints have these names, in this order.

    Args:
        names: as a file gives them.
        where: the file, for the message.

    Raises:
        SourceError: none has.
    """
    given = [canonical(name) for name in names]
    for layout, theirs in NAMES.items():
        if given == [canonical(name) for name in theirs]:
            return layout
    raise SourceError(
        f"{where} names its {len(names)} joints {', '.join(names[:6])}, ...: no known layout has "
        "these in this order. Where they are those of one nevertheless, give detector.layout= one "
        f"of {', '.join(NAMES)}."
    )
