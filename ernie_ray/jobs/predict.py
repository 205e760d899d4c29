"""Give rows their labels, scores and vectors: in this process, or by a pool of Ray Data actors.

Both ways read, check and write the same; only who runs the model differs. The output has one row
per good input row, in input order, and appears whole or not at all.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tqdm import tqdm

from ernie_ray.errors import ErnieRayError
from ernie_ray.inference.predictor import Predictor
from ernie_ray.jobs.prediction_files import (
    Format,
    open_writer,
    prediction_schema,
    prediction_table,
)
from ernie_ray.jobs.row_blocks import BadRowFilter, checked_schema, read_blocks, texts_of
from ernie_ray.jobs.storage import Location, Storage, staging_path
from ernie_ray.modeldir.folder import read_manifest
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.rows import OnBad, RowSchema

# Text per block on Ray: some hundred rows, so that the bar moves and actors end together.
_BLOCK_BYTES = 128 << 10


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
        output: File to write; None: standard output, as rows come.
        kind: Format of the file.
        num_actors: Copies of the model on Ray, which must be initialised; 0: one, here.
        show_progress: Draw a bar on stderr.

    Raises:
        DataError: A file or row cannot be used.
        ModelDirError: The model directory is broken.
        ConfigError: The engine cannot be had, or the output has no place.
    """
    folder = storage.fetch(request.model_dir)
    manifest = read_manifest(folder)
    request = replace(request, schema=checked_schema(request.schema, manifest.task))
    schema = prediction_schema(
        manifest,
        has_pair=request.schema.text_pair is not None,
        has_vectors=request.has_vectors,
    )
    here = replace(request, model_dir=folder)
    blocks = _blocks_on_ray(request, num_actors) if num_actors else _blocks_here(here)
    location = None if output is None else storage.resolve(output)
    staging = None if location is None else staging_path(location)
    bad_rows = BadRowFilter(request.options.on_bad)
    num_rows = 0
    try:
        with (
            closing(blocks),
            tqdm(desc="predict", unit=" rows", disable=not show_progress) as bar,
            open_writer(staging, kind, schema) as writer,
        ):
            for block in _numbered(blocks):
                good = bad_rows.good(block)
                writer.write(good.select(schema.names))
                num_rows += good.num_rows
                bar.update(block.num_rows)
        bad_rows.refuse_none_left(num_rows)
        if staging is not None and output is not None:
            storage.publish(staging, output)
    finally:
        if staging is not None:
            staging.unlink(missing_ok=True)
    return PredictResult(location, num_rows, bad_rows.num_skipped, tuple(bad_rows.skipped))


class BlockPredictor:
    """Predicts blocks of rows."""

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

    def __call__(self, block: pa.Table) -> pa.Table:
        """Predict the good rows of a block with ``ROW_COLUMNS``; bad ones pass through."""
        is_good = pc.is_null(block["problem"])
        good = block.filter(is_good)
        predicted = prediction_table(
            good, self._predictor.predict(texts_of(good)) if good.num_rows else [], self._schema
        )
        if good.num_rows == block.num_rows:
            return predicted
        bad = block.filter(pc.invert(is_good)).select(["file", "row", "problem", "is_fatal"])
        return pa.concat_tables([predicted, bad], promote_options="default")


class _Actor:
    """A block predictor in an actor of Ray Data, loaded once."""

    def __init__(self, request: PredictRequest, num_threads: int) -> None:
        # Of an error raised here Ray Data would pass on a traceback as text; raised by the first
        # call it arrives as it is.
        self._loaded: BlockPredictor | ErnieRayError
        try:
            self._loaded = BlockPredictor(request, num_threads)
        except ErnieRayError as error:
            self._loaded = error

    def __call__(self, block: pa.Table) -> pa.Table:
        if isinstance(self._loaded, ErnieRayError):
            raise self._loaded
        return self._loaded(block)


def _blocks_here(request: PredictRequest) -> Generator[pa.Table, None, None]:
    predict_block = BlockPredictor(request)
    sources = pa.table({"file": list(range(len(request.files)))})
    for block in read_blocks(sources, request.files, request.schema):
        yield predict_block(block)


def _blocks_on_ray(request: PredictRequest, num_actors: int) -> Generator[pa.Table, None, None]:
    # Imported here, because predicting in this process needs no Ray.
    import ray.data

    from ernie_ray.jobs.row_dataset import READ_CPUS, blocks_in_order, row_dataset

    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    num_cpus = cpus_per_actor(nodes, num_actors, READ_CPUS)
    dataset = row_dataset(request.files, request.schema, block_bytes=_BLOCK_BYTES).map_batches(
        _Actor,
        fn_constructor_kwargs={"request": request, "num_threads": max(1, round(num_cpus))},
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=num_actors),
        num_cpus=num_cpus,
    )
    yield from blocks_in_order(dataset)


def cpus_per_actor(cpus_of_nodes: Sequence[float], num_actors: int, reading: float) -> float:
    """Find the largest equal share of a cluster's CPUs, to two digits.

    Args:
        cpus_of_nodes: CPUs of each node.
        num_actors: Actors that shall run at the same time, each on one node.
        reading: CPUs that stay free on every node for the tasks that read rows.

    Returns:
        CPUs per actor; 0 if so many actors leave none to count.
    """
    nodes = [int(100 * max(cpus - reading, 0)) for cpus in cpus_of_nodes]
    shares = {node // k for node in nodes for k in range(1, num_actors + 1)} - {0}
    fitting = (s for s in sorted(shares, reverse=True) if sum(n // s for n in nodes) >= num_actors)
    return next(fitting, 0) / 100


def _numbered(blocks: Generator[pa.Table, None, None]) -> Generator[pa.Table, None, None]:
    """Add the column ``id``: rows of the files before, plus the position in the file."""
    before, current, seen = 0, 0, 0
    for block in blocks:
        file, row = block["file"].to_numpy(), block["row"].to_numpy()
        ids = np.empty(len(row), dtype=np.int64)
        for number in np.unique(file):
            if number != current:
                before, current, seen = before + seen, number, 0
            here = file == number
            ids[here] = before + row[here]
            seen = max(seen, int(row[here].max()) + 1)
        yield block.append_column("id", pa.array(ids))
