"""Training on a card: number formats, resumption, and NCCL between workers."""

import json
import statistics
import subprocess
import sys

import numpy as np
import pytest

from ernie_ray.jobs import runs
from ernie_ray.jobs.progress import read_metrics
from tests.tiny_models import tiny_cache, tiny_encoder, tiny_rows
from tests.tiny_training import assert_equal_weights, build

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def caches(num_cards, tmp_path_factory):
    folder = tmp_path_factory.mktemp("caches")
    long_rows = [(text * 4, label) for text, label in tiny_rows(3072, seed=1)]
    return tiny_cache(folder / "train", long_rows), tiny_cache(
        folder / "dev", tiny_rows(32, seed=2)
    )


def steps_of_a_wide_network(caches, precision):
    """Loss and rows per second of 12 steps of 256 rows through 12 layers of 768."""
    loop, _, reporter = build(
        caches,
        pretrained=tiny_encoder(num_layers=12, hidden_size=768),
        precision=precision,
        global_batch_size=256,
        per_worker_batch_size=256,
        learning_rate=1e-4,
        max_steps=12,
        dropout=0.0,
    )
    loop.run()
    rates = [line["rows_per_s"] for line in reporter.lines[3:]]
    return [line["loss"] for line in reporter.lines], statistics.median(rates)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_short_number_format_trains_as_fp32_does(caches, precision, record_property):
    expected, full_rate = steps_of_a_wide_network(caches, "fp32")
    found, rate = steps_of_a_wide_network(caches, precision)
    record_property(f"steps of {precision} over fp32", f"{rate / full_rate:.2f}x")
    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(expected[0], rel=0.03)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(caches, precision):
    settings = {"precision": precision, "max_steps": 6, "eval_every_steps": 2}
    loop, whole, reporter = build(caches, **settings)
    loop.run()
    again, resumed, _ = build(caches, **settings)
    again.resume(reporter.checkpoints[0])
    again.run()
    assert_equal_weights(whole, resumed)


def test_training_over_nccl_computes_what_a_cpu_computes(
    num_cards, tmp_path, tiny_embedding_dir, record_property
):
    rows = [json.dumps({"text": text, "label": label}) for text, label in tiny_rows(160, 0)]
    (tmp_path / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    workers = min(2, num_cards)
    record_property("workers", str(workers))
    losses = {}
    for name, scaling in {
        "cpu": ["scaling.num_workers=1"],
        "gpu": ["scaling.use_gpu=true", f"scaling.num_workers={workers}"],
    }.items():
        settings = [
            "data.train=train.jsonl",
            f"model.pretrained={tiny_embedding_dir}",
            "model.trim_vocabulary=false",
            "model.max_tokens=32",
            "training.global_batch_size=16",
            "training.dropout=0.0",
            "training.num_epochs=1",
            "training.log_every_steps=1",
            *scaling,
        ]
        options = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, "-m", "ernie_ray", "finetune", "classify", *options]
        done = subprocess.run(
            [*command, "--storage", str(tmp_path), "--output", name],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = read_metrics(tmp_path / name / runs.METRICS)
        losses[name] = [line["loss"] for line in lines if "loss" in line]
    np.testing.assert_allclose(losses["gpu"], losses["cpu"], atol=1e-3)
