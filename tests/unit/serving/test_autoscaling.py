"""The scaling policy in simulation: replicas that take time to start, and loads of many shapes."""

import asyncio
import math
from itertools import pairwise
from types import SimpleNamespace

import pytest

from ernie_ray.inference.batcher import Batcher
from ernie_ray.inference.grouping import BatchLimits
from ernie_ray.serving.autoscaling import ScalingTarget, Work, replicas_for, scale_by_work
from ernie_ray.serving.work_report import WorkReport
from tests.fake_text_model import FakeTextModel, manifest

RATE = 1000.0  # tokens a second of one replica
START_S, DOWN_AFTER_S = 10, 60
TARGET = ScalingTarget()


class Deployment:
    """Replicas with one queue of tokens, stepped by the second, as Serve would scale them."""

    def __init__(self, *, low=1, high=8):
        self.low, self.high = low, high
        self.ready, self.starting = low, []
        self.queued_tokens = 0.0
        self.history, self.backlog_s = [], []
        self._calm_s = 0

    def step(self, arriving_tokens):
        self.starting = [left_s - 1 for left_s in self.starting]
        self.ready += sum(left_s <= 0 for left_s in self.starting)
        self.starting = [left_s for left_s in self.starting if left_s > 0]
        self.queued_tokens += arriving_tokens
        capacity = self.ready * RATE
        done = min(self.queued_tokens, capacity)
        self.queued_tokens -= done
        busy = done / RATE
        work = Work(self.queued_tokens / RATE, busy, math.ceil(arriving_tokens / 100))
        have = self.ready + len(self.starting)
        wanted = min(max(replicas_for(work, have, TARGET), self.low), self.high)
        if wanted > have:
            self.starting += [START_S] * (wanted - have)
        self._calm_s = self._calm_s + 1 if wanted < have else 0
        if self._calm_s >= DOWN_AFTER_S and self.ready > wanted:
            self.ready, self._calm_s = max(wanted, self.low), 0
        self.history.append(self.ready)
        self.backlog_s.append(self.queued_tokens / max(capacity, RATE))

    def run(self, load, seconds):
        for second in range(seconds):
            self.step(load(second))
        return self


def num_changes(history):
    return sum(a != b for a, b in pairwise(history))


def test_a_step_is_met_and_left_again():
    load = lambda second: 2500.0 if 60 <= second < 400 else 200.0  # noqa: E731
    run = Deployment().run(load, 700)
    assert run.history[59] == 1
    assert run.history[399] in (4, 5)
    assert run.backlog_s[200] < 1
    assert run.history[-1] == 1
    assert max(run.backlog_s) < 2 * START_S + 5


def test_a_ramp_is_followed_without_swinging():
    run = Deployment().run(lambda second: 4000.0 * second / 600, 600)
    assert run.history[-1] >= 5
    assert max(run.backlog_s[100:]) < 5
    drops = sum(b < a for a, b in pairwise(run.history))
    assert drops == 0


def test_a_burst_that_one_replica_works_off_soon_starts_few_more():
    run = Deployment().run(lambda second: 3000.0 if second == 100 else 100.0, 200)
    assert max(run.history) <= 2
    assert run.backlog_s[110] == 0


def test_a_day_costs_little_more_than_it_needs():
    day_s = 3600
    load = lambda second: 2600.0 * (1 - math.cos(2 * math.pi * second / day_s)) / 2 + 100  # noqa: E731
    run = Deployment().run(load, day_s)
    needed = sum(load(second) for second in range(day_s)) / RATE / TARGET.utilisation
    assert sum(run.history) < 1.5 * needed
    assert max(run.backlog_s) < 3
    assert num_changes(run.history) <= 14


def test_steady_load_near_a_border_does_not_swing():
    for share in (0.65, 0.7, 0.75, 1.35, 1.4, 1.45):
        run = Deployment().run(lambda second, share=share: share * RATE, 600)
        assert num_changes(run.history[60:]) <= 1, share


def test_an_idle_model_goes_to_zero_where_allowed_and_comes_back():
    load = lambda second: 0.0 if second < 200 else 500.0  # noqa: E731
    run = Deployment(low=0).run(load, 300)
    assert run.history[199] == 0
    assert run.history[-1] >= 1
    assert Deployment(low=1).run(load, 190).history[-1] == 1


def test_work_counts_and_not_the_number_of_requests():
    few_long = Work(queued_s=20.0, utilisation=1.0, num_requests=2)
    many_short = Work(queued_s=0.2, utilisation=0.3, num_requests=500)
    assert replicas_for(few_long, 1, TARGET) >= 4
    assert replicas_for(many_short, 1, TARGET) == 1


def test_serve_is_told_the_sum_over_replicas():
    ctx = SimpleNamespace(
        aggregated_metrics={"queued_s": {"a": 4.0, "b": 6.0}, "utilisation": {"a": 1.0, "b": 1.0}},
        total_num_requests=7,
        current_num_replicas=2,
    )
    assert scale_by_work(ctx) == (5, {})
    assert scale_by_work(ctx, drain_s=100.0) == (3, {})
    none = SimpleNamespace(aggregated_metrics=None, total_num_requests=1, current_num_replicas=0)
    assert scale_by_work(none) == (1, {})


def test_a_replica_reports_queue_and_busy_share():
    async def run():
        limits = BatchLimits(max_batch_tokens=32)
        batcher = Batcher(FakeTextModel(manifest(), forward_s=0.05), limits)
        report = WorkReport([batcher])
        start = report.take()
        assert start["queued_s"] == 0
        await batcher.infer(await batcher.tokenize(["abc"]))
        asked = asyncio.create_task(batcher.infer(await batcher.tokenize(["abcdef"] * 8)))
        await asyncio.sleep(0.01)
        taken = report.take()
        expected = batcher.num_queued_tokens / batcher.tokens_per_s
        assert taken["queued_s"] == pytest.approx(expected)
        assert 0 < taken["utilisation"] <= 1
        await asked
        await batcher.close()

    asyncio.run(run())
