r"""What Tiny students keep of their teacher: `python -m benchmarks.tiny_quality`.

ChnSentiCorp (train_noleak -> dev, test) and STS-B-zh, teachers: fine-tuned multilingual-e5-small.
Students of 3 x 384 and 3 x 512, each distilled and, from the same start, fine-tuned without a
teacher. Dev rows choose the checkpoint; nothing is tuned on test. The same command goes on where it
stopped, and takes the teacher of `benchmarks.slim_quality` where that is done.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import command_line, table, write_result
from benchmarks.slim_data import (
    CHNSENTICORP,
    NEAR_RULE,
    STSB,
    TaskRows,
    add_threads_option,
    place,
    require_data,
    write_unlabelled,
)
from ernie_ray.cli.ray_session import connect
from ernie_ray.config import TinyRecipe, load_recipe_of

if TYPE_CHECKING:
    from ernie_ray.jobs.tiny import TinyResult

KEPT_BOUND = 97.63
SHAPES = ("3x384", "3x512")


@dataclass(frozen=True)
class Task:
    """One data set with what differs from the built-in recipes.

    Attributes:
        rows: Where its rows are.
        metric: The table's.
        teacher_recipe: Built-in recipe of the teacher's fine-tuning.
        teacher: Settings of it.
        student: Settings of the chain.
    """

    rows: TaskRows
    metric: str
    teacher_recipe: str
    teacher: tuple[str, ...] = ()
    student: tuple[str, ...] = ()


TASKS = {
    "chnsenticorp": Task(
        CHNSENTICORP,
        "accuracy",
        "classify",
        student=("training.num_epochs=2", "plain_training.num_epochs=5"),
    ),
    "stsb": Task(
        STSB,
        "spearman",
        "regression",
        teacher=("task.high=5.0", "model.max_tokens=64", "training.num_epochs=3"),
        student=(
            "data.unlabelled_text_column=text",
            "student.max_tokens=64",
            "training.num_epochs=6",
            "plain_training.num_epochs=6",
        ),
    ),
}


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks/slim"))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES))
    parser.add_argument("--max-unlabelled", type=int, default=10_000)
    parser.add_argument("--max-steps", type=int, default=0, help="Of each training: a trial.")
    add_threads_option(parser)
    options = parser.parse_args()
    require_data()
    if options.max_steps:
        options.folder /= "trial"  # no run of the table may start from what a trial trained
    with connect(num_cpus=options.threads + 1):
        bodies = [_body(TASKS[name], options.folder / name, options) for name in options.tasks]
    body = "\n\n".join(bodies)
    print(body)  # noqa: T201
    if not options.max_steps:
        command = command_line("tiny_quality")
        write_result("tiny_quality", "Tiny: what students keep", command, body)


def _body(task: Task, folder: Path, options: argparse.Namespace) -> str:
    # Imported late: Ray reads its environment, which `connect` sets.
    from benchmarks.slim_runs import Workshop

    shop = Workshop(task.rows, folder, options.threads, metric=task.metric)
    limit = _limits(("training",), options.max_steps)
    shop.train_teacher((*task.teacher, *limit), recipe_name=task.teacher_recipe)
    unlabelled = shop.folder / f"unlabelled-{options.max_unlabelled}.jsonl"
    counted = unlabelled.with_suffix(".near.txt")
    if not (unlabelled.exists() and counted.exists()):
        num_near = write_unlabelled(task.rows, unlabelled, options.max_unlabelled)
        counted.write_text(str(num_near), encoding="utf-8")
    settings = (
        f"teacher.model={json.dumps(str(shop.teacher))}",
        *shop.data_settings(task.rows.train),
        f"data.test={json.dumps(place(task.rows.test))}",
        f"data.unlabelled={json.dumps([str(unlabelled)])}",
        "report.base_encoder=false",
        *task.student,
        *_limits(("general_training", "training", "plain_training"), options.max_steps),
    )
    results = {shape: _chain(shape, settings, shop.folder) for shape in options.shapes}
    notes = (
        f"{task.metric} in percent; kept: share of the teacher's on the test rows (bound for "
        f"3 x 384 on ChnSentiCorp: {KEPT_BOUND} %). {options.max_unlabelled:,} unlabelled texts. "
        f"{NEAR_RULE} {counted.read_text(encoding='utf-8')} such texts were left out. "
        "Without distillation: fine-tuned from the same start, layers of the fine-tuned teacher. "
        "Minutes: of a student's trainings; a distilled one's are those on texts and on the task."
    )
    lengths = [f"- {shape}: {result.lengths}" for shape, result in results.items()]
    header = [task.rows.name, "dev", "test", "kept", "MB", "p50 ms", "minutes"]
    return "\n\n".join([table(header, _rows(results)), notes, "\n".join(lengths)])


def _limits(sections: tuple[str, ...], max_steps: int) -> tuple[str, ...]:
    return tuple(f"{section}.max_steps={max_steps}" for section in sections if max_steps)


def _chain(shape: str, settings: tuple[str, ...], folder: Path) -> TinyResult:
    from ernie_ray.jobs.storage import Storage
    from ernie_ray.jobs.tiny import tiny

    recipe = load_recipe_of(TinyRecipe, shape, settings, folder_name="tiny")
    return tiny(recipe, f"tiny-{shape}", storage=Storage(str(folder)))


def _rows(results: dict[str, TinyResult]) -> list[list[str]]:
    """Constant and teacher once, then each shape's students."""
    rows: list[list[str]] = []
    for shape, result in results.items():
        teacher = result.report.row(result.report.teacher)
        for row in result.report.rows:
            is_student = row.name.startswith("student")
            if rows and shape != next(iter(results)) and not is_student:
                continue
            name = row.name.replace("student", shape) if is_student else row.name
            kept = f"{100 * (row.test or 0) / (teacher.test or 1):.2f} %" if is_student else ""
            shown = [f"{100 * (value or 0):.2f}" for value in (row.dev, row.test)]
            size, p50 = (
                "" if value is None else f"{value:.{digits}f}"
                for value, digits in ((row.size_mb, 0), (row.p50_ms, 2))
            )
            minutes = _minutes(result, row.name) if is_student else ""
            rows.append([name, *shown, kept, size, p50, minutes])
    return rows


def _minutes(result: TinyResult, student: str) -> str:
    """What its trainings took, over all attempts, with preparing, exporting and evaluating."""
    # Imported late: Ray reads its environment, which `connect` sets.
    from ernie_ray.jobs import runs
    from ernie_ray.jobs.comparison import DISTILLED
    from ernie_ray.jobs.storage import Storage

    stages = [student, *(["general"] if student == DISTILLED else [])]
    folders = [Path(str(result.stages[stage])).parent for stage in stages]
    facts = [runs.read_json(f"{folder}/{runs.FACTS}", Storage()) for folder in folders]
    return f"{sum(sum(fact['seconds'].values()) for fact in facts) / 60:.0f}"


if __name__ == "__main__":
    main()
