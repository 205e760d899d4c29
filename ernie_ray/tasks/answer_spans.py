"""Answers as places: where a row's answer stands, and the best places that logits point to.

Dimension key: T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ernie_ray.text.features import NO_PLACE
from ernie_ray.text.unseen import narrowed

Place = tuple[int, int]

NUM_BEST = 20
"""Answers kept per question, and starts and ends tried per window (``n_best_size`` of the kit)."""


@dataclass(frozen=True)
class Answer:
    """A place in the context.

    Attributes:
        start: First character.
        end: Position after the last one.
        lead: Sum of the logits of its first and last token, less that of the window's first token,
            which stands for "no answer here".
    """

    start: int
    end: int
    lead: float


def locate(answers: Sequence[tuple[str, int]], context: str) -> tuple[Place | None, bool]:
    """Find the first of the answers that stands in the context.

    Args:
        answers: Texts with their stated starts.
        context: Where they should stand.

    Returns:
        Its place, white space left out, or None; and whether it stands elsewhere than stated: at
        the occurrence that is nearest to the stated start.
    """
    for text, stated in answers:
        if stated >= 0 and context.startswith(text, stated):
            return _seen(context, stated, len(text)), False
    for text, stated in answers:
        body = text.strip()
        starts = [i for i in range(len(context)) if context.startswith(body, i)]
        if starts:
            start = min(starts, key=lambda i: abs(i - stated))
            return _seen(context, start, len(body)), True
    return None, False


def _seen(context: str, start: int, length: int) -> Place | None:
    start, end = narrowed(context, start, start + length)
    return (start, end) if start < end else None


def token_span(places: Sequence[Place], answer: Place | None) -> tuple[int, int] | None:
    """First and last token of an answer in a window; None if not all of it is there."""
    if answer is None:
        return None
    inside = [i for i, (a, b) in enumerate(places) if a < answer[1] and b > answer[0] and a >= 0]
    if not inside or places[inside[0]][0] > answer[0] or places[inside[-1]][1] < answer[1]:
        return None
    return inside[0], inside[-1]


def best_answers(
    windows: Sequence[tuple[NDArray[np.float32], Sequence[Place]]], max_answer_tokens: int
) -> list[Answer]:
    """List the best places over all windows of a context, best first.

    Args:
        windows: Logits of start and end [T, 2], padded at the end, and the tokens' places.
        max_answer_tokens: Longest answer.
    """
    best: dict[Place, float] = {}
    for logits, places in windows:
        none = float(logits[0, 0] + logits[0, 1])
        shown = np.array([i for i, place in enumerate(places) if place != NO_PLACE], dtype=np.int64)
        if not len(shown):
            continue
        starts = shown[np.argsort(-logits[shown, 0], kind="stable")[:NUM_BEST]]
        ends = shown[np.argsort(-logits[shown, 1], kind="stable")[:NUM_BEST]]
        for i in starts.tolist():
            for j in ends.tolist():
                if i <= j < i + max_answer_tokens:
                    place = (places[i][0], places[j][1])
                    lead = float(logits[i, 0] + logits[j, 1]) - none
                    best[place] = max(lead, best.get(place, -np.inf))
    ordered = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    return [Answer(start, end, lead) for (start, end), lead in ordered[:NUM_BEST]]


def best_threshold(questions: Sequence[tuple[float, float, float]]) -> float:
    """Find the lead below which it is best to give no answer.

    Args:
        questions: Per question the lead of its best answer, what giving that is worth, and what
            giving none is worth.

    Returns:
        The threshold with the largest sum of worths; between two leads their mean, and a little
        beyond them if all or none should be answered.
    """
    ordered = sorted(questions)
    leads = [lead for lead, _, _ in ordered if np.isfinite(lead)]
    if not leads:
        return 0.0
    cuts = [leads[0] - 1.0, *((a + b) / 2 for a, b in pairwise(leads)), leads[-1] + 1.0]
    # Worth of refusing the k lowest: what none is worth for them, and the answers of the rest.
    ordered = [q for q in ordered if np.isfinite(q[0])]
    none = np.concatenate(([0.0], np.cumsum([q[2] for q in ordered])))
    given = np.concatenate((np.cumsum([q[1] for q in ordered][::-1])[::-1], [0.0]))
    return float(cuts[int(np.argmax(none + given))])
