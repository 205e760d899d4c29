"""The queue of one model: two lanes in one order, from which batches of like lengths are cut.

Pure data: knows neither asyncio nor engines, and time only as the numbers it is given.

Every text has a rank: when it came, plus `bulk_delay_s` in the bulk lane. The queue is ordered by
rank, so a bulk text lets interactive ones pass until it has aged by that delay, and no longer.
Batches are cut from the front of this order by ``choose_batch``. So what goes before a text is
known: texts of lower rank (those that came before it; for a bulk text, also interactive ones of the
next `bulk_delay_s` seconds), and at most `max_overtakes` batches that hold texts of higher rank.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from enum import IntEnum
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Any

from ernie_ray.inference.grouping import BatchLimits, choose_batch


class Lane(IntEnum):
    """How urgent a request is."""

    INTERACTIVE = 0
    BULK = 1


class Entry:
    """One waiting text. Compared and hashed by identity.

    Attributes:
        owner: Whoever waits for the text; the queue never looks at it.
        index: The text's position in its request.
        num_tokens: Its length.
        rank_s: Its place in the queue's order.
        num_overtakes: Batches with texts of higher rank that have passed it over.
    """

    __slots__ = ("index", "lane", "num_overtakes", "num_tokens", "owner", "rank_s")

    def __init__(self, owner: Any, index: int, num_tokens: int, lane: Lane) -> None:
        self.owner = owner
        self.index = index
        self.num_tokens = num_tokens
        self.lane = lane
        self.rank_s = 0.0
        self.num_overtakes = 0


_rank = attrgetter("rank_s")


class LaneQueue:
    """Waiting texts of one model."""

    def __init__(self, limits: BatchLimits) -> None:
        """Make an empty queue; ``limits`` bound its batches, not its size."""
        self._limits = limits
        self._lanes: tuple[OrderedDict[Entry, None], ...] = (OrderedDict(), OrderedDict())
        self._delays_s = (0.0, limits.bulk_delay_s)
        self.num_tokens = 0

    def __len__(self) -> int:
        return len(self._lanes[0]) + len(self._lanes[1])

    def __bool__(self) -> bool:
        return bool(self._lanes[0] or self._lanes[1])

    def push(self, entries: Iterable[Entry], now_s: float) -> None:
        """Add texts at the end of their lanes.

        Args:
            entries: Texts in the order of their request.
            now_s: Never less than in the call before.
        """
        for entry in entries:
            entry.rank_s = now_s + self._delays_s[entry.lane]
            self._lanes[entry.lane][entry] = None
            self.num_tokens += entry.num_tokens

    def discard(self, entry: Entry) -> None:
        """Remove a text if it still waits."""
        lane = self._lanes[entry.lane]
        if entry in lane:
            del lane[entry]
            self.num_tokens -= entry.num_tokens

    def take_batch(self, budget: float = math.inf) -> list[Entry]:
        """Remove and return the next batch: never empty, unless nothing waits.

        Args:
            budget: Padded tokens of this batch, where that is less than the limits allow.
        """
        window = self._window()
        if len(window) <= 1:
            batch = window
        else:
            chosen = choose_batch(
                [entry.num_tokens for entry in window],
                [entry.num_overtakes for entry in window],
                self._limits,
                budget,
            )
            batch = [window[i] for i in chosen]
            for entry in window[: chosen[-1]]:
                entry.num_overtakes += 1  # of those just taken, too, where it no longer matters
        for entry in batch:
            self.discard(entry)
        return batch

    def _window(self) -> list[Entry]:
        interactive, bulk = self._lanes
        ordered = (
            merge(interactive, bulk, key=_rank) if interactive and bulk else interactive or bulk
        )
        return list(islice(ordered, self._limits.window_texts))
