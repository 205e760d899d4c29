r"""What distillation gains: `python -m benchmarks.slim_quality`.

ChnSentiCorp, THUCNews titles and AFQMC pairs; teachers: fine-tuned multilingual-e5-small. Students
plain, distilled with augmented rows alone, and with unlabelled texts added. Everything that can be
tuned is tuned on dev with the first seed, a plain student with as many trials as the distilled one
has in all; nothing on test. Two data sets at once, each by a process of one thread, as two such
processes use two cores better than one of two threads does. The same command goes on where it
stopped.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import command_line, table, write_result
from benchmarks.slim_data import (
    NEAR_RULE,
    add_threads_option,
    place,
    require_data,
    with_held_out_dev,
    write_unlabelled,
)
from benchmarks.slim_plans import (
    LSTM_LIMITS,
    MAX_STEPS,
    NUM_HELD_OUT,
    PLAIN_EPOCHS,
    PLAIN_TRIALS,
    PLANS,
    SOFT_EVALUATION,
    Plan,
    StudentPlan,
)
from ernie_ray.cli.ray_session import connect
from ernie_ray.text.augment import AugmentSettings

if TYPE_CHECKING:
    from benchmarks.slim_runs import Score

TITLE = "Slim: what distillation gains"
_TABLE = "table.md"
_LOG = "log.txt"


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks/slim"))
    parser.add_argument("--sets", nargs="+", default=list(PLANS), choices=list(PLANS))
    parser.add_argument("--max-unlabelled", type=int, default=60_000)
    parser.add_argument("--at-once", type=int, default=2, help="Data sets that run side by side.")
    add_threads_option(parser, default=1)
    options = parser.parse_args()
    require_data()
    start = time.monotonic()
    failed = []
    # A process a set: each has a Ray of its own, and ends with it.
    with ProcessPoolExecutor(
        options.at_once, multiprocessing.get_context("spawn"), max_tasks_per_child=1
    ) as pool:
        running = {pool.submit(_write_table, name, options): name for name in options.sets}
        for name in options.sets:
            print(f"{name}: see {options.folder / name / _LOG}", flush=True)  # noqa: T201
        for done in as_completed(running):
            error = done.exception()
            if error is not None:  # the others go on
                failed.append(running[done])
                print(f"{running[done]}: {error!r}", file=sys.stderr, flush=True)  # noqa: T201
                continue
            # Written after each set, with those of earlier calls: no table is lost.
            tables = [options.folder / one / _TABLE for one in PLANS]
            bodies = [one.read_text(encoding="utf-8") for one in tables if one.exists()]
            bodies.append(f"Minutes of this call: {(time.monotonic() - start) / 60:.0f}.")
            path = write_result(
                "slim_quality", TITLE, command_line("slim_quality"), "\n\n".join(bodies)
            )
            print(f"{running[done]}: done, {path}", flush=True)  # noqa: T201
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; the same command goes on")
    print(path.read_text(encoding="utf-8"))  # noqa: T201


def _write_table(name: str, options: argparse.Namespace) -> None:
    """Run one data set and write its table into its folder; its progress goes into its log."""
    folder: Path = options.folder / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOG).open("a", encoding="utf-8") as log:
        # The descriptors, as Ray's processes inherit them.
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    with connect(num_cpus=options.threads + 1):
        contest = _Contest(PLANS[name], folder, options)
        (folder / _TABLE).write_text(contest.table(), encoding="utf-8")


@dataclass(frozen=True)
class Trial:
    """One way to train a student, but for its seed.

    Attributes:
        name: Of its runs.
        rows: To learn from.
        settings: Of the recipe.
        has_teacher: The rows have the teacher's logits.
    """

    name: str
    rows: str
    settings: tuple[str, ...]
    has_teacher: bool


@dataclass
class _Sources:
    """What distilled students learn from.

    Attributes:
        augmented: The training rows and their copies, labelled.
        unlabelled: Unlabelled texts, labelled by the teacher; None: the set has none.
        num_near: Texts left out since they are near a measured one.
    """

    augmented: Path
    unlabelled: Path | None = None
    num_near: str = ""


class _Contest:
    """One data set: a teacher and its students."""

    def __init__(self, plan: Plan, folder: Path, options: argparse.Namespace) -> None:
        # Imported late: Ray reads its environment, which `connect` sets.
        from benchmarks.slim_runs import Workshop

        rows = plan.rows
        if rows.dev == rows.test:
            rows = with_held_out_dev(rows, NUM_HELD_OUT, folder / "rows")
        self._plan = plan
        self._max_unlabelled = options.max_unlabelled
        self._shop = Workshop(rows, folder, options.threads, plan.metric, plan.settings)

    def table(self) -> str:
        """Train whatever is not there yet; gives the table with how to read it."""
        teacher = self._shop.train_teacher(self._plan.teacher)
        sources = self._sources()
        rows = [self._constant(), ["teacher", *_shown(teacher), "", "", ""]]
        for kind, student in self._plan.students.items():
            rows += self._rows_of(kind, student, sources, teacher)
        header = [f"{self._shop.rows.name} ({self._plan.metric})", "dev", "test", "spread"]
        return table([*header, "gain (kit)", "gap closed"], rows) + "\n\n" + self._notes(sources)

    def _sources(self) -> _Sources:
        shop = self._shop
        copies = AugmentSettings(num_copies=self._plan.num_copies)
        augmented = shop.label(shop.augment(f"copies-{copies.num_copies}", copies), "labelled")
        if not shop.rows.unlabelled:
            return _Sources(augmented)
        texts = shop.folder / f"unlabelled-{self._max_unlabelled}.jsonl"
        counted = texts.with_suffix(".near.txt")
        if not (texts.exists() and counted.exists()):
            num_near = write_unlabelled(shop.rows, texts, self._max_unlabelled)
            counted.write_text(str(num_near), encoding="utf-8")
        unlabelled = shop.label(texts, f"labelled-{texts.stem}")
        return _Sources(augmented, unlabelled, counted.read_text(encoding="utf-8"))

    def _rows_of(
        self, kind: str, plan: StudentPlan, sources: _Sources, teacher: Score
    ) -> list[list[str]]:
        # Imported late: Ray reads its environment, which `connect` sets.
        from benchmarks.slim_runs import mixed_rows, with_first_copies

        shop, copies = self._shop, sources.augmented
        if plan.num_copies < self._plan.num_copies:
            copies = with_first_copies(copies, plan.num_copies)
        beside = plan.copies_beside if sources.unlabelled else ()
        trials = [
            Trial(f"plain-trial{i}", place(shop.rows.train), settings, has_teacher=False)
            for i, settings in enumerate(PLAIN_TRIALS[kind][: 1 + len(beside)])
        ]
        _, plain = self._best(kind, plan, trials)
        soft = Trial("augmented", str(copies), (), has_teacher=True)
        _, scores = self._best(kind, plan, [soft])
        rows = [
            [*_row(f"{kind} plain", plain), "", ""],
            [*_row(f"{kind} + augmented", scores), *_gain(scores, plain, plan.kit_gain, teacher)],
        ]
        if sources.unlabelled:
            trials = []
            for n in beside:
                mixed = mixed_rows(sources.augmented, n, sources.unlabelled)
                trials.append(replace(soft, name=f"unlabelled-{n}-copies", rows=str(mixed)))
            best, scores = self._best(kind, plan, trials)
            name = f"{kind} + unlabelled, {beside[trials.index(best)]} copies"
            rows.append([*_row(name, scores), *_gain(scores, plain, plan.kit_gain, teacher)])
        return rows

    def _best(
        self, kind: str, plan: StudentPlan, trials: Sequence[Trial]
    ) -> tuple[Trial, list[Score]]:
        """The trial that is best on dev with the first seed, and its scores with every seed."""
        dev = [self._student(kind, trial, plan.seeds[0]).dev for trial in trials]
        best = trials[int(np.argmax(dev))]
        return best, [self._student(kind, best, seed) for seed in plan.seeds]

    def _student(self, kind: str, trial: Trial, seed: int) -> Score:
        overrides = (
            *(SOFT_EVALUATION if trial.has_teacher else (PLAIN_EPOCHS,)),
            *(LSTM_LIMITS if kind == "lstm" else ()),
            *self._plan.student,
            *trial.settings,
            f"training.max_steps={MAX_STEPS[kind]}",
            f"training.seed={seed}",
        )
        name = f"{kind}-{trial.name}-seed{seed}"
        return self._shop.student(name, kind, trial.rows, overrides, has_teacher=trial.has_teacher)

    def _constant(self) -> list[str]:
        is_f1 = self._plan.metric == "positive_f1"
        shop = self._shop
        values = shop.constant_positive_f1() if is_f1 else shop.constant_accuracies()
        return ["constant", *(f"{100 * value:.2f}" for value in values), "", "", ""]

    def _notes(self, sources: _Sources) -> str:
        students = self._plan.students.items()
        notes = [
            "In percent, mean over seeds, with the spread (largest minus smallest). Gain: points "
            "over the plain student; gap: its share of the way to the teacher.",
            "Copies of each row: " + ", ".join(f"{k} {s.num_copies}" for k, s in students) + ".",
            "At most: "
            + "; ".join(f"{k} {len(s.seeds)} seeds, {MAX_STEPS[k]:,} steps" for k, s in students)
            + ".",
        ]
        if sources.unlabelled:
            notes.append(
                f"{self._max_unlabelled:,} unlabelled texts, beside the number of copies that is "
                f"better on dev where two were tried. {NEAR_RULE} {sources.num_near} such texts "
                "were left out."
            )
        num_beside = {k: len(s.copies_beside) if sources.unlabelled else 0 for k, s in students}
        trials = (
            "Trials on dev: augmented 1, unlabelled and plain "
            + ", ".join(f"{kind} {n} and {1 + n}" for kind, n in num_beside.items())
            + "; before them the recipes were chosen on ChnSentiCorp's dev rows: with a teacher "
            "among ten of the bag and two of the CNN, without one among two of each (decision 11)."
        )
        notes += [trials, self._plan.remark]
        return " ".join(filter(None, notes))


def _shown(score: Score) -> list[str]:
    return [f"{100 * score.dev:.2f}", f"{100 * score.test:.2f}"]


def _row(name: str, scores: Sequence[Score]) -> list[str]:
    tests = [100 * score.test for score in scores]
    dev = float(np.mean([100 * score.dev for score in scores]))
    width = f"{max(tests) - min(tests):.2f}" if len(tests) > 1 else ""
    return [name, f"{dev:.2f}", f"{np.mean(tests):.2f}", width]


def _gain(
    scores: Sequence[Score], plain: Sequence[Score], kit_gain: float | None, teacher: Score
) -> list[str]:
    test, plain_test = (float(np.mean([100 * one.test for one in x])) for x in (scores, plain))
    kit = "" if kit_gain is None else f" ({kit_gain:+.1f})"
    way = 100 * teacher.test - plain_test
    share = f"{100 * (test - plain_test) / way:.0f} %" if way > 0 else ""
    return [f"{test - plain_test:+.2f}{kit}", share]


if __name__ == "__main__":
    main()
