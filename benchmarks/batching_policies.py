r"""Batching policies on one engine under the same open-loop arrivals.

    python -m benchmarks.batching_policies

Four queues cut batches from what waits; everything else is the same code and the same arrivals:

    one request, one batch    bert-as-service, ERNIE Service: each request is a batch
    count and timer           `@serve.batch`, Infinity: up to 32 texts, or what came in 10 ms
    FIFO token budget         text-embeddings-inference: in order, padded tokens up to a budget
    ours                      the service's own queue: the budget, grouped by length, nobody
                              overtaken for long

Requests hold one real Chinese text. They arrive as a Poisson process whose rate does not wait for
answers; latency counts from the planned arrival, so a queue that grows shows. Rates are shares of
what ``ours`` does when everything waits. The policies take turns, round by round.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.cost_per_text import reviews_model_dir, shuffled_reviews
from benchmarks.report import command_line, spread, table, write_result
from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.inference.lane_queue import Entry, Lane, LaneQueue
from ernie_ray.inference.pace import Pace
from ernie_ray.inference.predictor import Predictor
from ernie_ray.text.features import TokenIds

LIMITS = BatchLimits()
LOADS = (0.4, 0.8, 1.2)
_COUNT, _TIMER_S = 32, 0.010
_POLL_S = 0.0005


class Queue(Protocol):
    """What waits, and how batches are cut from it."""

    def push(self, entries: Iterable[Entry], now_s: float) -> None:
        """Add texts that came now."""

    def take(self, now_s: float) -> list[Entry]:
        """Remove the next batch; empty: not yet."""

    def done(self, num_padded: int, seconds: float) -> None:
        """Hear how long a batch of so many padded tokens took."""


class Ours(LaneQueue):
    """The queue of the service."""

    def __init__(self) -> None:
        super().__init__(LIMITS)
        self._pace = Pace()

    def take(self, now_s: float) -> list[Entry]:
        """Never wait for more while the engine is free."""
        return self.take_batch(self._pace.tokens_in(LIMITS.max_batch_s))

    def done(self, num_padded: int, seconds: float) -> None:
        """Learn the engine's pace."""
        self._pace.add(num_padded, seconds)


class InOrder:
    """The first texts that wait, as many as a rule says."""

    def __init__(self, count: Callable[[Sequence[Entry], float], int]) -> None:
        """Cut batches by a rule: from what waits (never empty) and the time to a count."""
        self._count = count
        self._waiting: deque[Entry] = deque()

    def push(self, entries: Iterable[Entry], now_s: float) -> None:
        """Add texts at the end."""
        for entry in entries:
            # When it came: while a batch ran, its timer ran as well.
            entry.rank_s = entry.owner
            self._waiting.append(entry)

    def take(self, now_s: float) -> list[Entry]:
        """Remove the next batch; empty: not yet."""
        num_texts = self._count(self._waiting, now_s) if self._waiting else 0
        return [self._waiting.popleft() for _ in range(num_texts)]

    def done(self, num_padded: int, seconds: float) -> None:
        """Nothing to learn."""


def one(waiting: Sequence[Entry], now_s: float) -> int:
    """Each request is a batch."""
    return 1


def count_or_timer(waiting: Sequence[Entry], now_s: float) -> int:
    """A full count, or whatever came while the oldest waited for the timer."""
    is_due = len(waiting) >= _COUNT or now_s - waiting[0].rank_s >= _TIMER_S
    return min(_COUNT, len(waiting)) if is_due else 0


def token_budget(waiting: Sequence[Entry], now_s: float) -> int:
    """As many as fit the budget of padded tokens."""
    longest = 0
    for num_texts, entry in enumerate(waiting):
        longest = max(longest, entry.num_tokens)
        if longest * (num_texts + 1) > LIMITS.max_batch_tokens:
            return max(num_texts, 1)
    return len(waiting)


POLICIES: dict[str, Callable[[], Queue]] = {
    "one request, one batch": lambda: InOrder(one),
    "count and timer": lambda: InOrder(count_or_timer),
    "FIFO token budget": lambda: InOrder(token_budget),
    "ours": Ours,
}


@dataclass(frozen=True)
class Outcome:
    """What one policy did under one load."""

    texts_per_s: float
    latencies_ms: NDArray[np.float64]
    padding_share: float
    texts_per_batch: float

    @property
    def numbers(self) -> list[float]:
        """As in the table's columns."""
        percentiles = np.percentile(self.latencies_ms, [50, 95, 99]).tolist()
        return [self.texts_per_s, *percentiles, 100 * self.padding_share, self.texts_per_batch]


def play(
    predictor: Predictor,
    rows: Sequence[TokenIds],
    arrivals_s: NDArray[np.float64],
    queue: Queue,
) -> Outcome:
    """Let texts arrive at their times and answer all of them.

    Args:
        predictor: Its ``forward`` runs in a thread of its own, as in the service.
        rows: Texts.
        arrivals_s: Ascending; a text that is late because a batch ran still counts from here.
        queue: Empty.
    """
    latencies_s: list[float] = []
    num_came = num_batches = real = padded = 0
    start_s = time.monotonic()
    with ThreadPoolExecutor(1) as engine:
        while len(latencies_s) < len(rows):
            now_s = time.monotonic() - start_s
            until = int(np.searchsorted(arrivals_s, now_s, side="right"))
            came = [
                Entry(arrivals_s[i], i, len(rows[i]), Lane.INTERACTIVE)
                for i in range(num_came, until)
            ]
            queue.push(came, now_s)
            num_came = until
            batch = queue.take(now_s)
            if not batch:
                time.sleep(_POLL_S)
                continue
            engine.submit(predictor.forward, [rows[entry.index] for entry in batch]).result()
            ended_s = time.monotonic() - start_s
            num_padded = max(entry.num_tokens for entry in batch) * len(batch)
            queue.done(num_padded, ended_s - now_s)
            latencies_s += [ended_s - entry.owner for entry in batch]
            num_batches += 1
            real += sum(entry.num_tokens for entry in batch)
            padded += num_padded
    seconds = time.monotonic() - start_s
    latencies_ms = np.array(latencies_s) * 1e3
    num_texts = len(rows)
    return Outcome(num_texts / seconds, latencies_ms, 1 - real / padded, num_texts / num_batches)


def main() -> None:
    """Measure and write docs/results/batching_policies.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model directory; default: 12 layers of 384")
    parser.add_argument("--texts", type=Path, help="JSON lines with `text`; default: reviews")
    parser.add_argument("--num-texts", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    found = texts_of(args.texts, args.num_texts) if args.texts else shuffled_reviews(args.num_texts)
    model = args.model or reviews_model_dir(shuffled_reviews(None))
    predictor = Predictor.from_dir(model, num_threads=args.threads)
    rows = predictor.tokenize(found)
    most_per_s, outcomes = measure(predictor, rows, args.rounds)
    path = write_result(
        "batching_policies",
        "Batching policies under the same arrivals",
        command_line("batching_policies"),
        _report(predictor, rows, most_per_s, outcomes),
    )
    print(path.read_text(encoding="utf-8"))  # noqa: T201


def measure(
    predictor: Predictor, rows: Sequence[TokenIds], num_rounds: int
) -> tuple[float, dict[tuple[float, str], list[Outcome]]]:
    """Let the policies take turns under every load.

    Returns:
        Texts a second of ``ours`` when all wait from the start, and each policy's outcomes by load.
    """
    at_once = np.zeros(len(rows))
    play(predictor, rows[: len(rows) // 4], at_once[: len(rows) // 4], Ours())  # warms up
    most_per_s = play(predictor, rows, at_once, Ours()).texts_per_s
    outcomes: dict[tuple[float, str], list[Outcome]] = {}
    turns = [(i, load, name) for i in range(num_rounds) for load in LOADS for name in POLICIES]
    for i, load, name in tqdm(turns, unit="turn"):
        gaps_s = np.random.default_rng(i).exponential(1 / (most_per_s * load), len(rows))
        outcome = play(predictor, rows, gaps_s.cumsum(), POLICIES[name]())
        outcomes.setdefault((load, name), []).append(outcome)
    return most_per_s, outcomes


def texts_of(path: Path, limit: int) -> list[str]:
    """The field `text` of a JSON lines file, packed with gzip or not."""
    packed = path.read_bytes()
    lines = (gzip.decompress(packed) if path.suffix == ".gz" else packed).splitlines()
    return [json.loads(line)["text"] for line in islice(lines, limit)]


def _report(
    predictor: Predictor,
    rows: Sequence[TokenIds],
    most_per_s: float,
    outcomes: dict[tuple[float, str], list[Outcome]],
) -> str:
    header = ["load, policy", "texts/s", "p50 ms", "p95 ms", "p99 ms", "padding %", "texts a batch"]
    shown = []
    for (load, name), runs in outcomes.items():
        columns = zip(*(run.numbers for run in runs), strict=True)
        shown.append([f"{load:.0%}, {name}", *(spread(column, 0) for column in columns)])
    middle, longest = np.percentile([len(row) for row in rows], [50, 100])
    num_rounds = len(next(iter(outcomes.values())))
    return (
        f"{predictor.manifest.name}, {predictor.engine} {predictor.precision}; {len(rows):,} "
        f"Chinese texts, one a request, {middle:.0f} tokens in the middle and {longest:.0f} at "
        f"most. Loads are shares of {most_per_s:.0f} texts/s, which our queue reached when all "
        "texts waited. "
        f"Medians with quartiles over {num_rounds} rounds; in a round every policy had the same "
        f"arrivals. Padding is the share of computed tokens that hold no text.\n\n"
        + table(header, shown)
    )


if __name__ == "__main__":
    main()
