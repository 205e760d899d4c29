"""``ernie-ray export``: a checkpoint or pretrained weights to a model directory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from ernie_ray.cli.options import open_storage, storage_option
from ernie_ray.errors import CheckpointError
from ernie_ray.jobs.storage import Storage
from ernie_ray.text.uris import path_of

OURS, HUGGING_FACE = "ernie-ray", "hugging-face"


@click.command(name="export")
@click.argument("source")
@click.argument("model_dir")
@click.option("--checkpoint", help="Folder inside the run.  [default: the best one]")
@click.option("--pretrained", is_flag=True, help="SOURCE is a pretrained encoder, not a run.")
@click.option(
    "--max-tokens",
    default=512,
    show_default=True,
    type=click.IntRange(4),
    help="Longest input; pretrained encoders only.",
)
@click.option(
    "--text-prefix",
    help="Put before every text; pretrained encoders only.  [default: as the encoder says]",
)
@click.option(
    "--layout",
    default=OURS,
    show_default=True,
    type=click.Choice([OURS, HUGGING_FACE]),
    help="What MODEL_DIR is for; the second is for pretrained encoders and model directories.",
)
@click.option("--name", help="Name that the service shows.  [default: MODEL_DIR's last part]")
@storage_option
def command(
    source: str,
    model_dir: str,
    checkpoint: str | None,
    pretrained: bool,
    max_tokens: int,
    text_prefix: str | None,
    layout: str,
    name: str | None,
    storage: str | None,
) -> None:
    r"""Export SOURCE, a run folder, to MODEL_DIR.

    Graphs for Paddle and ONNX are written, loaded into every engine and compared with the
    checkpoint before MODEL_DIR appears.

    \b
    Examples:
      ernie-ray export runs/classify models/reviews
      ernie-ray export runs/classify models/early --checkpoint train/checkpoint_2026-11-22_10-00-00
      ernie-ray export --pretrained all-MiniLM-L6-v2 models/minilm
      ernie-ray export --pretrained ./ernie-3.0-base-zh models/ernie
      ernie-ray export --pretrained models/reviews reviews-encoder --layout hugging-face
    """
    if layout == HUGGING_FACE and not pretrained:
        raise click.UsageError(
            "--layout hugging-face writes an encoder without its head: export the run first, then "
            "give its model directory with --pretrained"
        )
    if text_prefix is not None and not pretrained:
        raise click.UsageError("--text-prefix is for --pretrained; a run has that of its recipe")
    place = open_storage(storage)
    shown = name or path_of(model_dir).rstrip("/").rpartition("/")[2]
    if not pretrained:
        click.echo(_export_run(source, model_dir, shown, checkpoint, place))
        return
    from ernie_ray.jobs.export import export_pretrained
    from ernie_ray.jobs.export_hugging_face import export_hugging_face
    from ernie_ray.jobs.prepare import pretrained_source
    from ernie_ray.models.pretrained import from_pretrained

    encoder = from_pretrained(pretrained_source(source, place))
    if text_prefix is not None:
        encoder = replace(encoder, text_prefix=text_prefix)
    if layout == HUGGING_FACE:
        target = export_hugging_face(encoder, model_dir, storage=place)
    else:
        target = export_pretrained(encoder, model_dir, shown, max_tokens=max_tokens, storage=place)
    click.echo(str(target))


def _export_run(run: str, model_dir: str, name: str, checkpoint: str | None, place: Storage) -> str:
    from ernie_ray.jobs import runs
    from ernie_ray.jobs.export import ExportLabel, export_checkpoint
    from ernie_ray.modeldir import Lineage
    from ernie_ray.models.start import read_spec
    from ernie_ray.tasks import family_of
    from ernie_ray.tasks.metric_choice import choose_metric

    folder = place.fetch(run)
    start = folder / runs.START
    if not start.is_dir():
        raise CheckpointError(
            f"{folder}: not a run folder (no {runs.START}/); for pretrained weights add "
            "--pretrained"
        )
    recipe = json.loads((folder / runs.RECIPE).read_text(encoding="utf-8"))
    if checkpoint:
        chosen = folder / checkpoint
    else:
        wanted = recipe["training"].get("metric", "")
        metric = choose_metric(family_of(read_spec(start).task), wanted, "training.metric")
        chosen = runs.best_checkpoint(folder, metric).path
    lineage = Lineage(run=str(place.resolve(run)), recipe=recipe)
    label = ExportLabel(name, lineage)
    return str(export_checkpoint(Path(chosen), start, model_dir, label, storage=place))
