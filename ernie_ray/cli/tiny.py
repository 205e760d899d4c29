"""``ernie-ray tiny``: the whole chain from a teacher to a shallow, wide encoder, and a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ernie_ray.cli.options import named, open_storage, recipe_options
from ernie_ray.cli.ray_session import connect
from ernie_ray.config import TinyRecipe, builtin_recipes, load_recipe_of


@click.command(name="tiny")
@click.option("--output", metavar="FOLDER", help="Folder.  [default: runs/tiny- and the recipe]")
@recipe_options
def command(
    recipe: str | None, overrides: tuple[str, ...], output: str | None, **options: Any
) -> None:
    r"""Distil a teacher into a small encoder by RECIPE, a built-in name or a TOML file.

    The student has few layers and a vocabulary of its own, trained on your texts, that cuts them
    short. It starts from the teacher's layers and embeddings, imitates its states on any text, then
    its answers on the task. The start is fine-tuned without a teacher, too, and all are measured:
    quality, size, texts/s, latency, length saved. Finished stages are found again.

    \b
    Examples:
      ernie-ray tiny 3x384 --set teacher.model=runs/teacher/model --set data.train=train.jsonl \
        --set data.dev=dev.jsonl --set data.test=test.jsonl
      ernie-ray tiny mine.toml --set 'data.unlabelled=["more.jsonl"]' --output runs/tiny
      ernie-ray finetune ner --set model.pretrained=runs/tiny/general-.../model ...
    """
    if options["list_recipes"]:
        click.echo("\n".join(builtin_recipes("tiny")))
        return
    recipe = named(recipe)
    settings = load_recipe_of(TinyRecipe, recipe, overrides, folder_name="tiny")
    run = output or f"runs/tiny-{Path(recipe).stem}"
    place = open_storage(options["storage"])
    place.resolve(run)  # a path that cannot work is an error before Ray starts
    with connect(
        options["address"],
        num_cpus=settings.scaling.num_local_cpus,
        verbose=options["verbose"],
    ):
        from ernie_ray.jobs.tiny import tiny

        result = tiny(settings, run, storage=place, show_progress=not options["quiet"])
    click.echo(result.table)
    for name, location in result.stages.items():
        click.echo(f"{name}: {location}")
    click.echo(f"plot: {result.plots[0]}")
