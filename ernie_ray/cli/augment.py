"""``ernie-ray augment``: rows in, the rows with noisy copies out."""

from __future__ import annotations

from typing import Any

import click

from ernie_ray.cli.options import (
    PROBABILITY,
    address_option,
    bad_rows_option,
    columns_options,
    open_storage,
    refuse_unknown_label,
    show_skipped,
    storage_option,
)
from ernie_ray.cli.ray_session import connect
from ernie_ray.text.row_schema import RowSchema
from ernie_ray.text.rows import files_of


@click.command(name="augment")
@click.argument("input_names", metavar="INPUT...", nargs=-1, required=True)
@click.option("--output", metavar="FILE", required=True, help="File to write: .jsonl or .parquet.")
@click.option(
    "--label-column",
    default="label",
    show_default=True,
    help="Column of the label, which is carried along; rows may lack it.",
)
@click.option(
    "--label-form",
    type=click.Choice(["class", "classes", "number"]),
    default="class",
    show_default=True,
    help="What a label is: one class, a list of classes, or a number.",
)
@click.option("--copies", type=click.IntRange(1), default=10, show_default=True, help="Copies of "
              "each row.")  # fmt: skip
@click.option("--noise", type=PROBABILITY, default=0.1, show_default=True, help="Chance of a "
              "word to become the noise word.")  # fmt: skip
@click.option("--replace", type=PROBABILITY, default=0.1, show_default=True, help="Chance of a "
              "word to become another one of its part of speech.")  # fmt: skip
@click.option("--fragment", type=PROBABILITY, default=1.0, show_default=True, help="Chance of a "
              "copy to be cut to a random fragment.")  # fmt: skip
@click.option("--noise-word", default="UNK", show_default=True, help="Stands for a lost word.")
@click.option("--min-words", type=click.IntRange(1), default=2, show_default=True, help="Copies of "
              "fewer words and punctuation marks are dropped.")  # fmt: skip
@click.option("--seed", default=42, show_default=True, help="Same seed, same copies.")
@click.option("--only-copies", is_flag=True, help="Write the copies alone, without the given rows.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@columns_options
@bad_rows_option
@storage_option
@address_option
def command(input_names: tuple[str, ...], output: str, address: str | None, **options: Any) -> None:
    r"""Make noisy copies of the rows of each INPUT, for a teacher to label.

    The kit's strategies: words become noise, or another word of the same part of speech from these
    rows; a copy is cut to a random fragment. The output has the columns id (of the original row),
    text, perhaps a second text, and label, named as in the input, and copy (0 for the row as it was
    given). The same seed gives the same copies on any number of machines. Parts of speech are
    jieba's for Chinese; English words are classed by a list of function words and their endings.

    \b
    Examples:
      ernie-ray augment train.jsonl --output augmented.jsonl
      ernie-ray augment train.tsv --copies 20 --fragment 0.25 --output augmented.parquet
      ernie-ray augment pairs/ --text-column q --text-pair-column a --output augmented.jsonl
    """
    from ernie_ray.jobs.prediction_files import format_among
    from ernie_ray.text.augment import AugmentSettings

    kind = format_among(output, ("jsonl", "parquet"))
    place = open_storage(options["storage"])
    schema = RowSchema(
        options["text_column"],
        options["text_pair_column"],
        options["label_column"],
        is_multi_label=options["label_form"] == "classes",
        holds="number" if options["label_form"] == "number" else "class",
        header=options["columns"],
        is_label_optional=True,
    )
    files = tuple(file for name in input_names for file in files_of(place.resolve(name), schema))
    refuse_unknown_label(files, schema.header)
    with connect(address):
        from ernie_ray.jobs.augment import AugmentRequest, augment

        request = AugmentRequest(
            files=files,
            schema=schema,
            settings=AugmentSettings(
                num_copies=options["copies"],
                noise_probability=options["noise"],
                replace_probability=options["replace"],
                fragment_probability=options["fragment"],
                noise_word=options["noise_word"],
                min_words=options["min_words"],
                seed=options["seed"],
            ),
            keeps_originals=not options["only_copies"],
            on_bad=options["bad_rows"],
        )
        result = augment(
            request,
            output,
            storage=place,
            kind=kind,
            show_progress=not options["quiet"],
        )
    show_skipped(result.num_skipped, result.skipped)
    click.echo(
        f"{result.num_originals} rows, {result.num_copies} copies "
        f"({result.num_duplicates} duplicates dropped): {result.output}"
    )
