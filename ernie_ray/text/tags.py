"""Tags of a sequence (BIO, BIOES) to entities and back, with one rule for malformed sequences.

The rule is conlleval's, which seqeval applies by default: an entity begins at ``B-X`` and ``S-X``,
and at ``I-X`` or ``E-X`` that continues no entity of type X; it ends before anything that does not
continue it, and after ``E-X`` and ``S-X``. So every sequence of known tags has a reading, and none
is thrown away. Knows neither texts nor tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Scheme = Literal["BIO", "BIOES"]
TagSpan = tuple[int, int, str]
"""First position, position after the last, type."""

OUTSIDE = "O"
_SUFFIXED = re.compile(r".+[-_][BIES]$")


def split_tag(tag: str) -> tuple[str, str]:
    """Split a tag into its part (``B I E S O``) and its type, empty for ``O``.

    ``M-`` (middle) counts as ``I-``.

    Raises:
        ValueError: It is not a tag; the message says what to write.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    part, dash, kind = tag.partition("-")
    if dash and kind and part in ("B", "I", "E", "S", "M"):
        return ("I" if part == "M" else part), kind
    if _SUFFIXED.fullmatch(tag):
        raise ValueError(f"tag {tag!r} has its part at the end; write {tag[-1]}-{tag[:-2]}")
    raise ValueError(f"{tag!r} is no tag; write O, B-TYPE, I-TYPE, E-TYPE or S-TYPE")


def entities_of(tags: Sequence[str]) -> list[TagSpan]:
    """Read the entities of a tag sequence, malformed or not.

    Raises:
        ValueError: Something is not a tag.
    """
    found: list[TagSpan] = []
    start, kind = -1, ""
    for i, tag in enumerate(tags):
        part, own = split_tag(tag)
        continues = start >= 0 and part in ("I", "E") and own == kind
        if start >= 0 and not continues:
            found.append((start, i, kind))
            start = -1
        if part != OUTSIDE and not continues:
            start, kind = i, own
        if part in ("E", "S"):
            found.append((start, i + 1, kind))
            start = -1
    if start >= 0:
        found.append((start, len(tags), kind))
    return found


def tags_of(entities: Sequence[TagSpan], length: int, scheme: Scheme) -> list[str]:
    """Write entities that do not overlap as the tags of ``length`` positions."""
    tags = [OUTSIDE] * length
    for start, end, kind in entities:
        tags[start:end] = [f"I-{kind}"] * (end - start)
        tags[start] = f"B-{kind}"
        if scheme == "BIOES":
            tags[end - 1] = f"S-{kind}" if end - start == 1 else f"E-{kind}"
    return tags


def tag_names(kinds: Sequence[str], scheme: Scheme) -> tuple[str, ...]:
    """List every tag of some entity types, ``O`` first."""
    parts = "BI" if scheme == "BIO" else "BIES"
    return (OUTSIDE, *(f"{part}-{kind}" for kind in kinds for part in parts))


def kinds_of(tags: Sequence[str]) -> tuple[str, ...]:
    """List the entity types of some tags, in order of first appearance."""
    return tuple(dict.fromkeys(kind for _, kind in map(split_tag, tags) if kind))
