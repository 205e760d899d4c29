"""``ernie-ray slim``: the whole chain from a teacher to a fast student, and a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ernie_ray.cli.options import named, open_storage, recipe_options
from ernie_ray.cli.ray_session import connect
from ernie_ray.config import SlimRecipe, builtin_recipes, load_recipe_of


@click.command(name="slim")
@click.option("--output", metavar="FOLDER", help="Folder.  [default: runs/slim- and the recipe]")
@recipe_options
def command(
    recipe: str | None, overrides: tuple[str, ...], output: str | None, **options: Any
) -> None:
    r"""Distil a teacher into a fast student by RECIPE, a built-in name or a TOML file.

    Copies the training rows with noise, lets the teacher label them and any unlabelled rows,
    trains the student with and without the teacher, and measures teacher and students: quality,
    size, texts/s, latency; with a plot. Finished stages are found again by what decides them.

    \b
    Examples:
      ernie-ray slim bow --set teacher.model=runs/teacher/model --set data.train=train.jsonl \
        --set data.dev=dev.jsonl --set data.test=test.jsonl
      ernie-ray slim mine.toml --set 'data.unlabelled=["more.jsonl"]' --output runs/slim
    """
    if options["list_recipes"]:
        click.echo("\n".join(builtin_recipes("slim")))
        return
    recipe = named(recipe)
    settings = load_recipe_of(SlimRecipe, recipe, overrides, folder_name="slim")
    run = output or f"runs/slim-{Path(recipe).stem}"
    place = open_storage(options["storage"])
    place.resolve(run)  # a path that cannot work is an error before Ray starts
    with connect(
        options["address"],
        num_cpus=settings.scaling.num_local_cpus,
        verbose=options["verbose"],
    ):
        from ernie_ray.jobs.slim import slim

        result = slim(settings, run, storage=place, show_progress=not options["quiet"])
    click.echo(result.table)
    for name, location in result.stages.items():
        click.echo(f"{name}: {location}")
    click.echo(f"plot: {result.plots[0]}")
