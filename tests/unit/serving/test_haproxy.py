import shutil
import subprocess
import time

import pytest

from ernie_ray.serving.haproxy import end_haproxies, haproxy_pids


@pytest.fixture
def stray(tmp_path):
    """A process that looks like the HAProxy of one Ray node."""
    program = tmp_path / "haproxy"
    shutil.copy("/bin/sleep", program)
    folder = tmp_path / ("a" * 56)
    folder.mkdir()
    # `sleep` adds its arguments up, so that a second one must be a number: the path goes first,
    # as the name of a symbolic link to the program.
    link = folder / "haproxy"
    link.symlink_to(program)
    process = subprocess.Popen([str(link), "60"])
    yield process
    process.kill()
    process.wait()


def test_only_the_haproxy_of_ones_own_node_is_ended(stray):
    while haproxy_pids(["a" * 56]) != [stray.pid]:
        time.sleep(0.01)
    assert haproxy_pids(["b" * 56]) == []
    assert end_haproxies(["b" * 56]) == []
    assert stray.poll() is None
    assert end_haproxies(["a" * 56], grace_s=0.2) == [stray.pid]
    assert stray.wait(5) != 0
