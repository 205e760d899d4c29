"""Give rows their labels, scores and vectors: in this process, or by a pool of Ray Data actors.

Both ways read, check and write the same; only who runs the model differs. The output has one row
per good input row, in input order, and appears whole or not at all. What an interrupted run has
predicted is kept beside the output, and the same call again predicts only what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.compute as pc

from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.chunk_run import ChunkRun, Pool, run_chunks
from ernie_ray.jobs.file_digests import digests_of_files
from ernie_ray.jobs.parts import Parts, digest_of, parts_folder
from ernie_ray.jobs.prediction_files import (
    Format,
    open_writer,
    prediction_schema,
    prediction_table,
    with_kept,
)
from ernie_ray.jobs.row_blocks import BadRowFilter, schema_of_model, texts_of
from ernie_ray.jobs.storage import Location, Storage, staging_path
from ernie_ray.modeldir import EncoderConfig, Manifest
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import OnBad

# Counts up when the same input would give other parts.
_FORMAT = 2
ROWS_PER_CHUNK = 512


@dataclass(frozen=True)
class RunOptions:
    """How a model is run over rows.

    Attributes:
        engine: As for ``Predictor.from_dir``.
        precision: As for ``Predictor.from_dir``.
        on_bad: Stop at a bad row, or skip and list it.
    """

    engine: str = "auto"
    precision: str = "auto"
    on_bad: OnBad = "error"


DEFAULT_OPTIONS = RunOptions()


@dataclass(frozen=True)
class PredictRequest:
    """What to predict.

    Attributes:
        model_dir: Model directory: absolute path (on a cluster, one that all nodes see) or URI.
        files: The rows, read in this order.
        schema: Their columns; a label column is not needed.
        has_vectors: Give each row its vector, too.
        options: How the model is run.
    """

    model_dir: Location
    files: tuple[DataFile, ...]
    schema: RowSchema
    has_vectors: bool = False
    options: RunOptions = DEFAULT_OPTIONS


@dataclass(frozen=True)
class PredictResult:
    """What came of it.

    Attributes:
        output: Where the predictions are; None: on standard output.
        num_rows: Rows predicted.
        num_skipped: Bad rows left out.
        skipped: The first of them, in words.
    """

    output: Location | None
    num_rows: int
    num_skipped: int
    skipped: tuple[str, ...]


def predict(
    request: PredictRequest,
    *,
    storage: Storage,
    output: str | None,
    kind: Format = "jsonl",
    num_actors: int = 0,
    show_progress: bool = False,
) -> PredictResult:
    """Run a model over rows and write what it gives.

    Args:
        request: Rows and model.
        storage: Resolves ``output``.
        output: File to write; None: standard output.
        kind: Format of the file.
        num_actors: Copies of the model on Ray, which must be initialised; 0: one, here.
        show_progress: Draw a bar on stderr.

    Raises:
        DataError: A file or row cannot be used, or the output cannot be written.
        ModelDirError: The model directory is broken.
        ConfigError: The engine cannot be had, the output has no place, or a column to keep has the
            name of one that predictions have.
    """
    if output is not None:
        storage.check_output(output)
    folder = storage.fetch(request.model_dir)
    manifest = read_manifest(folder)
    request = replace(request, schema=schema_of_model(request.schema, manifest))
    schema = prediction_schema(
        manifest,
        has_pair=request.schema.text_pair is not None,
        has_vectors=request.has_vectors,
        keep=request.schema.keep,
    )
    loading = request if num_actors else replace(request, model_dir=folder)
    run = ChunkRun(
        "predict",
        request.files,
        request.schema,
        request.options.on_bad,
        ROWS_PER_CHUNK,
        load=partial(RowPredictor, loading),
        # A student answers about as fast as rows are read.
        checks_first=isinstance(manifest.network, EncoderConfig),
    )
    location = None if output is None else storage.resolve(output)
    with _parts(request, manifest, output, storage) as parts:
        lengths = run_chunks(run, parts, Pool(num_actors), show_progress=show_progress)
        staging = None if location is None else staging_path(location)
        bad_rows = BadRowFilter(request.options.on_bad)
        num_rows = 0
        try:
            with open_writer(staging, kind, schema, output=location) as writer:
                for rows in parts.in_order(lengths):
                    good = bad_rows.good(rows)
                    writer.write(with_kept(good, request.schema.keep).select(schema.names))
                    num_rows += good.num_rows
            bad_rows.refuse_none_left(num_rows)
            if staging is not None and output is not None:
                storage.publish(staging, output)
        finally:
            if staging is not None:
                staging.unlink(missing_ok=True)
        parts.remove()
    return PredictResult(location, num_rows, bad_rows.num_skipped, tuple(bad_rows.skipped))


@contextmanager
def _parts(
    request: PredictRequest, manifest: Manifest, output: str | None, storage: Storage
) -> Iterator[Parts]:
    """Where chunks are kept: beside the output, or, for standard output, until this run ends."""
    if output is None:
        with TemporaryDirectory(prefix="ernie-ray-predict-") as folder:
            yield Parts(Storage(), folder)
        return
    digest = digest_of(
        {
            "format": _FORMAT,
            "model": manifest.fingerprint,
            "inputs": digests_of_files(request.files),
            "schema": asdict(request.schema),
            "has_vectors": request.has_vectors,
            "options": asdict(request.options),
            "rows_per_chunk": ROWS_PER_CHUNK,
        }
    )
    yield Parts(storage, parts_folder(output, digest))


class RowPredictor:
    """Predicts chunks of rows with a model that is loaded once."""

    def __init__(self, request: PredictRequest, num_threads: int | None = None) -> None:
        options = request.options
        folder = Storage().fetch(request.model_dir)
        self._predictor = Predictor.from_dir(
            folder, engine=options.engine, precision=options.precision, num_threads=num_threads
        )
        self._schema = prediction_schema(
            self._predictor.manifest,
            has_pair=request.schema.text_pair is not None,
            has_vectors=request.has_vectors,
        )

    def __call__(self, rows: pa.Table) -> pa.Table:
        """Predict the good rows of a chunk with ``ROW_COLUMNS``; bad ones pass through."""
        is_good = pc.is_null(rows["problem"])
        good = rows.filter(is_good)
        predicted = prediction_table(
            good, self._predictor.predict(texts_of(good)) if good.num_rows else [], self._schema
        )
        if good.num_rows == rows.num_rows:
            return predicted
        bad = rows.filter(pc.invert(is_good)).select(["file", "row", "problem", "is_fatal"])
        return pa.concat_tables([predicted, bad], promote_options="default")
