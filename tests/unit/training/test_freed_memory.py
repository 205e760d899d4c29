import os
import platform
import subprocess
import sys

import pytest

from ernie_ray.training.freed_memory import VARIABLES

_STEPS = """
import resource, sys
import numpy as np
from ernie_ray.training.freed_memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

def step():
    blocks = [np.empty(20 << 20, np.uint8) for _ in range(6)]
    for block in blocks:
        block.fill(1)

step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

only_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="the C library is not glibc"
)


def _faults(way: str) -> int:
    usual = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", _STEPS, way], capture_output=True, text=True, check=True, env=usual
    )
    return int(done.stdout)


@only_glibc
def test_later_steps_use_the_memory_of_the_first():
    assert _faults("keep") < 100 < _faults("give back")


@only_glibc
def test_the_users_own_variables_win(monkeypatch):
    # In a process of its own, since the allocator's settings cannot be read back or undone.
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    code = "from ernie_ray.training.freed_memory import keep_freed_memory as keep; print(keep())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
