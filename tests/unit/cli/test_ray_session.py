"""What `connect` says where it comes too late; a real start is an integration test."""

import os
import subprocess
import sys

LATE = """
import ray
from ernie_ray.cli.ray_session import connect
from ernie_ray.errors import ConfigError
try:
    with connect():
        print("started")
except ConfigError as error:
    print(error)
"""


def test_a_ray_imported_before_its_environment_was_set_is_refused_at_once():
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", LATE], env=environment, capture_output=True, text=True, check=True
    )
    assert "imported before `connect`" in done.stdout
    assert "RAY_AUTH_MODE" in done.stdout
