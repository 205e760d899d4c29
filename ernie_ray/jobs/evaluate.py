"""Measure a model directory on labelled rows, with the metrics of its task.

Runs in this process with the same predictor that the service uses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ernie_ray.errors import ConfigError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.predict import DEFAULT_OPTIONS, RunOptions
from ernie_ray.jobs.row_blocks import checked_schema
from ernie_ray.jobs.storage import Location
from ernie_ray.tasks import family_of
from ernie_ray.tasks.example import Example, text_of, texts_with_rows
from ernie_ray.text.rows import Row, RowReader, RowSchema, read_rows

_ROWS_AT_ONCE = 1024


@dataclass(frozen=True)
class Evaluation:
    """What a model directory is worth on some rows.

    Attributes:
        metrics: As the task family names them.
        num_rows: Rows measured.
        num_skipped: Bad rows left out.
        skipped: The first of them, in words.
        engine: What ran the model, and at which precision: ``"openvino bf16"``.
        seconds: Time for all rows, without loading the model.
    """

    metrics: dict[str, float]
    num_rows: int
    num_skipped: int
    skipped: tuple[str, ...]
    engine: str
    seconds: float


def evaluate(
    model_dir: Path,
    location: Location,
    schema: RowSchema,
    *,
    options: RunOptions = DEFAULT_OPTIONS,
    show_progress: bool = False,
) -> dict[str, float]:
    """Give only the metrics of ``measure``, which has the arguments."""
    return measure(
        model_dir, location, schema, options=options, show_progress=show_progress
    ).metrics


def measure(
    model_dir: Path,
    location: Location,
    schema: RowSchema,
    *,
    options: RunOptions = DEFAULT_OPTIONS,
    show_progress: bool = False,
) -> Evaluation:
    """Measure a model directory.

    Args:
        model_dir: The model directory, on this machine.
        location: Labelled rows: a file, a folder or a glob; absolute path or URI.
        schema: Their columns; the labels are the model's.
        options: How the model is run.
        show_progress: Draw a bar on stderr.

    Raises:
        ConfigError: The model has no head, or the schema no label column.
        DataError: A file or row cannot be used, or a label is none of the model's.
        ModelDirError: The model directory is broken.
    """
    predictor = Predictor.from_dir(model_dir, engine=options.engine, precision=options.precision)
    family = family_of(predictor.manifest.task)
    if family.label_width == 0:
        raise ConfigError(
            f"{model_dir}: the model has no head, so there is nothing to measure; "
            "fine-tune it first"
        )
    if schema.label is None:
        raise ConfigError("rows without labels cannot be measured; name the label column")
    reader = read_rows(
        location, checked_schema(schema, predictor.manifest.task), on_bad=options.on_bad
    )
    kept: list[NDArray[np.float32]] = []
    examples: list[Example] = []
    num_rows = 0
    start = time.perf_counter()
    with tqdm(desc="evaluate", unit=" rows", disable=not show_progress) as bar:
        for rows in _chunks(reader):
            tokens = predictor.tokenize([text_of(row) for row in rows])
            outputs = predictor.run_rows(tokens)
            assert outputs.logits is not None  # label_width > 0 means a head
            kept += list(family.kept(outputs.logits))
            for row, parts in texts_with_rows(rows, tokens):
                examples += family.examples(row, parts, measures=True)
            num_rows += len(rows)
            bar.update(len(rows))
    metrics = family.metrics(
        kept, [example.label for example in examples], [example.info for example in examples]
    )
    return Evaluation(
        metrics=metrics,
        num_rows=num_rows,
        num_skipped=reader.num_skipped,
        skipped=tuple(str(bad) for bad in reader.skipped),
        engine=f"{predictor.engine} {predictor.precision}",
        seconds=time.perf_counter() - start,
    )


def _chunks(reader: RowReader) -> Iterator[list[Row]]:
    while rows := list(islice(reader, _ROWS_AT_ONCE)):
        yield rows
