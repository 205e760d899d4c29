"""Words and parts of speech of a text: jieba for Chinese, word classes by shape for the rest.

Knows no vocabulary. Words put together again are the text, white space included.

For runs of Latin letters there is no tagger without a download, and a wrong guess costs little:
the tag only decides which words may take each other's place. So English words fall into classes
by a closed list of function words, and else by ending (``-ing``, ``-ed``, ``-ly``, ``-s``, endings
of nouns and of adjectives) and capital letter.
"""

from __future__ import annotations

import functools
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

_LATIN = re.compile(r"([A-Za-zÀ-ÖØ-öø-ÿ]+(?:['’][A-Za-z]+)*)")
NO_TAG = ""
"""Tag of white space, punctuation and symbols: never replaced."""

_FUNCTION_WORDS = {
    "en:determiner": "a an the this that these those my your his her its our their some any no "
    "each",
    "en:pronoun": "i you he she it we they me him them us who what which myself itself themselves",
    "en:preposition": "of in on at by for with from to into about over after before under through",
    "en:conjunction": "and or but if because while although though than as so when where",
    "en:auxiliary": "is are was were be been being am do does did have has had will would can "
    "could shall should may might must",
    "en:negation": "not never nor don't doesn't didn't isn't wasn't won't can't couldn't",
    "en:degree": "very too quite rather really almost just only even still also",
}
_FUNCTION_TAGS = {word: tag for tag, words in _FUNCTION_WORDS.items() for word in words.split()}
_ENDINGS = (
    ("en:-ing", ("ing",)),
    ("en:-ed", ("ed",)),
    ("en:-ly", ("ly",)),
    ("en:noun", ("tion", "sion", "ment", "ness", "ity", "ance", "ence", "ship", "ism", "ist")),
    ("en:adjective", ("ful", "less", "ous", "ive", "able", "ible", "ical", "ish", "est")),
    ("en:-s", ("s",)),
)  # fmt: skip


@dataclass(frozen=True)
class TaggedWord:
    """A word with its part of speech; ``NO_TAG`` for what is no word."""

    text: str
    tag: str


def segment(text: str) -> list[str]:
    """Cut a text into words (jieba's accurate mode); white space is left out."""
    return [word for word in _jieba().lcut(text) if not word.isspace()]


def tag_words(text: str) -> list[TaggedWord]:
    """Cut a text into words with their parts of speech; joined, they are the text again."""
    return [word for part in _LATIN.split(text) if part for word in _tag_part(part)]


def _tag_part(part: str) -> Iterator[TaggedWord]:
    if _LATIN.fullmatch(part):
        yield TaggedWord(part, _latin_tag(part))
        return
    if part.isascii():  # numbers and punctuation between English words
        yield from _ascii_words(part)
        return
    start = 0
    for word, tag in _posseg().lcut(part, HMM=True):
        # jieba drops nothing, but what it did drop would silently change the text.
        found = part.find(word, start)
        if found > start:
            yield TaggedWord(part[start:found], NO_TAG)
        start = max(found, start) + len(word)
        yield TaggedWord(word, NO_TAG if tag in ("x", "w") or word.isspace() else tag)
    if start < len(part):
        yield TaggedWord(part[start:], NO_TAG)


def _ascii_words(part: str) -> Iterator[TaggedWord]:
    for piece in re.findall(r"[0-9]+(?:[.,][0-9]+)*|[^0-9]+", part):
        yield TaggedWord(piece, "m" if piece[0].isdigit() else NO_TAG)


def _latin_tag(word: str) -> str:
    folded = word.lower()
    if folded in _FUNCTION_TAGS:
        return _FUNCTION_TAGS[folded]
    if word[0].isupper() and not word.isupper():
        return "en:capital"
    for tag, endings in _ENDINGS:
        if len(folded) > 4 and folded.endswith(endings):
            return tag
    return "en:word"


@functools.cache
def _jieba() -> ModuleType:
    # Imported on first use: its dictionary takes half a second, and most models need none.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on its own source, when that is compiled
        import jieba
    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    module: ModuleType = jieba
    return module


@functools.cache
def _posseg() -> ModuleType:
    _jieba()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jieba.posseg
    module: ModuleType = jieba.posseg
    return module
