"""Put the windows of a text together again: each token once, from where it had most context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ernie_ray.text.features import NO_PLACE

Place = tuple[int, int]


def merge_windows(
    windows: Sequence[tuple[NDArray[Any], Sequence[Place]]],
) -> tuple[list[Any], list[Place]]:
    """Choose for every place of a text what the window says in whose middle it lies.

    Args:
        windows: Per window in order one value per token, and the tokens' places.

    Returns:
        Values and places by place. Tokens without a place are left out; of several tokens at one
        place (the bytes of one character) the first counts.
    """
    best: dict[Place, tuple[int, Any]] = {}
    for number, (values, places) in enumerate(windows):
        shown = [i for i, place in enumerate(places) if place != NO_PLACE]
        for k, i in enumerate(shown):
            if k and places[i] == places[shown[k - 1]]:
                continue
            # The text's own ends are no edges at which context is missing.
            left = k if number else len(places)
            right = len(shown) - 1 - k if number < len(windows) - 1 else len(places)
            margin = min(left, right)
            if places[i] not in best or margin > best[places[i]][0]:
                best[places[i]] = (margin, values[i])
    ordered = sorted(best)
    return [best[place][1] for place in ordered], ordered
