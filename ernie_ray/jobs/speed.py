"""How fast a model answers in this process: one text at a time, and many together.

Also a 12 x 768 encoder with random weights, as Paddle runs it eagerly: the yardstick of the kit's
"1000 times faster". It runs in a process of its own, with the environment that makes it fastest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ernie_ray.environment import training_worker_environment
from ernie_ray.errors import ErnieRayError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.text.tokenizer import Text

_NUM_WARM_UP = 5
BASE_MAX_TOKENS = 128
_BASE_VOCAB_SIZE = 18_000


@dataclass(frozen=True)
class Speed:
    """Measured times.

    Attributes:
        p50_ms: Median time of one text alone, tokenizing included.
        p99_ms: 99th percentile of the same.
        texts_per_s: Texts per second when many are given at once.
    """

    p50_ms: float
    p99_ms: float
    texts_per_s: float


def time_predictor(predictor: Predictor, texts: Sequence[Text]) -> Speed:
    """Time a loaded model directory on some texts, from text to label."""
    seconds = time_one_by_one(lambda text: predictor.predict([text]), texts)
    start = time.perf_counter()
    predictor.predict(texts)
    return _speed(seconds, len(texts) / (time.perf_counter() - start))


def time_one_by_one(answer: Callable[[Text], object], texts: Sequence[Text]) -> list[float]:
    """Seconds of each call, after some calls that are not counted."""
    for text in texts[:_NUM_WARM_UP]:
        answer(text)
    seconds = []
    for text in texts:
        start = time.perf_counter()
        answer(text)
        seconds.append(time.perf_counter() - start)
    return seconds


def _speed(seconds: Sequence[float], texts_per_s: float) -> Speed:
    p50, p99 = np.percentile(seconds, [50, 99]).tolist()
    return Speed(1e3 * p50, 1e3 * p99, texts_per_s)


def time_base_encoder(texts: Sequence[Text], num_threads: int | None = None) -> Speed:
    """Time a 12 x 768 encoder, cut by characters at 128 tokens, in Paddle's eager mode.

    Tokenizing is not counted, which flatters the encoder a little.

    Args:
        texts: Decide the lengths; what they say does not matter to random weights.
        num_threads: Compute threads; None: all that this process may use.

    Raises:
        ErnieRayError: The process that runs it failed.
    """
    threads = num_threads or len(os.sched_getaffinity(0))
    environment = {**os.environ, **training_worker_environment(threads, environ={})}
    lengths = [min(_num_characters(text) + 2, BASE_MAX_TOKENS) for text in texts]
    done = subprocess.run(
        [sys.executable, "-m", "ernie_ray.jobs.speed"],
        input=json.dumps(lengths),
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ErnieRayError(f"the base encoder could not be timed: {last}")
    seconds, texts_per_s = json.loads(done.stdout.splitlines()[-1])
    return _speed(seconds, texts_per_s)


def _num_characters(text: Text) -> int:
    return len(text) if isinstance(text, str) else len(text[0]) + len(text[1])


def _run_base_encoder(lengths: list[int]) -> tuple[list[float], float]:
    import paddle

    from ernie_ray.modeldir import ClassificationSpec, EncoderConfig, Pooling
    from ernie_ray.models.text_network import TextNetwork
    from ernie_ray.text.features import TokenIds, pad_batch

    config = EncoderConfig(
        vocab_size=_BASE_VOCAB_SIZE, hidden_size=768, num_layers=12, num_heads=12, ffn_size=3072,
        activation="relu", layer_norm_eps=1e-5, max_positions=513, num_token_types=2,
    )  # fmt: skip
    task = ClassificationSpec(labels=("negative", "positive"))
    network = TextNetwork(config, pooling=Pooling.POOLER, task=task)
    network.eval()
    rng = np.random.default_rng(0)
    rows = [TokenIds(rng.integers(5, _BASE_VOCAB_SIZE, n).tolist(), [0] * n) for n in lengths]

    def forward(chosen: list[TokenIds]) -> object:
        batch = pad_batch(chosen, pad_token_id=0)
        arrays = (batch.input_ids, batch.token_type_ids, batch.attention_mask)
        with paddle.no_grad():
            return network(*map(paddle.to_tensor, arrays)).logits.numpy()

    for row in rows[:_NUM_WARM_UP]:
        forward([row])
    seconds = []
    for row in rows:
        start = time.perf_counter()
        forward([row])
        seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
    forward(sorted(rows, key=len))
    return seconds, len(rows) / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_run_base_encoder(json.load(sys.stdin))) + "\n")
