"""``ernie-ray label``: rows in, the same rows with a teacher's logits out."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from ernie_ray.cli.options import (
    PROBABILITY,
    address_option,
    bad_rows_option,
    columns_options,
    engine_options,
    open_storage,
    refuse_unknown_label,
    storage_option,
)
from ernie_ray.cli.ray_session import connect
from ernie_ray.errors import ConfigError
from ernie_ray.text.row_files import FORMATS
from ernie_ray.text.row_schema import COPY_COLUMN, RowSchema
from ernie_ray.text.rows import files_of
from ernie_ray.text.uris import path_of

_SUFFIXES_OF_FILES = {f".{kind}" for kind in FORMATS}


@click.command(name="label")
@click.argument("teacher")
@click.argument("input_names", metavar="INPUT...", nargs=-1, required=True)
@click.option("--output", metavar="FOLDER", required=True, help="Folder to write.")
@click.option(
    "--label-column",
    default="label",
    show_default=True,
    help="Column of the label, which rows may lack.",
)
@click.option("--vectors", is_flag=True, help="Give each row the teacher's vector, too.")
@click.option(
    "--min-confidence",
    type=PROBABILITY,
    default=0.0,
    show_default=True,
    help="Leave out rows without a label, and augmented copies, whose best class is less probable.",
)
@click.option(
    "--balance",
    is_flag=True,
    help="Of rows without a label, and augmented copies, keep equally many of each class found; "
    "not with independent labels.",
)
@click.option("--seed", default=42, show_default=True, help="Draws what --balance keeps.")
@click.option(
    "--num-actors",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Copies of the teacher, run by Ray; 0: one, without Ray.",
)
@click.option(
    "--cpus-per-actor",
    type=click.FloatRange(0),
    default=0.0,
    help="CPUs, and threads, of each.  [default: an equal share]",
)
@click.option(
    "--gpus-per-actor",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="GPUs of each; may be a fraction: with 0.5 two share one.",
)
@click.option(
    "--batch-tokens",
    type=click.IntRange(1),
    default=4096,
    show_default=True,
    help="Largest padded batch, in tokens.",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@columns_options
@bad_rows_option
@engine_options
@storage_option
@address_option
def command(
    teacher: str,
    input_names: tuple[str, ...],
    output: str,
    label_column: str,
    num_actors: int,
    address: str | None,
    **options: Any,
) -> None:
    r"""Let the model directory TEACHER label the rows of each INPUT.

    INPUT is a file, a folder or a glob of .jsonl, .csv, .tsv, .txt (also .gz) and .parquet. Rows
    may have a label or not, and may be augmented copies. FOLDER gets rows.parquet with the column
    teacher_logits, and labelled.json, which says what was labelled by whom. The same command again
    goes on where a killed one stopped.

    \b
    Examples:
      ernie-ray label runs/teacher/model new.jsonl --output labelled
      ernie-ray label runs/teacher/model augmented.jsonl new/ --output labelled
      ernie-ray label s3://b/teacher s3://b/rows/ --num-actors 8 --gpus-per-actor 0.5 --output s3://b/out
    """
    from ernie_ray.distillation.teacher import TeacherSettings
    from ernie_ray.jobs.chunk_run import Pool
    from ernie_ray.jobs.label import label
    from ernie_ray.jobs.label_request import LabelRequest, Selection
    from ernie_ray.jobs.labelled_rows import ROWS

    if Path(path_of(output)).suffix in _SUFFIXES_OF_FILES:
        raise ConfigError(
            f"{output}: label writes a folder with {ROWS} in it; give a name without the suffix "
            "of a file"
        )
    place = open_storage(options["storage"])
    schema = RowSchema(
        options["text_column"],
        options["text_pair_column"],
        label_column,
        header=options["columns"],
        is_label_optional=True,
        copy=COPY_COLUMN,
    )
    files = tuple(file for name in input_names for file in files_of(place.resolve(name), schema))
    refuse_unknown_label(files, schema.header)
    request = LabelRequest(
        teacher=place.resolve(teacher),
        files=files,
        schema=schema,
        settings=TeacherSettings(options["engine"], options["precision"], options["batch_tokens"]),
        selection=Selection(options["min_confidence"], options["balance"], options["seed"]),
        has_vectors=options["vectors"],
        on_bad=options["bad_rows"],
    )
    with connect(address) if num_actors else nullcontext():
        manifest = label(
            request,
            output,
            storage=place,
            pool=Pool(num_actors, options["cpus_per_actor"], options["gpus_per_actor"]),
            show_progress=not options["quiet"],
        )
    for name, count in (
        ("bad rows skipped", manifest.num_skipped),
        ("left out as unsure", manifest.num_unsure),
        ("left out for balance", manifest.num_surplus),
    ):
        if count:
            click.echo(f"{name}: {count}")
    if ", " in manifest.engine:
        click.echo(
            f"the teacher ran in several ways ({manifest.engine}), whose answers differ a little; "
            "--engine and --precision choose one"
        )
    classes = ", ".join(f"{k} {n}" for k, n in manifest.num_rows_per_class.items())
    click.echo(f"{manifest.num_rows} rows by teacher {manifest.teacher_name}: {classes}")
    click.echo(f"labelled rows: {place.resolve(output)}")
