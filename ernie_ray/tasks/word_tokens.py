"""Words as NLTK's ``word_tokenize`` cuts them, for texts in lower case.

CMRC2018's evaluation counts these. The rules are the Penn Treebank's (Robert MacIntyre's sed
script) with NLTK's additions; those for capitals are left out. Before them NLTK cuts sentences with
a trained model (Punkt), of which a word only feels whether its last point is a token of its own:
here that is so unless the word is an initial, a number or a well-known abbreviation. Of the 12,720
different runs of other than Chinese characters in CMRC2018 three come out otherwise than in NLTK
3.10, and of the 2,966 in its answers none.
"""

from __future__ import annotations

import re

# Where a sentence may end inside of a text; the point of the very last word is always cut off.
_POINT = re.compile(r"(?<![.\s])\.(?=[\])}>\"'»]*\s+\S|[\])}\"';:*@({\[!?])")
_WORD = re.compile(r"[^\s\[\](){}<>\"«»-]*$")
_MAX_WORD = 32  # longer ones are no abbreviation
_BEFORE_LETTER = re.compile(r"\s+[^\W\d]")
_INITIAL_OR_NUMBER = re.compile(r"[^\W\d]|\d[\d.,]*")
_ABBREVIATION = re.compile(
    r"[c-hj-npr-tvw]|a\.[adm]|p\.m|s\.[acg]|d\.c|l\.a|n\.[cjy]|ph\.d|u\.[kns]|u\.s\.a|u\.s\.s\.r"
    r"|adm|aug|ave|bros|calif|co|col|corp|cos|dec|dr|feb|fla|fri|ft|gen|ill|inc|jan|jr|lt|ltd"
    r"|maj|mg|mich|mr|mrs|ms|nov|oct|okla|pa|prof|rep|sen|sept?|sr|st|tenn|va|vs|vt"
    r"|wash|wed|wis|yr"
)


def _compiled(*rules: tuple[str, str]) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(pattern), replacement) for pattern, replacement in rules)


_BEFORE_CLOSING = _compiled(
    # Opening quotes, of which one begins a sentence right after the one before.
    (r'([?!])"(?=\S)', r'\1 "'),
    (r"([«“‘„]|`+)", r" \1 "),
    (r'^"', "`` "),
    (r"([ (\[{<])(?:\"|'')", r"\1 `` "),
    (r"(?<!\w)'(?!(?:re|ve|ll|[mtsdn])\b)(?=\w)", "' "),
    # Signs; a comma or colon before a digit is part of the number.
    (r"([^.])(\.)([\])}>\"'»”’ ]*+)\s*$", r"\1 \2 \3 "),
    (r"([:,])(\D|$)", r" \1 \2"),
    (r"\.{2,}", r" \g<0> "),
    (r"[;@#$%&?!*\u2012-\u2015]", r" \g<0> "),
    (r"(?<=[^'])' ", " ' "),
    (r"[\[\](){}<>]", r" \g<0> "),
    (r"--", " -- "),
)
# These look at the space on both sides.
_CLOSING = _compiled(
    (r"[»”’]", r" \g<0> "),
    (r"''|\"", " '' "),
    (r"\s+", " "),
    (r"(?<=[^' ])('[smd]|') ", r" \1 "),
    (r"(?<=[^' ])('ll|'re|'ve|n't) ", r" \1 "),
    # Two words written as one.
    (r"\b(can)(not)\b", r" \1 \2 "),
    (r"\b(d)('ye)\b", r" \1 \2 "),
    (r"\b(gim|lem)(me)\b", r" \1 \2 "),
    (r"\b(gon)(na)\b", r" \1 \2 "),
    (r"\b(got)(ta)\b", r" \1 \2 "),
    (r"\b(more)('n)\b", r" \1 \2 "),
    (r"\b(wan)(na)(?=\s)", r" \1 \2 "),
    (r" ('t)(is|was)\b", r" \1 \2 "),
)


def word_tokens(text: str) -> list[str]:
    """Cut a text in lower case into words and signs; double quotes become ```` and ``''``."""
    text = _POINT.sub(_point, text)
    for rule, replacement in _BEFORE_CLOSING:
        text = rule.sub(replacement, text)
    text = f" {text} "
    for rule, replacement in _CLOSING:
        text = rule.sub(replacement, text)
    return text.split()


def _point(found: re.Match[str]) -> str:
    """Take a point off its word where it ends a sentence."""
    text, end = found.string, found.end()
    word = _WORD.search(text[max(found.start() - _MAX_WORD, 0) : found.start()])
    last = "" if word is None else word.group()
    if _ABBREVIATION.fullmatch(last):
        return "."
    if _INITIAL_OR_NUMBER.fullmatch(last) and _BEFORE_LETTER.match(text, end):
        return "."
    # A quote at once after the point opens the next sentence, unless it stands before a space.
    return " . " if text[end] == '"' and text[end + 1 : end + 2].strip() else " ."
