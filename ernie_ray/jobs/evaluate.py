"""Measure a model directory on labelled rows, with the metrics of its task.

Runs in this process with the same predictor that the service uses.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ernie_ray.errors import ConfigError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.predict import DEFAULT_OPTIONS, RunOptions
from ernie_ray.jobs.row_blocks import schema_of_model
from ernie_ray.jobs.storage import Location
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.tasks import family_of
from ernie_ray.tasks.example import Example, text_of, texts_with_rows
from ernie_ray.tasks.tables import Tables
from ernie_ray.tasks.wrong_rows import WrongRows
from ernie_ray.text.row_schema import Row, RowSchema
from ernie_ray.text.rows import RowReader, read_rows

_ROWS_AT_ONCE = 1024
_MAX_MISTAKES = 50


@dataclass(frozen=True)
class Evaluation:
    """What a model directory is worth on some rows.

    Attributes:
        metrics: As the task family names them.
        num_rows: Rows measured.
        num_truncated: Texts that were cut to the model's longest input.
        num_skipped: Bad rows left out.
        skipped: The first of them, in words.
        engine: What ran the model, and at which precision: ``"openvino bf16"``.
        seconds: Time for all rows, without loading the model.
        tables: Where the model errs: a line per class, and classes against each other.
        mistakes: The first wrong rows, each with what the model gave; where the answer is a
            number, those furthest from their label, with ``error``.
    """

    metrics: dict[str, float]
    num_rows: int
    num_truncated: int
    num_skipped: int
    skipped: tuple[str, ...]
    engine: str
    seconds: float
    tables: Tables
    mistakes: tuple[dict[str, Any], ...]

    def as_json(self) -> dict[str, Any]:
        """Everything but the skipped rows' wording, as JSON holds it."""
        record = asdict(self)
        del record["skipped"]
        return record


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
        ConfigError: The model has no head, or the schema no label column, none of second texts
            for pairs, or none of queries for a ranking.
        DataError: A file or row cannot be used, or a label is none of the model's.
        ModelDirError: The model directory is broken.
    """
    manifest = read_manifest(model_dir)
    family = family_of(manifest.task)
    if family.label_width == 0:
        raise ConfigError(
            f"{model_dir}: the model has no head, so there is nothing to measure; "
            "fine-tune it first"
        )
    if schema.label is None:
        raise ConfigError("rows without labels cannot be measured; name the label column")
    schema = schema_of_model(schema, manifest, measures=True)
    reader = read_rows(location, schema, on_bad=options.on_bad)
    chunks = _chunks(reader)
    # Rows that cannot be used are an error before the model takes its time to load.
    first = next(chunks, [])
    predictor = Predictor.from_dir(model_dir, engine=options.engine, precision=options.precision)
    kept: list[NDArray[np.float32]] = []
    examples: list[Example] = []
    mistakes = WrongRows(manifest.task, _MAX_MISTAKES)
    num_rows = num_truncated = 0
    start = time.perf_counter()
    with tqdm(desc="evaluate", unit=" rows", disable=not show_progress) as bar:
        for rows in chain([first], chunks):
            tokens = predictor.tokenize([text_of(row) for row in rows])
            outputs = predictor.run_rows(tokens)
            assert outputs.logits is not None  # label_width > 0 means a head
            kept += list(family.kept(outputs.logits))
            results = predictor.decode(outputs.logits, tokens)
            for (row, parts), result in zip(texts_with_rows(rows, tokens), results, strict=True):
                examples += family.examples(row, parts, measures=True)
                mistakes.take(row, result)
                num_truncated += any(part.is_truncated for part in parts)
            num_rows += len(rows)
            bar.update(len(rows))
    measured = (kept, [e.label for e in examples], [e.info for e in examples])
    return Evaluation(
        metrics=family.metrics(*measured),
        num_rows=num_rows,
        num_truncated=num_truncated,
        num_skipped=reader.num_skipped,
        skipped=tuple(str(bad) for bad in reader.skipped),
        engine=f"{predictor.engine} {predictor.precision}",
        seconds=time.perf_counter() - start,
        tables=family.tables(*measured),
        mistakes=mistakes.records(),
    )


def _chunks(reader: RowReader) -> Iterator[list[Row]]:
    while rows := list(islice(reader, _ROWS_AT_ONCE)):
        yield rows
