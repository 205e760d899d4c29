"""`ernie-ray env`: print the variables that Ray must start with."""

from __future__ import annotations

import json

import click

from ernie_ray.environment import cluster_environment, docker, serve_environment, shell


@click.command(name="env")
@click.option(
    "--format",
    "form",
    type=click.Choice(["shell", "docker", "json"]),
    default="shell",
    show_default=True,
    help="shell: export lines for this machine; docker: ENV lines for an image, which fit any "
    "machine; json: one object.",
)
def command(form: str) -> None:
    r"""Print the environment variables that Ray and Ray Serve must start with.

    Ray reads them when its processes start, so they must be set before `ray start` or `serve run`,
    the same on every node. Values that are set already are kept. `ernie-ray serve` sets them
    itself.

    \b
    Examples:
      eval "$(ernie-ray env)" && serve run serve_apps/text_model.yaml
      ernie-ray env --format docker >> Dockerfile
    """
    if form == "docker":
        lines = docker(cluster_environment())
    elif form == "json":
        lines = json.dumps(serve_environment(), indent=2)
    else:
        lines = shell(serve_environment())
    click.echo(lines.rstrip("\n"))
