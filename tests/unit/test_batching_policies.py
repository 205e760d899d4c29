"""The benchmark of batching policies, with a tiny network instead of one that takes its time."""

import json
import sys

import numpy as np

from benchmarks import batching_policies, report
from benchmarks.batching_policies import LIMITS, POLICIES, Ours, play
from ernie_ray.inference.lane_queue import Entry, Lane
from tests.fake_text_model import FakeTextModel, manifest
from tests.tiny_models import CHARACTERS


def entries(lengths):
    return [Entry(0.0, i, length, Lane.INTERACTIVE) for i, length in enumerate(lengths)]


def batches(name, lengths, now_s=0.0):
    queue = POLICIES[name]()
    queue.push(entries(lengths), 0.0)
    found = []
    while batch := queue.take(now_s):
        found.append([entry.num_tokens for entry in batch])
    return found


def test_each_policy_cuts_batches_by_its_own_rule():
    long = LIMITS.max_batch_tokens // 2
    mixed = [10, long, 10, long, 10]
    assert batches("one request, one batch", mixed) == [[one] for one in mixed]
    assert batches("count and timer", mixed) == []
    assert batches("count and timer", mixed, now_s=0.011) == [mixed]
    assert batches("count and timer", [10] * 40) == [[10] * 32]
    assert batches("FIFO token budget", mixed) == [[10, long], [10, long], [10]]
    assert batches("ours", mixed) == [[10, 10, 10], [long, long]]


def test_every_text_is_answered_and_counts_from_its_planned_arrival():
    model = FakeTextModel(manifest(), forward_s=0.01)
    rows = model.tokenize(["a", "bcd", "ef"] * 4)
    for make in POLICIES.values():
        outcome = play(model, rows, np.linspace(0, 0.03, len(rows)), make())
        assert len(outcome.latencies_ms) == len(rows)
        assert outcome.latencies_ms.min() >= 10
        assert 0 <= outcome.padding_share < 0.5
    at_once = play(model, rows, np.zeros(len(rows)), Ours())
    assert at_once.texts_per_batch > 1


def test_the_command_writes_a_table_of_every_policy_under_every_load(
    tiny_model_dir, tmp_path, monkeypatch
):
    rows = [{"text": CHARACTERS[i : i + 1 + i % 20]} for i in range(20)]
    texts = tmp_path / "texts.jsonl"
    texts.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    options = ["--model", str(tiny_model_dir), "--texts", str(texts), "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["batching_policies", *options])
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    batching_policies.main()
    written = (tmp_path / "batching_policies.md").read_text(encoding="utf-8")
    for load in ("40%", "80%", "120%"):
        for name in POLICIES:
            assert f"| {load}, {name} |" in written
    assert "- command: `python -m benchmarks.batching_policies" in written
