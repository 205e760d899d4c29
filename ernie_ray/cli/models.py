"""``ernie-ray models``: what the registry holds."""

from __future__ import annotations

import click

from ernie_ray.cli.options import open_storage, storage_option


@click.command(name="models")
@storage_option
def command(storage: str | None) -> None:
    r"""List models/NAME/VERSION and what their aliases mean.

    \b
    Examples:
      ernie-ray models
      ernie-ray models --storage s3://bucket/ernie
    """
    from ernie_ray.jobs.registry import list_models

    for model in list_models(open_storage(storage)):
        click.echo(f"{model.name}: versions {', '.join(model.versions) or 'none'}")
        for name, alias in sorted(model.aliases.items()):
            before = f" (before: {', '.join(alias.previous)})" if alias.previous else ""
            click.echo(f"  {model.name}@{name} -> {alias.version}{before}")
