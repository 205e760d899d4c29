"""``ernie-ray predict``: texts in, labels, scores and vectors out."""

from __future__ import annotations

import codecs
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ernie_ray.cli.options import (
    address_option,
    bad_rows_option,
    columns_options,
    engine_options,
    names_of,
    open_storage,
    show_skipped,
    storage_option,
)
from ernie_ray.cli.ray_session import connect
from ernie_ray.text.row_files import DataFile
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import files_of

if TYPE_CHECKING:
    from ernie_ray.jobs.prediction_files import Format
    from ernie_ray.jobs.storage import Storage

_FORMATS: tuple[Format, ...] = ("jsonl", "parquet", "npy")


@click.command(name="predict")
@click.argument("model_dir")
@click.argument("input_name", metavar="INPUT")
@click.option("--output", metavar="FILE", help="File to write.  [default: standard output]")
@click.option(
    "--format",
    "kind",
    type=click.Choice(_FORMATS),
    help="Format of FILE.  [default: by its suffix]",
)
@click.option(
    "--keep-columns",
    metavar="NAME,NAME",
    default="",
    callback=names_of,
    help="Columns of the input that the output has, too: an id, a ranking's query...",
)
@click.option("--vectors", is_flag=True, help="Give each text its vector, too.")
@click.option(
    "--num-actors",
    type=click.IntRange(0),
    help="Copies of the model, run by Ray; 0: one, without Ray.  [default: 0 for one file, else 1]",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@columns_options
@bad_rows_option
@engine_options
@storage_option
@address_option
def command(
    model_dir: str,
    input_name: str,
    output: str | None,
    kind: Format | None,
    num_actors: int | None,
    address: str | None,
    **options: Any,
) -> None:
    r"""Give texts their labels, scores and, if wanted, vectors.

    INPUT is a file, a folder or a glob of .jsonl, .csv, .tsv, .txt (one text a line; also .gz),
    SQuAD's .json and .parquet, or - for standard input: JSON lines if it starts with a brace, else
    one text a line. The output has one row per row of the input, in its order, with "id" counting
    from 0, or the rows' own if it is kept; a .npy has the vectors alone. The same command again
    goes on where an interrupted one stopped.

    \b
    Examples:
      echo "The room was clean" | ernie-ray predict models/reviews -
      ernie-ray predict models/reviews new.jsonl --output labelled.jsonl
      ernie-ray predict reviews@production new.jsonl --output labelled.jsonl
      ernie-ray predict models/reviews new.csv --text-column review --vectors --output out.parquet
      ernie-ray predict models/ranker pairs.jsonl --text-column question \
        --text-pair-column answer --keep-columns qid,id --output scores.jsonl
      ernie-ray predict models/reviews texts/ --vectors --output vectors.npy
      ernie-ray predict models/reviews s3://bucket/rows/ --num-actors 8 --output s3://bucket/out.parquet
    """
    from ernie_ray.jobs.predict import PredictRequest, RunOptions, predict
    from ernie_ray.jobs.prediction_files import format_of
    from ernie_ray.jobs.registry import find_model

    chosen = kind or format_of(output or "")
    if chosen != "jsonl" and output is None:
        raise click.UsageError(f"{chosen} cannot be written to standard output; give --output FILE")
    if chosen == "npy" and not options["vectors"]:
        raise click.UsageError(".npy holds vectors and nothing else; add --vectors")
    if chosen == "npy" and options["keep_columns"]:
        raise click.UsageError(".npy holds vectors and nothing else; drop --keep-columns")
    place = open_storage(options["storage"])
    schema = RowSchema(
        options["text_column"],
        options["text_pair_column"],
        header=options["columns"],
        keep=options["keep_columns"],
    )
    with _input_files(input_name, place, schema) as files:
        request = PredictRequest(
            model_dir=find_model(model_dir, place),
            files=files,
            schema=schema,
            has_vectors=options["vectors"],
            options=RunOptions(options["engine"], options["precision"], options["bad_rows"]),
        )
        actors = (0 if len(files) == 1 else 1) if num_actors is None else num_actors
        with connect(address) if actors else nullcontext():
            result = predict(
                request,
                storage=place,
                output=output,
                kind=chosen,
                num_actors=actors,
                show_progress=not options["quiet"],
            )
    show_skipped(result.num_skipped, result.skipped)


@contextmanager
def _input_files(name: str, place: Storage, schema: RowSchema) -> Iterator[tuple[DataFile, ...]]:
    if name != "-":
        yield files_of(place.resolve(name), schema)
        return
    # Kept in a file, so that the same readers and messages serve it.
    with tempfile.TemporaryDirectory(prefix="ernie-ray-") as folder:
        path = Path(folder) / "stdin"
        with path.open("wb") as stream:
            shutil.copyfileobj(sys.stdin.buffer, stream)
        with path.open("rb") as stream:
            start = stream.read(64).removeprefix(codecs.BOM_UTF8).lstrip()
        kind = "jsonl" if start.startswith(b"{") else "txt"
        yield (DataFile(str(path), kind, "<stdin>"),)
