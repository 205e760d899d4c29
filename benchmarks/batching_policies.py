"""Batching policies on the same queue, engine and open-loop arrivals.

    python -m benchmarks.batching_policies MODEL_DIR --texts rows.jsonl.gz

Four rules cut batches from what waits; everything else is the same code and the same arrivals:

    one request, one batch    bert-as-service, ERNIE Service: each request is a batch
    count and timer           `@serve.batch`, Infinity: up to 32 texts, or what came in 10 ms
    FIFO token budget         text-embeddings-inference: in order, padded tokens up to a budget
    ours                      the budget, grouped by length, nobody overtaken for long

Arrivals are a Poisson process whose rate does not wait for answers; latency counts from the planned
arrival, so a queue that grows shows. Rates are shares of what ``ours`` can do at most.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click
import numpy as np
from tqdm import tqdm

from ernie_ray.inference.grouping import BatchLimits, choose_batch
from ernie_ray.inference.predictor import Predictor
from ernie_ray.text.features import TokenIds

LIMITS = BatchLimits()
_COUNT, _TIMER_S = 32, 0.010


@dataclass
class Waiting:
    """One request with one text, from its planned arrival on."""

    row: TokenIds
    arrived_s: float
    num_overtakes: int = 0
    done_s: float = 0.0


Rule = Callable[[Sequence[Waiting], float], list[int]]
"""From what waits and the time to the positions of the next batch; none: wait a little."""


def one_request(waiting: Sequence[Waiting], now_s: float) -> list[int]:
    """Each request is a batch."""
    return [0]


def count_and_timer(waiting: Sequence[Waiting], now_s: float) -> list[int]:
    """A full count, or whatever came while the oldest waited for the timer."""
    if len(waiting) < _COUNT and now_s - waiting[0].arrived_s < _TIMER_S:
        return []
    return list(range(min(_COUNT, len(waiting))))


def fifo_budget(waiting: Sequence[Waiting], now_s: float) -> list[int]:
    """In order of arrival, as long as the padded tokens fit the budget."""
    everyone_overtaken = [LIMITS.max_overtakes] * len(waiting)
    return choose_batch([len(one.row) for one in waiting], everyone_overtaken, LIMITS)


def ours(waiting: Sequence[Waiting], now_s: float) -> list[int]:
    """Grouped by length, bounded in overtaking."""
    window = waiting[: LIMITS.window_texts]
    chosen = choose_batch(
        [len(one.row) for one in window], [one.num_overtakes for one in window], LIMITS
    )
    for one in window[: chosen[-1]]:
        one.num_overtakes += 1
    return chosen


RULES: dict[str, Rule] = {
    "one request, one batch": one_request,
    "count and timer": count_and_timer,
    "FIFO token budget": fifo_budget,
    "ours": ours,
}


@dataclass(frozen=True)
class Outcome:
    """What one rule did under one load."""

    texts_per_s: float
    latencies_s: np.ndarray
    waste: float
    texts_per_batch: float


async def _play(
    predictor: Predictor, rows: Sequence[TokenIds], arrivals_s: np.ndarray, rule: Rule
) -> Outcome:
    waiting: list[Waiting] = []
    done: list[Waiting] = []
    real = padded = num_batches = 0
    start_s = time.monotonic()
    next_one = 0
    while len(done) < len(rows):
        now_s = time.monotonic() - start_s
        while next_one < len(rows) and arrivals_s[next_one] <= now_s:
            waiting.append(Waiting(rows[next_one], float(arrivals_s[next_one])))
            next_one += 1
        chosen = rule(waiting, now_s) if waiting else []
        if not chosen:
            await asyncio.sleep(0.0005)
            continue
        batch = [waiting[i] for i in chosen]
        taken = set(chosen)
        waiting = [one for i, one in enumerate(waiting) if i not in taken]
        await asyncio.to_thread(predictor.forward, [one.row for one in batch])
        ended_s = time.monotonic() - start_s
        for one in batch:
            one.done_s = ended_s
        done += batch
        num_batches += 1
        real += sum(len(one.row) for one in batch)
        padded += max(len(one.row) for one in batch) * len(batch)
    seconds = time.monotonic() - start_s
    latencies = np.array([one.done_s - one.arrived_s for one in done])
    return Outcome(len(done) / seconds, latencies, 1 - real / padded, len(done) / num_batches)


def capacity(predictor: Predictor, rows: Sequence[TokenIds]) -> float:
    """Texts a second when everything waits from the start, by our rule."""
    everything = np.zeros(len(rows))
    return asyncio.run(_play(predictor, rows, everything, ours)).texts_per_s


def texts_of(path: Path, limit: int) -> list[str]:
    """The field `text` of a JSON lines file, packed with gzip or not."""
    packed = path.read_bytes()
    lines = (gzip.decompress(packed) if path.suffix == ".gz" else packed).splitlines()
    return [json.loads(line)["text"] for line in islice(lines, limit)]


@click.command()
@click.argument("model_dir", type=click.Path(exists=True, file_okay=False))
@click.option("--texts", type=click.Path(exists=True, path_type=Path), required=True)
@click.option("--num-texts", default=1500, show_default=True)
@click.option("--share", multiple=True, type=float, help="Loads.  [default: 0.4 0.8 1.2]")
@click.option("--num-threads", default=2, show_default=True)
def main(
    model_dir: str, texts: Path, num_texts: int, share: tuple[float, ...], num_threads: int
) -> None:
    """Print throughput, latencies and padding waste of each policy under each load."""
    predictor = Predictor.from_dir(model_dir, num_threads=num_threads)
    rows = predictor.tokenize(texts_of(texts, num_texts))
    asyncio.run(_play(predictor, rows[:200], np.zeros(len(rows[:200])), ours))  # warm up
    most = capacity(predictor, rows)
    lengths = sorted(map(len, rows))
    click.echo(
        f"{len(rows)} texts, {lengths[len(rows) // 2]} tokens in the middle, "
        f"{lengths[-1]} at most; "
        f"ours does {most:.0f} texts/s when all wait"
    )
    click.echo("| load | policy | texts/s | p50 ms | p95 ms | p99 ms | padding | texts/batch |")
    click.echo("|---|---|---|---|---|---|---|---|")
    cases = [(one, name) for one in share or (0.4, 0.8, 1.2) for name in RULES]
    for load, name in tqdm(cases, leave=False):
        gaps_s = np.random.default_rng(7).exponential(1 / (most * load), len(rows))
        found = asyncio.run(_play(predictor, rows, gaps_s.cumsum(), RULES[name]))
        p50, p95, p99 = np.percentile(found.latencies_s * 1e3, [50, 95, 99])
        tqdm.write(
            f"| {load:.0%} | {name} | {found.texts_per_s:.0f} | {p50:.0f} | {p95:.0f} | {p99:.0f} "
            f"| {found.waste:.0%} | {found.texts_per_batch:.1f} |"
        )


if __name__ == "__main__":
    main()
