"""The same fine-tuning here and in PyTorch: `python -m benchmarks.torch_quality`.

Same first weights (those of the head included), rows, batches in the same order, steps, learning
rates and seed; the metric may differ by a point. Then both train some steps in turns: the losses of
their first steps must be the same but for rounding, and the time per step is compared within a
round. PyTorch and transformers live in an environment of their own, which is installed once from
the package index. Goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import DATA, recipe_of, record_path, run_set
from benchmarks.quality_sets import SETS, QualitySet
from benchmarks.report import command_line, spread, table, write_result
from benchmarks.training_steps import LoopJob, ratios, run_alone, seconds_per_step, take_turns
from ernie_ray.environment import training_worker_environment
from loadtests.environments import peer_python

JOBS = Path("build/benchmarks/torch")
PEER = Path(__file__).with_name("peers") / "torch_finetune.py"
REQUIREMENTS = ["transformers>=4.57,<6", "safetensors>=0.6", "numpy>=2"]
COMPARED = ("chnsenticorp", "cluener")
BOUND_POINTS = 1.0
_NUM_WARM_UP = 3

Metrics = dict[str, float]


def main() -> None:
    """Train what is missing, take turns for the speed, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=DATA, help="folder of the data sets")
    parser.add_argument("--only", nargs="*", choices=COMPARED, default=COMPARED)
    parser.add_argument("--steps", type=int, default=0, help="other than the recipe's, for a trial")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--timed-steps", type=int, default=20)
    args = parser.parse_args()
    data = Path(args.data).absolute()
    chosen = [one for one in SETS if one.name in args.only]
    if missing := [one.name for one in chosen if not (data / one.test).is_file()]:
        sys.exit(f"{data}: no data for {', '.join(missing)}; give --data or ERNIE_RAY_DATA")
    python = peer_python("torch-finetune", REQUIREMENTS)
    rows, speeds = [], []
    for one in chosen:
        ours, theirs = _compare(one, data, python, args.steps)
        rows += [_row(one, metric, ours, theirs) for metric in one.metrics]
        speeds.append(_time(one, data, python, args))
    body = (
        table(["set: metric", "here", "PyTorch", "difference"], rows)
        + "\n\n"
        + table(["set", "here, s per step", "PyTorch, s per step", "PyTorch / here",
                 "losses apart"], speeds)
        + f"\n\nIn percent, and seconds as median and quartiles of "
        f"{args.rounds} rounds of {args.timed_steps} steps. Allowed is a difference of "
        f"{BOUND_POINTS} points. Losses apart: the largest difference between both sides' losses "
        f"of a step, of the first and of the first {args.timed_steps}. Here: the exported model "
        "as it is served; fp32 training on both sides, the same threads."
    )  # fmt: skip
    print(body)  # noqa: T201
    write_result(
        "torch-quality", "Fine-tuning here and in PyTorch", command_line("torch_quality"),
        body,
    )  # fmt: skip


def _variant(steps: int) -> tuple[str, list[str]]:
    """Kind and overrides of a quick recipe or, for a trial, of one with other steps."""
    return (f"quick-{steps}", [f"training.max_steps={steps}"]) if steps else ("quick", [])


def _compare(one: QualitySet, data: Path, python: Path, steps: int) -> tuple[Metrics, Metrics]:
    """Metrics of our model and of PyTorch's on the same rows."""
    kind, overrides = _variant(steps)
    if not record_path(one, kind).is_file():
        run_set(one, data, kind, overrides)
    ours: dict[str, Any] = json.loads(record_path(one, kind).read_text(encoding="utf-8"))
    folder, run = JOBS / kind / one.name, record_path(one, kind).with_suffix("")
    recipe = recipe_of(one, data, kind, overrides)
    if not (folder / "logits.npz").is_file():
        from benchmarks.torch_job import write_job

        write_job(run, recipe, folder)
        subprocess.run([str(python), str(PEER), str(folder)], check=True)
    from benchmarks.torch_job import measure_answers

    return ours["model"], measure_answers(run, recipe, folder)


def _row(one: QualitySet, metric: str, ours: Metrics, theirs: Metrics) -> list[str]:
    here, there = 100 * ours[metric], 100 * theirs[metric]
    mark = "" if abs(here - there) <= BOUND_POINTS else " (over the bound)"
    return [f"{one.name}: {metric}", f"{here:.2f}", f"{there:.2f}", f"{here - there:+.2f}{mark}"]


def _time(one: QualitySet, data: Path, python: Path, args: argparse.Namespace) -> list[str]:
    """A row of the second table."""
    kind, overrides = _variant(args.steps)
    recipe = recipe_of(one, data, kind, overrides)
    run, folder = record_path(one, kind).with_suffix(""), JOBS / kind / one.name
    (features,) = (run / "features").iterdir()
    job = LoopJob(
        start=str(run / "start"),
        features=str(features),
        training=recipe.training.model_copy(update={"log_every_steps": 1}),
        stop_after=args.timed_steps,
    )
    environment = training_worker_environment(recipe.scaling.cpus_per_worker)
    losses: dict[str, list[float]] = {}

    def here() -> float:
        lines = run_alone(job, environment)
        losses["here"] = [line["loss"] for line in lines]
        return seconds_per_step(lines[_NUM_WARM_UP:], recipe.training.global_batch_size)

    def there() -> float:
        command = [str(python), str(PEER), str(folder), "--steps", str(args.timed_steps)]
        subprocess.run(command, check=True)
        found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        losses["there"] = found["losses"]
        seconds = found["seconds"][_NUM_WARM_UP + 1 :]
        return float(sum(seconds) / len(seconds))

    ours, theirs = take_turns([here, there], args.rounds, one.name)
    apart = np.abs(np.subtract(losses["here"], losses["there"]))
    return [
        one.name, spread(ours, 3), spread(theirs, 3), spread(ratios(theirs, ours), 2),
        f"{apart[0]:.1e}, {apart.max():.1e}",
    ]  # fmt: skip


if __name__ == "__main__":
    main()
