"""Labelling whose driver or actor is killed: every row once, as if nothing had happened."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest

from ernie_ray.jobs.chunk_run import Pool
from ernie_ray.jobs.labelled_rows import ROWS
from tests.descendants import kill_descendant
from tests.labelling import logits_of, parts_in, request_for, run
from tests.tiny_models import tiny_rows

# Ray Data sets its own deprecated options when it is first used.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context")


def driver(model: Path, rows: Path, folder: Path) -> subprocess.Popen:
    """The command line in a process of its own."""
    command = [
        sys.executable, "-m", "ernie_ray", "label", str(model), str(rows),
        "--output", str(folder / "out"), "--engine", "onnxruntime", "--precision", "fp32",
        "--quiet",
    ]  # fmt: skip
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)


@pytest.mark.timeout(400)
def test_a_killed_driver_goes_on_where_it_was(tiny_model_dir, tmp_path):
    path = tmp_path / "rows.jsonl"
    texts = [text for text, _ in tiny_rows(40_000, 5)]
    lines = [json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in texts]
    path.write_text("".join(lines), encoding="utf-8")
    process = driver(tiny_model_dir, path, tmp_path)
    while len(parts_in(tmp_path)) < 2:
        assert process.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.02)
    # The whole session: the driver with the Ray that it started, as when a machine is lost.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    survivors = {part: part.stat().st_mtime_ns for part in parts_in(tmp_path)}
    assert 0 < len(survivors) < 40_000 // 512
    assert not (tmp_path / "out").exists()

    again = driver(tiny_model_dir, path, tmp_path)
    kept: set[bool] = set()
    while again.poll() is None:
        here = parts_in(tmp_path)
        if here:
            kept.add(all(p.stat().st_mtime_ns == t for p, t in survivors.items() if p in here))
        time.sleep(0.1)
    assert again.returncode == 0, (tmp_path / "log").read_text()
    assert kept == {True}  # what was done is not done again

    table = pyarrow.parquet.read_table(tmp_path / "out" / ROWS)
    assert table["id"].to_pylist() == list(range(40_000))
    whole = request_for(tiny_model_dir, path, rows_per_chunk=512)
    _, expected = run(whole, tmp_path, "whole", pool=Pool(0))
    np.testing.assert_allclose(logits_of(table), logits_of(expected), atol=1e-6)


@pytest.mark.timeout(300)
def test_a_killed_actor_loses_no_row(local_ray, tiny_model_dir, tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"text": t}, ensure_ascii=False) + "\n" for t, _ in tiny_rows(20_000, 6)]
    path.write_text("".join(lines), encoding="utf-8")
    killed: list[int] = []
    killer = threading.Thread(target=_kill_an_actor, args=(tmp_path, killed), daemon=True)
    killer.start()
    request = request_for(tiny_model_dir, path)
    _, table = run(request, tmp_path, pool=Pool(2))
    killer.join(timeout=10)
    assert killed
    assert table["id"].to_pylist() == list(range(20_000))
    _, expected = run(request, tmp_path, "whole", pool=Pool(0))
    np.testing.assert_allclose(logits_of(table), logits_of(expected), atol=1e-6)


def _kill_an_actor(folder: Path, killed: list[int]) -> None:
    """Wait for some parts, then end one of the labelling actors by its pid."""
    while len(parts_in(folder)) < 2:
        time.sleep(0.01)
    if pid := kill_descendant(b"MapWorker"):
        killed.append(pid)
