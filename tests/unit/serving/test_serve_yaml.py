"""The YAML files of `serve_apps/`, checked with Serve's own schema. No Ray is started."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from ernie_ray.serving.args import ServiceArgs

# Ray Serve's own models, when they are imported.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Using extra keyword arguments on `Field` is deprecated"
)

APPS = Path(__file__).parents[3] / "serve_apps"
FILES = sorted(APPS.glob("*.yaml"))


def test_there_is_an_application():
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_serve_knows_every_key(path):
    from ray.serve.schema import ServeDeploySchema

    raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    # Serve ignores keys that it does not know; what survives the round trip is what it read.
    read = ServeDeploySchema.model_validate(raw).model_dump(mode="json", exclude_unset=True)
    assert read == raw


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_builders_and_deployments_exist(path):
    from ernie_ray.serving.deployment import DEPLOYMENT, deployment_name

    for application in yaml.safe_load(path.read_text(encoding="utf-8"))["applications"]:
        module, name = application["import_path"].split(":")
        builder = getattr(importlib.import_module(module), name)
        (parameter,) = inspect.signature(builder, eval_str=True).parameters.values()
        assert parameter.annotation is ServiceArgs
        args = ServiceArgs.model_validate(application["args"])
        bound = builder(args)
        assert bound._bound_deployment.name == DEPLOYMENT
        own = [deployment_name(one) for i, one in enumerate(args.models) if args.is_own(i)]
        assert [one["name"] for one in application["deployments"]] == [DEPLOYMENT, *own]
