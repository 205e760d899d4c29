"""Augmentation of texts: noise words, same-part-of-speech replacement, and fragments.

The kit's three strategies (ERNIE 2019, distill/README; after Tang et al. 2019, arXiv 1903.12136),
each pure, and composable by probabilities. A copy is a function of (seed, row, number of the copy)
and of the words of the data set, so it is the same whatever the blocks and workers.

Knows tagged words, not where they come from.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Self

from ernie_ray.text.segmenter import NO_TAG, TaggedWord


@dataclass(frozen=True)
class AugmentSettings:
    """How copies are made. The defaults are the kit's.

    Attributes:
        num_copies: Copies of each row, before duplicates are dropped.
        noise_probability: Chance of each word to become ``noise_word``.
        replace_probability: Chance of each word to become one of the same part of speech.
        fragment_probability: Chance of a copy to be cut to a fragment of random place and length.
        noise_word: Stands for a lost word.
        min_words: Copies with fewer words and punctuation marks are dropped. Fragments are cut
            to at least as many words, marks and runs of white space.
        seed: Same seed, same copies.
    """

    num_copies: int = 10
    noise_probability: float = 0.1
    replace_probability: float = 0.1
    fragment_probability: float = 1.0
    noise_word: str = "UNK"
    min_words: int = 2
    seed: int = 42


class WordsByTag:
    """The words of a data set by part of speech, with how often each occurs."""

    def __init__(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Prepare to draw.

        Args:
            counts: Part of speech to word to count.
        """
        self._words = {tag: sorted(words) for tag, words in counts.items()}
        self._sums = {
            tag: list(accumulate(counts[tag][word] for word in words))
            for tag, words in self._words.items()
        }

    @classmethod
    def of(cls, texts: Iterable[Sequence[TaggedWord]]) -> Self:
        """Count the words of tagged texts."""
        counts: dict[str, dict[str, int]] = {}
        for text in texts:
            for word in text:
                if word.tag != NO_TAG:
                    of_tag = counts.setdefault(word.tag, {})
                    of_tag[word.text] = of_tag.get(word.text, 0) + 1
        return cls(counts)

    def draw(self, tag: str, random: Random) -> str | None:
        """Draw a word of a part of speech by its frequency; None if there is none.

        By frequency, as Tang et al. do: drawn evenly, most words would be rare ones.
        """
        sums = self._sums.get(tag)
        if not sums:
            return None
        return self._words[tag][bisect_right(sums, random.randrange(sums[-1]))]


def add_noise(
    words: Sequence[TaggedWord], probability: float, noise_word: str, random: Random
) -> list[TaggedWord]:
    """Turn each word into the noise word with some probability; what is no word stays."""
    return [
        TaggedWord(noise_word, NO_TAG)
        if word.tag != NO_TAG and random.random() < probability
        else word
        for word in words
    ]


def replace_words(
    words: Sequence[TaggedWord], probability: float, known: WordsByTag, random: Random
) -> list[TaggedWord]:
    """Turn each word into a random one of the same part of speech with some probability."""
    replaced = []
    for word in words:
        if word.tag != NO_TAG and random.random() < probability:
            drawn = known.draw(word.tag, random)
            replaced.append(word if drawn is None else TaggedWord(drawn, word.tag))
        else:
            replaced.append(word)
    return replaced


def take_fragment(words: Sequence[TaggedWord], min_words: int, random: Random) -> list[TaggedWord]:
    """Cut out m neighbouring words from a random place, m even from ``min_words`` to all.

    Punctuation marks and white space between words count as words here. The kit's m starts at 0,
    which gives empty rows.
    """
    num_words = len(words)
    shortest = min(max(min_words, 1), num_words)
    length = random.randint(shortest, num_words) if num_words else 0
    start = random.randint(0, num_words - length)
    return list(words[start : start + length])


def augmented(
    words: Sequence[TaggedWord], known: WordsByTag, settings: AugmentSettings, random: Random
) -> str | None:
    """Make one copy of a text.

    Args:
        words: The text, tagged; joined they are the text.
        known: Words of the data set, for replacement.
        settings: Probabilities.
        random: Draws everything; ``copy_random`` gives one per copy.

    Returns:
        The new text, without white space at its ends; None if it has fewer words and punctuation
        marks than ``settings.min_words``.
    """
    new = list(words)
    if settings.fragment_probability and random.random() < settings.fragment_probability:
        new = take_fragment(new, settings.min_words, random)
    new = replace_words(new, settings.replace_probability, known, random)
    new = add_noise(new, settings.noise_probability, settings.noise_word, random)
    num_words = sum(not word.text.isspace() for word in new)
    text = _join(new, settings.noise_word).strip()
    return text if num_words >= settings.min_words and text else None


def _join(words: Sequence[TaggedWord], noise_word: str) -> str:
    """Put words side by side; between two noise words a space, else both would read as one."""
    parts: list[str] = []
    for i, word in enumerate(words):
        if i and word.text == words[i - 1].text == noise_word:
            parts.append(" ")
        parts.append(word.text)
    return "".join(parts)


def copy_random(seed: int, row_id: int, copy: int) -> Random:
    """The source of chance of one copy of one row."""
    # A text seed is hashed with SHA-512, so neighbouring rows and copies share nothing.
    return Random(f"{seed}/{row_id}/{copy}")
