"""One generator process: reads phases as JSON lines on stdin, makes their load with Locust.

Started by ``loadtests.fleet``; answers each phase with one JSON line after its last request.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import gevent
from locust.env import Environment

from loadtests.records import Recorder
from loadtests.scenario import Lane, Step
from loadtests.senders import now_s
from loadtests.texts import read_texts
from loadtests.users import Plan, user_class


def main() -> None:
    """Read the set-up, then run phases until stdin ends."""
    logging.basicConfig(level=logging.ERROR)
    setup = json.loads(sys.stdin.readline())
    texts = read_texts(setup["texts"])
    print(json.dumps({"ready": True}), flush=True)  # noqa: T201 - the answer to the parent
    for line in sys.stdin:
        phase = json.loads(line)
        used = _run_phase(setup, phase, texts)
        print(json.dumps(used), flush=True)  # noqa: T201


def _run_phase(setup: dict[str, Any], phase: dict[str, Any], texts: list[str]) -> dict[str, float]:
    """Make the load of one phase.

    Returns:
        ``cpu_s``: CPU seconds of this process; ``busy``: its share of a CPU during the phase,
        without the lead and the last answers.
    """
    recorder = Recorder()
    step = Step.model_validate(phase["step"])
    classes = []
    for fields in phase["lanes"]:
        plan = Plan(
            lane=Lane.model_validate(fields),
            steps=(step,),
            texts=texts,
            seed=phase["seed"],
            share=tuple(setup["share"]),
            start_at_s=phase["start_at_s"],
            recorder=recorder,
        )
        if plan.num_users:
            classes.append(user_class(setup["url"], setup["dialect"], plan))
    started = time.process_time()
    share = gevent.spawn(_share_of_a_cpu, phase["start_at_s"], step.seconds)
    if classes:
        environment = Environment(user_classes=classes)
        runner = environment.create_local_runner()
        total = sum(one.fixed_count for one in classes)
        runner.start(total, spawn_rate=total)
        assert runner.spawning_greenlet is not None
        runner.spawning_greenlet.join()
        runner.user_greenlets.join()
        runner.quit()
    recorder.save(Path(phase["out"]))
    return {"cpu_s": time.process_time() - started, "busy": share.get()}


def _share_of_a_cpu(start_at_s: float, seconds: float) -> float:
    """Wait for a phase and through it; a busy process wakes late, so the time is measured, too."""
    gevent.sleep(max(0.0, start_at_s - now_s()))
    wall_s, cpu_s = now_s(), time.process_time()
    gevent.sleep(max(0.0, start_at_s + seconds - wall_s))
    return (time.process_time() - cpu_s) / max(now_s() - wall_s, 1e-3)


if __name__ == "__main__":
    main()
