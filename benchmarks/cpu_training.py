"""The two switches for training with Paddle on a CPU: `python -m benchmarks.cpu_training`.

A training step with and without each of them, everything else as a training worker has it. Every
run is a process of its own; both sides take turns, and the ratio is formed within a pair. To be run
on each kind of CPU: on AMD's `MKL_DEBUG_CPU_TYPE` is set, on others it is not.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.report import spread, table, write_result
from benchmarks.training_steps import (
    MODEL,
    random_job,
    ratios,
    run_alone,
    seconds_per_step,
    take_turns,
)
from ernie_ray.environment import this_machine, training_worker_environment

SWITCHES = {"MKL_DEBUG_CPU_TYPE": "5", "FLAGS_use_stride_kernel": "0"}


def main() -> None:
    """Measure each switch and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    usual = training_worker_environment(args.threads)
    rows = []
    with tempfile.TemporaryDirectory(prefix="ernie-ray-switches-") as name:
        job = random_job(Path(name), args.steps)

        def measure(environment: dict[str, str]) -> float:
            return seconds_per_step(run_alone(job, environment))

        for switch, value in SWITCHES.items():
            without = {key: other for key, other in usual.items() if key != switch}
            sides = [partial(measure, without), partial(measure, {**without, switch: value})]
            off_s, on_s = take_turns(sides, args.pairs, switch)
            mark = "" if switch in usual else " (not set here)"
            times = [spread([1000 * s for s in side]) for side in (off_s, on_s)]
            rows.append([f"{switch}={value}{mark}", *times, spread(ratios(off_s, on_s), 2)])
    vendor = "AMD" if this_machine().is_amd else "not AMD"
    body = (
        table(["switch", "without, ms per step", "with, ms per step", "times as fast"], rows)
        + f"\n\nMedian and quartiles of {args.pairs} pairs on this CPU ({vendor}). {MODEL}; "
        f"{args.steps} of them, on {args.threads} threads."
    )
    print(body)  # noqa: T201
    command = f"python -m benchmarks.cpu_training --pairs {args.pairs} --steps {args.steps}"
    name = "cpu-training-amd" if this_machine().is_amd else "cpu-training"
    write_result(name, "Switches for training on CPUs", command, body)


if __name__ == "__main__":
    main()
