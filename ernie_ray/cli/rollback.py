"""``ernie-ray rollback``: make an alias mean what it meant before."""

from __future__ import annotations

import click

from ernie_ray.cli.options import open_storage, storage_option


@click.command(name="rollback")
@click.argument("name")
@click.option("--alias", default="production", show_default=True, help="Alias to move back.")
@storage_option
def command(name: str, alias: str, storage: str | None) -> None:
    r"""Make NAME's alias mean the version before the last promotion.

    \b
    Examples:
      ernie-ray rollback reviews
      ernie-ray rollback reviews --alias staging --storage s3://bucket/ernie
    """
    from ernie_ray.jobs.registry import rollback

    found = rollback(name, alias, storage=open_storage(storage))
    click.echo(f"{name}@{alias}: version {found.version}")
