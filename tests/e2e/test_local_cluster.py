"""`python -m cluster local` as a user runs it: starts, answers to its token, ends alone."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(280)
ROOT = Path(__file__).parents[2]


def session_of(pid: int) -> list[int]:
    """Living processes whose session a process leads."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def ask(url: str, token: str = "") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def started(*options: str) -> tuple[subprocess.Popen, str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cluster", "local", *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "RAY_AUTH_MODE"},
    )
    printed = ""
    while "export " not in printed:
        line = process.stdout.readline()
        assert line, printed
        printed += line
    return process, printed


@pytest.mark.parametrize(("auth", "nodes"), [("token", 2), ("disabled", 1)])
def test_it_starts_asks_for_its_token_and_ctrl_c_ends_all_of_it_and_no_other(auth, nodes):
    bystander = subprocess.Popen(["sleep", "300"])
    process, printed = started("--nodes", str(nodes), "--cpus", "1", "--gpus", "1", "--auth", auth)
    try:
        pids = [int(pid) for pid in re.findall(r"raylet pid (\d+)", printed)]
        starters = [parent_of(pid) for pid in pids]
        url = re.search(r"RAY_API_SERVER_ADDRESS=(\S+)", printed).group(1)
        token = re.search(r"RAY_AUTH_TOKEN=(\S+)", printed)
        assert f"RAY_AUTH_MODE={auth}" in printed
        assert ask(f"{url}/api/jobs/", token.group(1) if token else "") == 200
        assert ask(f"{url}/api/jobs/") == (401 if auth == "token" else 200)
        code = "import ray; ray.init(log_to_driver=False); print(ray.cluster_resources()['GPU'])"
        variables = dict(re.findall(r"(RAY_\w+)=(\S+)", printed))
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert float(done.stdout) == nodes, done.stderr
    finally:
        process.send_signal(signal.SIGINT)
        process.stdout.close()
        assert process.wait(timeout=100) == 0
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()
    deadline_s = time.monotonic() + 10
    while (left := [p for s in starters for p in session_of(s)]) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    assert left == [], json.dumps(left)
