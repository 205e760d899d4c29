"""Texts to send, with the lengths of real sentences; a function of the seed only."""

from __future__ import annotations

import random
from pathlib import Path

from loadtests.errors import ScenarioError
from loadtests.scenario import Lane

_FOLDER = Path(__file__).parent / "texts"
_OURS = {"english": ("english",), "chinese": ("chinese",), "both": ("english", "chinese")}


def read_texts(source: str) -> list[str]:
    """Distinct texts, one a line of each file.

    Args:
        source: ``english``, ``chinese``, ``both`` (sentences written for this project), or a
            path of a UTF-8 file.

    Raises:
        ScenarioError: The file is missing or holds no text.
    """
    paths = [_FOLDER / f"{name}.txt" for name in _OURS.get(source, ())] or [Path(source)]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise ScenarioError(f"texts: {missing[0]} is no file; give one, or {', '.join(_OURS)}")
    lines = [line.strip() for path in paths for line in path.read_text("utf-8").splitlines()]
    texts = list(dict.fromkeys(line for line in lines if line))
    if not texts:
        raise ScenarioError(f"texts: {source} holds no text; write one a line")
    return texts


class TextDraw:
    """Draws the texts of requests."""

    def __init__(self, texts: list[str], lane: Lane, seed: str) -> None:
        """Prepare to draw.

        Args:
            texts: What to draw from.
            lane: How many texts a request has, and how long they are.
            seed: The same seed draws the same texts.
        """
        self._texts, self._lane = texts, lane
        self._random = random.Random(seed)

    def request(self) -> list[str]:
        """Texts of the next request."""
        return [self._draw() for _ in range(self._lane.texts_per_request)]

    def _draw(self) -> str:
        length = self._lane.text_characters
        if length is None:
            return self._random.choice(self._texts)
        start = self._random.randrange(len(self._texts))
        joined = self._texts[start]
        while len(joined) < length:
            start = (start + 1) % len(self._texts)
            joined = f"{joined} {self._texts[start]}"
        return joined[:length].strip()
