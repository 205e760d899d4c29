"""`serve deploy` of the committed application on a running cluster."""

import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from ernie_ray.cli.free_ports import free_ports
from ernie_ray.inference.predictor import Predictor

pytestmark = pytest.mark.timeout(240)

APP = Path(__file__).parents[2] / "serve_apps" / "text_model.yaml"
SERVE = str(Path(sys.executable).with_name("serve"))
START_S = 120


@pytest.fixture
def deployed(cluster, tiny_model_dir, tmp_path):
    """URL of the application, deployed from its YAML with this machine's port and model."""
    (port,) = free_ports(1)
    config = yaml.safe_load(APP.read_text(encoding="utf-8"))
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    (application,) = config["applications"]
    application["args"]["models"][0]["dir"] = str(tiny_model_dir)
    path = tmp_path / "text_model.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")

    def serve(*arguments):
        done = subprocess.run(
            [SERVE, *arguments, "--address", cluster.local.jobs_url],
            env=cluster.local.environment(),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    serve("deploy", str(path))
    url = f"http://127.0.0.1:{port}"
    wait_until_ready(url, lambda: serve("status"))
    yield url
    serve("shutdown", "--yes")


def wait_until_ready(url, status):
    deadline = time.monotonic() + START_S
    answer = None
    while time.monotonic() < deadline:
        try:
            answer = httpx.get(f"{url}/ready", timeout=5)
            if answer.status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(f"not ready, last answer {answer}:\n{status()}")


def test_a_deployed_application_answers_as_the_predictor(deployed, tiny_model_dir):
    answer = httpx.post(f"{deployed}/v1/scores", json={"texts": ["好书"]}, timeout=30).json()
    expected = Predictor.from_dir(tiny_model_dir).predict(["好书"])[0].result
    assert answer["scores"][0]["label"] == expected["label"]
    assert answer["scores"][0]["score"] == pytest.approx(expected["score"], abs=1e-5)
