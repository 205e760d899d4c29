"""Vectors and scores of exported models: `serve run serve_apps/text_model.yaml`."""

from __future__ import annotations

from ray.serve import Application

from ernie_ray.serving.args import ServiceArgs
from ernie_ray.serving.deployment import build_app


def app(args: ServiceArgs) -> Application:
    """Build the application from the `args` of the Serve YAML or `key=value` pairs."""
    return build_app(args)
