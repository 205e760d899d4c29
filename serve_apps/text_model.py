"""Vectors and scores of exported models: `serve run serve_apps/text_model.yaml`."""

# No `from __future__ import annotations`: Serve looks at the annotation itself to know that the
# `args` of the YAML shall become a ServiceArgs, and does not resolve one that is a string.
from ray.serve import Application

from ernie_ray.serving.args import ServiceArgs
from ernie_ray.serving.deployment import build_app


def app(args: ServiceArgs) -> Application:
    """Build the application from the `args` of the Serve YAML or `key=value` pairs."""
    return build_app(args)
