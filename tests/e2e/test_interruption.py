"""Ctrl-C in the middle of a run: one line, the right status, nothing left, and a way on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ernie_ray.jobs import runs
from ernie_ray.jobs.progress import read_metrics
from tests.tiny_models import tiny_rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(280)]

MARK = "ERNIE_RAY_TEST_INTERRUPTION"


def processes_with(value):
    """Command lines of the processes that were started, at whatever depth, with the mark."""
    mark = f"{MARK}={value}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes()
        except OSError:  # it ended, or is another user's
            continue
    return found


def test_ctrl_c_ends_training_at_once_and_the_same_command_goes_on(tmp_path, tiny_embedding_dir):
    lines = [json.dumps({"text": text, "label": label}) for text, label in tiny_rows(64, 0)]
    (tmp_path / "train.jsonl").write_text("\n".join(lines), encoding="utf-8")
    command = [
        sys.executable, "-m", "ernie_ray", "finetune", "classify", "--storage", str(tmp_path),
        "--output", "run",
        "--set", "data.train=train.jsonl",
        "--set", "data.dev=train.jsonl",
        "--set", f"model.pretrained={tiny_embedding_dir}",
        "--set", "model.trim_vocabulary=false",
        "--set", "model.max_tokens=16",
        "--set", "training.num_epochs=20",
        "--set", "training.eval_every_steps=4",
    ]  # fmt: skip
    first = subprocess.Popen(
        command,
        env={**os.environ, MARK: str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not runs.find_checkpoints(tmp_path / "run"):
        assert first.poll() is None, first.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    printed, _ = first.communicate(timeout=60)
    assert first.returncode == 130, printed
    assert "interrupted" in printed
    assert "Traceback" not in printed
    reached = runs.find_checkpoints(tmp_path / "run")[-1].step
    assert reached < 40
    assert processes_with(tmp_path) == {}
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    steps = [
        line["step"] for line in read_metrics(tmp_path / "run" / runs.METRICS) if "loss" in line
    ]
    assert steps == sorted(set(steps))
    assert steps[-1] == 40
