"""``ernie-ray tune``: many recipes tried, a table of them, the best one written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ernie_ray.cli.options import named, open_storage, recipe_options
from ernie_ray.cli.ray_session import connect
from ernie_ray.config import SearchRecipe, builtin_recipes, load_recipe_of


@click.command(name="tune")
@click.option("--output", metavar="FOLDER", help="Folder.  [default: runs/tune- and the recipe]")
@recipe_options
def command(
    recipe: str | None, overrides: tuple[str, ...], output: str | None, **options: Any
) -> None:
    r"""Search the settings of RECIPE, a built-in name or a TOML file with ranges.

    A recipe as `finetune` takes it, and a table [search] of ranges and lists of values. Trials are
    drawn at random; those that fall behind on the dev rows are stopped early (ASHA). FOLDER gets
    trials.txt, the table of all trials, and best.toml, the recipe of the best one. The same command
    again goes on where an interrupted search stopped, and a larger tune.num_trials adds trials.

    \b
    Examples:
      ernie-ray tune classify --set data.train=train.jsonl --set data.dev=dev.jsonl
      ernie-ray tune mine.toml --set tune.num_trials=30 --set tune.max_concurrent=4 --output runs/s
      ernie-ray tune mine.toml --set 'search.training.learning_rate={low=1e-5, high=1e-4, log=true}'
      ernie-ray finetune runs/tune-classify/best.toml --output runs/best
    """
    if options["list_recipes"]:
        click.echo("\n".join(builtin_recipes("tune")))
        return
    recipe = named(recipe)
    settings = load_recipe_of(SearchRecipe, recipe, overrides, folder_name="tune")
    folder = output or f"runs/tune-{Path(recipe).stem}"
    place = open_storage(options["storage"])
    place.resolve(folder)  # a path that cannot work is an error before Ray starts
    # A local Ray has as many logical CPUs as all workers ask for, and one for reading rows.
    num_workers = settings.tune.max_concurrent * settings.scaling.max_workers
    num_cpus = num_workers * settings.scaling.cpus_per_worker + 1
    with connect(options["address"], num_cpus=num_cpus, verbose=options["verbose"]):
        from ernie_ray.jobs.tune import tune

        result = tune(settings, folder, storage=place, show_progress=not options["quiet"])
    click.echo(result.table)
    for trial in result.failed:
        click.secho(f"trial {trial.name} failed: {trial.problem}", fg="yellow", err=True)
    click.echo(f"best recipe: {result.recipe}")
    click.echo(f"export it:   ernie-ray finetune {result.recipe} --output {result.run}")
