"""The committed application, as `serve deploy` brings it to a cluster of these tests."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from ernie_ray.cli.free_ports import free_ports
from tests.e2e.conftest import Cluster

APP = Path(__file__).parents[2] / "serve_apps" / "text_model.yaml"
SERVE = str(Path(sys.executable).with_name("serve"))
START_S = 120


@contextmanager
def deployed(
    cluster: Cluster, model_dir: Path, folder: Path, *, num_replicas: int = 1
) -> Iterator[str]:
    """Deploy the application from its YAML with this machine's port and model; gives its URL."""
    (port,) = free_ports(1)
    config = yaml.safe_load(APP.read_text(encoding="utf-8"))
    config["http_options"] |= {"host": "127.0.0.1", "port": port}
    (application,) = config["applications"]
    application["args"]["models"][0]["dir"] = str(model_dir)
    application["deployments"][0]["num_replicas"] = num_replicas
    path = folder / "text_model.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")

    def serve(*arguments: str) -> str:
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
    try:
        _wait_until_ready(url, lambda: serve("status"))
        yield url
    finally:
        serve("shutdown", "--yes")


def _wait_until_ready(url: str, status: Callable[[], str]) -> None:
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
