"""Read one field of a row: numbers, entities, answers. What does not fit is said in words.

Knows the forms in which files write them; each form becomes one string that ``Row.label`` holds.
Knows nothing of files, columns' names aside.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from ernie_ray.text.tags import entities_of
from ernie_ray.text.unseen import narrowed

UNIT_SEPARATOR = "\x02"
"""Stands between the characters and between the tags of a row in the 2019 kit's files."""

MAX_SHOWN_CHARS = 40

# Han characters, kana, and the signs that go with them.
_UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff9f]")


_Placed = tuple[int, int, str, object]
"""Start, end and type of an entity, and its text as the row names it, or None."""


class UnfitError(Exception):
    """A row does not fit its schema."""


def kind_of(value: object) -> str:
    """Name what a value is, for messages."""
    if value is None:
        return "null"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return f"a {type(value).__name__} ({_cut(value)})"


def _cut(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= MAX_SHOWN_CHARS else shown[: MAX_SHOWN_CHARS - 3] + "..."


def refuse_half_surrogates(text: str, what: str) -> None:
    """Refuse a text that UTF-8 cannot hold; JSON may, as an escape without its other half.

    Args:
        text: Of a row, in whatever role.
        what: Names it in the message.

    Raises:
        UnfitError: It holds half of a surrogate pair.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UnfitError(
            f"{what} holds half of a surrogate pair at character {error.start}; write the text as "
            "UTF-8"
        ) from error


def number_of(value: object, column: str, low: float, high: float) -> str:
    """Read a number between two bounds; text is taken where it is one.

    Raises:
        UnfitError: It is none, not finite, or out of bounds.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        if "_" in str(value):  # 1_0 is 10 in Python's source code, and a slip of the pen in rows
            raise ValueError
        number = float(value)
    except (ValueError, OverflowError):
        raise UnfitError(f"label '{column}' is {kind_of(value)}; write a number") from None
    if not math.isfinite(number):
        raise UnfitError(f"label '{column}' is {number}; fill it or remove the row")
    if not low <= number <= high:
        raise UnfitError(
            f"label '{column}' is {number:g}, outside of {low:g} to {high:g}; correct the row, or "
            "set task.low and task.high"
        )
    return repr(number)


def units_of(value: object, column: str) -> list[str]:
    """Read the characters or words of a row: a list, or a text that separates them by byte 2.

    Raises:
        UnfitError: It is neither, or a unit is no text or empty.
    """
    units = value.split(UNIT_SEPARATOR) if isinstance(value, str) else value
    if not isinstance(units, list):
        raise UnfitError(f"'{column}' is {kind_of(value)}; write a list of characters or words")
    for i, unit in enumerate(units):
        if not isinstance(unit, str) or not unit:
            raise UnfitError(f"'{column}' has {kind_of(unit)} at position {i}; write a text there")
    return units


def has_units(value: object) -> bool:
    """Tell whether a field holds units and not running text."""
    return isinstance(value, list) or (isinstance(value, str) and UNIT_SEPARATOR in value)


def join_units(units: Sequence[str]) -> tuple[str, list[int]]:
    """Join units to a text: characters without anything between them, words by a space.

    A row in a script without spaces has none but between two words of another one: 我用 iPhone,
    cut to 我, 用 and iPhone, is 我用iPhone.

    Returns:
        The text, and where each unit starts in it.
    """
    has_words = any(len(unit) > 1 for unit in units)
    is_unspaced = any(map(_UNSPACED.search, units))
    text, starts = "", []
    for i, unit in enumerate(units):
        if i and has_words and (not is_unspaced or _are_words(units[i - 1], unit)):
            text += " "
        starts.append(len(text))
        text += unit
    return text, starts


def _are_words(before: str, after: str) -> bool:
    """Tell whether a space stands between two neighbours in a row that has hardly any."""
    if len(before) == len(after) == 1:
        return False
    edges = before[-1], after[0]
    return all(edge.isalnum() and not _UNSPACED.match(edge) for edge in edges)


def entities_label(
    value: object,
    column: str,
    units: Sequence[str] | None,
    text: str,
    known: tuple[str, ...] | None,
) -> str:
    """Read the entities of a row.

    Args:
        value: Tags (one per unit; a list or joined by byte 2), or entities: a list of
            ``{"start", "end", "label"}`` with character offsets and perhaps the entity's
            ``"text"``, or CLUENER's ``{"type": {"text": [[first, last], ...]}}``.
        column: Its name.
        units: The row's characters or words; None: the row is running text.
        text: The row's text.
        known: Entity types of the task; None: any.

    Returns:
        JSON of ``[start, end, type]`` in character offsets, by start.

    Raises:
        UnfitError: It is none of these, does not fit the text, names an entity by another text
            than stands at its place, overlaps, or has an unknown type.
    """
    if isinstance(value, str):
        value = [value] if units is not None and len(units) == 1 else value.split(UNIT_SEPARATOR)
    if value == [] and units is None:
        found: list[_Placed] = []
    elif isinstance(value, list) and all(isinstance(tag, str) for tag in value):
        found = _from_tags(value, column, list(text) if units is None else units)
    elif isinstance(value, list):
        found = [_from_record(one, column) for one in value]
    elif isinstance(value, Mapping):
        found = _from_nested(value, column)
    else:
        raise UnfitError(f"label '{column}' is {kind_of(value)}; write a list of tags or entities")
    entities = sorted({_narrowed(one, column, text) for one in found})
    for before, after in pairwise(entities):
        if after[0] < before[1]:
            raise UnfitError(
                f"label '{column}': the entities {text[before[0] : before[1]]!r} and "
                f"{text[after[0] : after[1]]!r} overlap; keep one of them"
            )
    for _, _, kind in entities:
        refuse_half_surrogates(kind, f"label '{column}' has the entity type {kind!r}, which")
        if known is not None and kind not in known:
            raise UnfitError(
                f"label '{column}' has the entity type {kind!r}, which is none of "
                f"{', '.join(known[:20])}; correct the row or add it to task.labels"
            )
    return json.dumps(entities, ensure_ascii=False, separators=(",", ":"))


def _from_tags(tags: Sequence[str], column: str, units: Sequence[str]) -> list[_Placed]:
    if len(tags) != len(units):
        raise UnfitError(
            f"label '{column}' has {len(tags)} tags for {len(units)} characters or words; write "
            "one for each"
        )
    try:
        spans = entities_of(tags)
    except ValueError as error:
        raise UnfitError(f"label '{column}': {error}") from None
    _, starts = join_units(units)
    return [(starts[a], starts[b - 1] + len(units[b - 1]), kind, None) for a, b, kind in spans]


def _from_record(record: object, column: str) -> _Placed:
    if not isinstance(record, Mapping):
        raise UnfitError(
            f'label \'{column}\' has {kind_of(record)}; write {{"start", "end", "label"}}'
        )
    kind = record.get("label", record.get("type"))
    start, end = record.get("start"), record.get("end")
    if not isinstance(kind, str) or not kind or "\n" in kind:
        raise UnfitError(f"label '{column}' has an entity whose label is {kind_of(kind)}")
    for name, number in (("start", start), ("end", end)):
        if isinstance(number, bool) or not isinstance(number, int):
            raise UnfitError(f"label '{column}' has an entity whose {name} is {kind_of(number)}")
    assert isinstance(start, int)  # the loop above
    assert isinstance(end, int)
    return start, end, kind, record.get("text")


def _from_nested(value: Mapping[str, object], column: str) -> list[_Placed]:
    found = []
    for kind, texts in value.items():
        if not isinstance(texts, Mapping):
            raise UnfitError(f"label '{column}' has {kind_of(texts)} under {kind!r}")
        for surface, places in texts.items():
            if not isinstance(places, list):
                raise UnfitError(f"label '{column}' has {kind_of(places)} as places of {kind!r}")
            for place in places:
                if not isinstance(place, list) or len(place) != 2:
                    raise UnfitError(
                        f"label '{column}' has {kind_of(place)} as a place of {kind!r}"
                    )
                record = {"start": place[0], "end": place[1], "label": kind}
                start, last, _, _ = _from_record(record, column)
                found.append((start, last + 1, kind, surface))
    return found


def _narrowed(placed: _Placed, column: str, text: str) -> tuple[int, int, str]:
    start, end, kind, surface = placed
    if not 0 <= start < end <= len(text):
        raise UnfitError(
            f"label '{column}' has an entity from {start} to {end} in a text of {len(text)} "
            "characters; start counts from 0, end is the position after the last one"
        )
    standing = text[start:end]
    if surface is not None and str(surface).strip() != standing.strip():
        raise UnfitError(
            f"label '{column}' has the entity {_cut(surface)} at {start} to {end}, where the text "
            f"has {_cut(standing)}; correct its place or its text"
        )
    start, end = narrowed(text, start, end)
    if start == end:
        raise UnfitError(f"label '{column}' has an entity of which nothing is seen; remove it")
    return start, end, kind


def answers_label(value: object, column: str, context: str, is_impossible: object) -> str:
    """Read the answers of a question.

    Args:
        value: A list of ``{"text", "answer_start"}``, SQuAD's form; empty where there is none.
        column: Its name.
        context: What the answers stand in.
        is_impossible: SQuAD v2's flag, or None.

    Returns:
        JSON of ``[text, stated start]`` pairs.

    Raises:
        UnfitError: It is none, an answer is empty, a start lies past the context's end, or there
            are answers to a question that has none.
    """
    if not isinstance(value, list):
        raise UnfitError(f"label '{column}' is {kind_of(value)}; write a list of answers")
    if is_impossible is not None and not isinstance(is_impossible, bool):
        raise UnfitError(f"'is_impossible' is {kind_of(is_impossible)}; write true or false")
    if is_impossible:
        # Some sets write an empty text where others write no answer at all.
        given = [a for a in value if not isinstance(a, Mapping) or a.get("text") not in ("", None)]
        if given:
            raise UnfitError(
                f"'is_impossible' is true, but label '{column}' has {kind_of(given[0])}; remove "
                "the answers (SQuAD's name for answers that only seem right is "
                "'plausible_answers'), or write false"
            )
        return "[]"
    if not value and is_impossible is False:
        raise UnfitError(f"label '{column}' is empty although 'is_impossible' is false")
    answers = [_answer(answer, column, context) for answer in value]
    return json.dumps(answers, ensure_ascii=False, separators=(",", ":"))


def _answer(answer: object, column: str, context: str) -> tuple[str, int]:
    if not isinstance(answer, Mapping):
        raise UnfitError(f"label '{column}' has {kind_of(answer)}; write text and answer_start")
    text, start = answer.get("text"), answer.get("answer_start")
    if not isinstance(text, str) or not text.strip():
        raise UnfitError(f"label '{column}' has an answer whose text is {kind_of(text)}")
    if isinstance(start, bool) or not isinstance(start, int):
        raise UnfitError(f"label '{column}' has an answer_start that is {kind_of(start)}")
    refuse_half_surrogates(text, f"label '{column}' has an answer that")
    # A negative start is how several published sets say that they do not know it.
    if start >= len(context):
        raise UnfitError(
            f"label '{column}' has an answer at {start}, past the end of a context of "
            f"{len(context)} characters"
        )
    return text, start
