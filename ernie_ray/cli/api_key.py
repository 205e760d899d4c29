"""`ernie-ray api-key`: make a key for a service."""

from __future__ import annotations

import click

from ernie_ray.serving.api_keys import new_api_key


@click.command(name="api-key")
def command() -> None:
    r"""Make an API key: the key for the client, its digest for the service.

    The service stores digests only, in the file that `security.api_keys_file` names (one a line,
    `#` starts a comment) or in the variable of `security.api_keys_variable`. Clients send the key
    as `authorization: Bearer KEY`.

    \b
    Examples:
      ernie-ray api-key
    """
    key, digest = new_api_key()
    click.echo(f"key:    {key}\ndigest: {digest}")
