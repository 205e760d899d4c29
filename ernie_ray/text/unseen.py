"""Characters that are not seen: tokenizers drop them, so no label may begin or end with one."""

from __future__ import annotations

import unicodedata

JOINING = "\u200d\ufe0e\ufe0f"
"""Belong to the character before them, as in composed emoji."""


def narrowed(text: str, start: int, end: int) -> tuple[int, int]:
    """Leave out what is not seen at both ends of a part of a text.

    Args:
        text: The whole text.
        start: Of the part.
        end: Position after its last character.

    Returns:
        Start and end; both the same if nothing is left.
    """
    while start < end and _is_unseen(text[start]):
        start += 1
    while end > start and _is_unseen(text[end - 1]) and text[end - 1] not in JOINING:
        end -= 1
    return start, end


def _is_unseen(character: str) -> bool:
    # What BERT's clean-up drops: controls, formats, private and unassigned characters.
    is_dropped = unicodedata.category(character) in ("Cc", "Cf", "Cn", "Co")
    return is_dropped or character.isspace() or character == "\ufffd"
