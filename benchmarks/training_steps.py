"""The training loop without Ray, in a process of its own, and what it takes to time it.

`python -m benchmarks.training_steps` reads a job as JSON from standard input and prints the loop's
lines of metrics. Each process starts with the environment that a training worker gets.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field
from tqdm import trange

from ernie_ray.config import TrainingSection
from ernie_ray.modeldir import ClassificationSpec, EncoderConfig, Pooling

Lines = list[dict[str, float]]

_LABELS = ("negative", "positive")

MODEL = "6 layers of 384, steps of 16 rows of 16 to 64 tokens"
_MAX_TOKENS = 64
_ENCODER = EncoderConfig(
    vocab_size=8000, hidden_size=384, num_layers=6, num_heads=6, ffn_size=1536,
    activation="gelu", layer_norm_eps=1e-12, max_positions=128, num_token_types=2,
)  # fmt: skip
_BATCH_SIZE = 16
_NUM_ROWS = 125 * _BATCH_SIZE  # so that no batch of an epoch is short


class LoopJob(BaseModel):
    """What one process trains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: str = Field(description="Start folder.")
    features: str = Field(description="Feature cache to learn from.")
    training: TrainingSection
    has_paddles_layers: bool = Field(
        default=False, description="With ``paddle.nn``'s layers in place of ``models.layers``."
    )
    keeps_memory: bool = Field(
        default=True, description="With ``training.freed_memory``, as a training worker."
    )
    stop_after: int | None = Field(
        default=None, description="Lines of metrics after which the training is left, unfinished."
    )


def random_job(folder: Path, num_steps: int) -> LoopJob:
    """Write random weights and rows of random tokens (``MODEL``), and describe their training.

    Args:
        folder: Gets ``start`` and ``features``.
        num_steps: Optimizer steps.
    """
    from ernie_ray.models.encoder import Encoder, read_weights
    from ernie_ray.models.pretrained import PretrainedEncoder
    from ernie_ray.models.start import StartSpec, write_start
    from ernie_ray.text.cache_writer import CacheWriter
    from ernie_ray.text.tokenizer_build import WordCut, wordpiece_tokenizer

    config, num_rows = _ENCODER, _NUM_ROWS
    task = ClassificationSpec(labels=_LABELS)
    pretrained = PretrainedEncoder(
        config=config,
        weights=read_weights(Encoder(config)),
        tokenizer=wordpiece_tokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], WordCut.BERT),
        pooling=Pooling.MEAN,
        normalize=True,
        text_prefix="",
        source="random weights",
    )
    spec = StartSpec(
        task=task, network=config, pooling=Pooling.MEAN, normalize=True, text_prefix="",
        max_tokens=_MAX_TOKENS, pretrained=pretrained.source,
    )  # fmt: skip
    (folder / "start").mkdir(parents=True)
    write_start(folder / "start", spec, pretrained)
    rng = np.random.default_rng(0)
    lengths = rng.integers(_MAX_TOKENS // 4, _MAX_TOKENS + 1, num_rows)
    labels = pa.array(rng.integers(0, 2, num_rows).astype(np.float32))
    rows = pa.table(
        {
            "file": np.zeros(num_rows, np.int32),
            "row": np.arange(num_rows),
            "input_ids": [rng.integers(5, config.vocab_size, n).tolist() for n in lengths],
            "token_type_ids": [[0] * n for n in lengths],
            "is_truncated": np.zeros(num_rows, bool),
            "label": pa.FixedSizeListArray.from_arrays(labels, 1),
        }
    )
    writer = CacheWriter(
        folder / "features", digest="random", file_names=["random"], labels=_LABELS, label_width=1
    )
    with writer:
        writer.write(rows)
        writer.finish()
    training = TrainingSection(
        global_batch_size=_BATCH_SIZE, max_steps=num_steps, num_epochs=1000,
        eval_every_steps=num_steps, log_every_steps=min(10, max(num_steps // 3, 1)),
    )  # fmt: skip
    return LoopJob(
        start=str(folder / "start"), features=str(folder / "features"), training=training
    )


def take_turns(
    sides: Sequence[Callable[[], float]], num_rounds: int, desc: str
) -> list[list[float]]:
    """Measure several sides round by round, each beginning a round in its turn.

    Returns:
        What each side gave, by round.
    """
    found: list[list[float]] = [[] for _ in sides]
    for number in trange(num_rounds, desc=desc, unit=" rounds"):
        for turn in range(len(sides)):
            side = (number + turn) % len(sides)
            found[side].append(sides[side]())
    return found


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Form the ratio within each round."""
    return [a / b for a, b in zip(numerators, denominators, strict=True)]


def run_alone(job: LoopJob, environment: Mapping[str, str]) -> Lines:
    """Train in a process of its own.

    Args:
        job: What to train.
        environment: Variables that are set; those of a training worker that are missing here are
            not set there, either.
    """
    from ernie_ray.environment import training_worker_environment

    known = training_worker_environment(1).keys() | {"MKL_DEBUG_CPU_TYPE"}
    inherited = {name: value for name, value in os.environ.items() if name not in known}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.training_steps"],
        input=job.model_dump_json(),
        env={**inherited, **environment, "GLOG_minloglevel": "2", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    lines: Lines = json.loads(done.stdout.splitlines()[-1])
    return lines


def seconds_per_step(lines: Lines, global_batch_size: int = _BATCH_SIZE) -> float:
    """Mean time of a step over all windows but the first, in which the process warms up.

    Computed from the loop's own rate, so evaluation and checkpoints do not count. All steps must
    have ``global_batch_size`` rows.
    """
    timed = [line for line in lines if "rows_per_s" in line]
    steps = np.diff([line["step"] for line in timed])
    rates = np.array([line["rows_per_s"] for line in timed[1:]])
    return float((steps * global_batch_size / rates).sum() / steps.sum())


class _EnoughError(Exception):
    """The lines that were asked for are there."""


class _Keeper:
    """A reporter that keeps the lines of training."""

    def __init__(self, stop_after: int | None) -> None:
        self.lines: Lines = []
        self._stop_after = stop_after

    def log(self, metrics: Mapping[str, float]) -> None:
        self.lines.append(dict(metrics))
        if len(self.lines) == self._stop_after:
            raise _EnoughError

    def report(self, metrics: Mapping[str, float], checkpoint_dir: Path | None) -> None:
        pass


def _train(job: LoopJob) -> Lines:
    """As a Ray Train worker does; see ``ernie_ray.jobs.train_worker``."""
    from ernie_ray.training.freed_memory import keep_freed_memory

    if job.keeps_memory:
        keep_freed_memory()
    import paddle

    from ernie_ray.models import layers
    from ernie_ray.models.build import build_network, load_start_weights
    from ernie_ray.models.start import read_spec
    from ernie_ray.tasks import family_of
    from ernie_ray.text.cache import FeatureCache
    from ernie_ray.training.collective import WorkerGroup
    from ernie_ray.training.loop import TrainingData, TrainingLoop

    if job.has_paddles_layers:
        layers.trains_on_cpu = lambda tensor: False
    start = Path(job.start)
    spec = read_spec(start)
    paddle.seed(job.training.seed)
    network = build_network(spec, dropout=job.training.dropout)
    load_start_weights(network, start)
    data: Any = FeatureCache.open(Path(job.features))
    keeper = _Keeper(job.stop_after)
    loop = TrainingLoop(
        network,
        TrainingData(train=data, dev=None, pad_token_id=spec.network.pad_token_id),
        job.training,
        family=family_of(spec.task),
        group=WorkerGroup(),
        reporter=keeper,
    )
    with contextlib.suppress(_EnoughError):
        loop.run()
    return keeper.lines


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_train(LoopJob.model_validate_json(sys.stdin.read()))) + "\n")
