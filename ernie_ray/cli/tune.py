"""``ernie-ray tune``: many recipes tried, a table of them, the best one written out."""

from __future__ import annotations

import click

from ernie_ray.cli.recipe_run import RecipeRun, runs_recipe
from ernie_ray.config import SearchRecipe


@click.command(name="tune")
@runs_recipe(SearchRecipe, "tune")
def command(run: RecipeRun[SearchRecipe]) -> None:
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
    with run.ray(run.recipe.scaling, run.recipe.tune.max_concurrent):
        from ernie_ray.jobs.tune import tune

        result = tune(run.recipe, run.folder, storage=run.storage, show_progress=run.shows_progress)
    click.echo(result.table)
    for trial in result.failed:
        click.secho(f"trial {trial.name} failed: {trial.problem}", fg="yellow", err=True)
    for trial in result.broken_off:
        click.secho(
            f"trial {trial.name} was broken off: {trial.problem}; the same command again goes on "
            "with it",
            fg="yellow",
            err=True,
        )
    click.echo(f"best recipe: {result.recipe}")
    click.echo(f"export it:   ernie-ray finetune {result.recipe} --output {result.run}")
