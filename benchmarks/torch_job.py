"""A finished quality run as a job for PyTorch: the same first weights, rows, batches and settings.

``encoder/`` has the weights in Hugging Face's layout, ``head.safetensors`` the head as drawn,
``train.npz`` the batches of every step in their order, ``test.npz`` those to answer, ``job.json``
the settings. ``benchmarks/peers/torch_finetune.py`` reads it. Knows no PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from ernie_ray.config import Recipe
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.row_blocks import checked_schema
from ernie_ray.jobs.worker_inputs import row_schema
from ernie_ray.modeldir import EncoderConfig
from ernie_ray.models.pretrained.hugging_face import write_config
from ernie_ray.models.pretrained.layouts import HUGGING_FACE
from ernie_ray.models.pretrained.renaming import from_our_names
from ernie_ray.models.start import StartSpec, read_spec
from ernie_ray.tasks import family_of
from ernie_ray.tasks.example import Example, text_of, texts_with_rows
from ernie_ray.text.cache import FeatureCache
from ernie_ray.text.features import TokenIds, pad_batch
from ernie_ray.text.row_schema import Row
from ernie_ray.text.rows import read_rows
from ernie_ray.training.batch_plan import BatchPlan, micro_batches

_TEST_BATCH = 32
Batch = dict[str, NDArray[Any]]


def write_job(run: Path, recipe: Recipe, folder: Path) -> None:
    """Write a run's job.

    Args:
        run: A run folder with ``start``, ``features`` (of the training rows alone) and ``model``.
        recipe: Its recipe; one worker, no dropout.
        folder: Is made.
    """
    spec = read_spec(run / "start")
    folder.mkdir(parents=True, exist_ok=True)
    _write_first_weights(run / "start", spec, recipe.training.seed, folder)
    (features,) = (run / "features").iterdir()
    cache = FeatureCache.open(features)
    plan = BatchPlan(cache.lengths, recipe.training.global_batch_size, recipe.training.seed)
    _write_batches(_training_steps(cache, plan, recipe, spec), folder / "train.npz")
    tokens = _test_tokens(run, recipe)[1]
    test = ([_padded([tokens[i] for i in rows], spec)] for rows in _test_batches(tokens))
    _write_batches(test, folder / "test.npz")
    training = recipe.training
    settings = {
        "pooling": str(spec.pooling),
        "is_per_token": family_of(spec.task).is_per_token,
        "learning_rate": training.learning_rate,
        "head_learning_rate": training.head_learning_rate,
        "weight_decay": training.weight_decay,
        "clip_norm": training.clip_norm,
        "num_steps": training.max_steps,
        "num_warmup_steps": round(training.warmup_fraction * training.max_steps),
        "seed": training.seed,
        "num_threads": recipe.scaling.cpus_per_worker,
    }
    (folder / "job.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")


def measure_answers(run: Path, recipe: Recipe, folder: Path) -> dict[str, float]:
    """Measure the logits that were answered to a job, with the metrics of the run's task."""
    rows, tokens = _test_tokens(run, recipe)
    family = family_of(read_spec(run / "start").task)
    answers = np.load(folder / "logits.npz")
    kept: list[NDArray[np.float32]] = [np.empty(0, np.float32)] * len(tokens)
    for number, chosen in enumerate(_test_batches(tokens)):
        for i, logits in zip(chosen, answers[str(number)], strict=True):
            own = logits[: len(tokens[i])] if family.is_per_token else logits
            kept[i] = family.kept(own[None])[0]
    examples: list[Example] = []
    for row, parts in texts_with_rows(rows, tokens):
        examples += family.examples(row, parts, measures=True)
    return family.metrics(kept, [e.label for e in examples], [e.info for e in examples])


def _write_first_weights(start: Path, spec: StartSpec, seed: int, folder: Path) -> None:
    import paddle

    from ernie_ray.models.build import build_network, load_start_weights
    from ernie_ray.models.encoder import read_weights

    assert isinstance(spec.network, EncoderConfig)
    paddle.seed(seed)  # as a training worker does, so that the head is the same
    network = build_network(spec)
    load_start_weights(network, start)
    weights = read_weights(network)
    head = {
        "weight": np.ascontiguousarray(weights.pop("head.weight").T),
        "bias": weights.pop("head.bias"),
    }
    save_file(head, folder / "head.safetensors")
    encoder = {name.removeprefix("encoder."): value for name, value in weights.items()}
    (folder / "encoder").mkdir(exist_ok=True)
    save_file(
        from_our_names(encoder, HUGGING_FACE),
        folder / "encoder" / "model.safetensors",
        metadata={"format": "pt"},
    )
    write_config(spec.network, folder / "encoder", dropout=0.0)


def _training_steps(cache: FeatureCache, plan: BatchPlan, recipe: Recipe, spec: StartSpec) -> Any:
    """Give the micro-batches of each step, as the training loop deals them."""
    epoch = step = 0
    for _ in range(recipe.training.max_steps):
        if step == plan.num_steps(epoch):
            epoch, step = epoch + 1, 0
        rows = plan.global_batch(epoch, step)
        yield [
            _padded(cache.rows(part), spec) | {"labels": cache.labels(part)}
            for part in micro_batches(rows, recipe.training.per_worker_batch_size)
        ]
        step += 1


def _padded(rows: Sequence[TokenIds], spec: StartSpec) -> Batch:
    batch = pad_batch(rows, pad_token_id=spec.network.pad_token_id)
    return {
        "input_ids": batch.input_ids,
        "token_type_ids": batch.token_type_ids,
        "attention_mask": batch.attention_mask,
    }


def _test_tokens(run: Path, recipe: Recipe) -> tuple[list[Row], list[TokenIds]]:
    """Rows of the test file, and what the model directory's tokenizer makes of them."""
    predictor = Predictor.from_dir(run / "model")
    schema = checked_schema(row_schema(recipe), predictor.manifest.task)
    rows = list(read_rows(Path(recipe.data.test), schema))
    return rows, predictor.tokenize([text_of(row) for row in rows])


def _test_batches(tokens: Sequence[TokenIds]) -> list[list[int]]:
    order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
    return [order[i : i + _TEST_BATCH] for i in range(0, len(order), _TEST_BATCH)]


def _write_batches(steps: Any, path: Path) -> None:
    """Write micro-batches under the names ``step.number.array``."""
    arrays = {
        f"{step}.{number}.{key}": value
        for step, batches in enumerate(steps)
        for number, batch in enumerate(batches)
        for key, value in batch.items()
    }
    np.savez(path, **arrays)
