"""The students of one data set: what each is trained on, which trial is the best, and the table.

Every step finds what is done already; what is not is trained on the spot.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.report import table
from benchmarks.slim_data import NEAR_RULE, place, with_held_out_dev, write_unlabelled
from benchmarks.slim_plans import (
    LSTM_LIMITS,
    MAX_STEPS,
    NUM_HELD_OUT,
    PLAIN_EPOCHS,
    PLAIN_TRIALS,
    SOFT_EVALUATION,
    Plan,
)
from benchmarks.slim_runs import Score, Workshop, mixed_rows, with_first_copies
from ernie_ray.text.augment import AugmentSettings


@dataclass(frozen=True)
class Trial:
    """One way to train a student, but for its seed.

    Attributes:
        name: Of its runs.
        rows: To learn from.
        settings: Of the recipe.
        has_teacher: The rows have the teacher's logits.
        num_copies: Of each row, beside unlabelled texts.
    """

    name: str
    rows: str
    settings: tuple[str, ...] = ()
    has_teacher: bool = True
    num_copies: int = 0


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


@dataclass(frozen=True)
class _Trials:
    """All ways to train one kind of student, by the lines of the table."""

    plain: list[Trial]
    augmented: list[Trial]
    unlabelled: list[Trial]


class Contest:
    """One data set: a teacher and its students."""

    def __init__(self, plan: Plan, folder: Path, num_threads: int) -> None:
        """Look at a data set; Ray must be there before anything is trained.

        Args:
            plan: What is trained.
            folder: Holds its runs.
            num_threads: Of each training.
        """
        rows = plan.rows
        if rows.dev == rows.test:
            rows = with_held_out_dev(rows, NUM_HELD_OUT, folder / "rows")
        self._plan = plan
        self._shop = Workshop(rows, folder, num_threads, plan.metric, plan.settings)

    def prepare(self) -> None:
        """Train the teacher, let it label, and write all files that students learn from."""
        self._shop.train_teacher(self._plan.teacher)
        sources = self._sources()
        for kind in self._plan.students:
            self._trials(kind, sources)

    def train(self, kind: str) -> None:
        """Train the students of one kind."""
        trials = self._trials(kind, self._sources())
        for one in (trials.plain, trials.augmented, trials.unlabelled):
            if one:
                self._best(kind, one)

    def table(self) -> str:
        """Give the table with how to read it."""
        teacher = self._shop.train_teacher(self._plan.teacher)
        sources = self._sources()
        rows = [self._constant(), ["teacher", *_shown(teacher), "", "", ""]]
        for kind in self._plan.students:
            rows += self._lines(kind, sources, teacher)
        header = [f"{self._shop.rows.name} ({self._plan.metric})", "dev", "test", "spread"]
        return table([*header, "gain (kit)", "gap closed"], rows) + "\n\n" + self._notes(sources)

    def _sources(self) -> _Sources:
        shop = self._shop
        copies = AugmentSettings(num_copies=self._plan.num_copies)
        augmented = shop.label(shop.augment(f"copies-{copies.num_copies}", copies), "labelled")
        if not shop.rows.unlabelled:
            return _Sources(augmented)
        texts = shop.folder / f"unlabelled-{self._plan.max_unlabelled}.jsonl"
        counted = texts.with_suffix(".near.txt")
        if not (texts.exists() and counted.exists()):
            num_near = write_unlabelled(shop.rows, texts, self._plan.max_unlabelled)
            counted.write_text(str(num_near), encoding="utf-8")
        unlabelled = shop.label(texts, f"labelled-{texts.stem}")
        return _Sources(augmented, unlabelled, counted.read_text(encoding="utf-8"))

    def _trials(self, kind: str, sources: _Sources) -> _Trials:
        """Write the rows of the trials, if they are not there, and list the trials."""
        plan, copies = self._plan.students[kind], sources.augmented
        if plan.num_copies < self._plan.num_copies:
            copies = with_first_copies(copies, plan.num_copies)
        beside = plan.copies_beside if sources.unlabelled else ()
        train = place(self._shop.rows.train)
        unlabelled = [
            Trial(
                f"unlabelled-{n}-copies",
                str(mixed_rows(sources.augmented, n, sources.unlabelled, plan.max_unlabelled)),
                num_copies=n,
            )
            for n in beside
            if sources.unlabelled
        ]
        plain = [
            Trial(f"plain-trial{i}", train, settings, has_teacher=False)
            for i, settings in enumerate(PLAIN_TRIALS[kind][: 1 + len(beside)])
        ]
        return _Trials(plain, [Trial("augmented", str(copies))], unlabelled)

    def _lines(self, kind: str, sources: _Sources, teacher: Score) -> Iterator[list[str]]:
        trials, kit_gain = self._trials(kind, sources), self._plan.students[kind].kit_gain
        _, plain = self._best(kind, trials.plain)
        yield [*_row(f"{kind} plain", plain), "", ""]
        _, scores = self._best(kind, trials.augmented)
        yield [*_row(f"{kind} + augmented", scores), *_gain(scores, plain, kit_gain, teacher)]
        if trials.unlabelled:
            best, scores = self._best(kind, trials.unlabelled)
            name = f"{kind} + unlabelled, {best.num_copies} copies"
            yield [*_row(name, scores), *_gain(scores, plain, kit_gain, teacher)]

    def _best(self, kind: str, trials: Sequence[Trial]) -> tuple[Trial, list[Score]]:
        """The trial that is best on dev with the first seed, and its scores with every seed."""
        seeds = self._plan.students[kind].seeds
        dev = [self._student(kind, trial, seeds[0]).dev for trial in trials]
        best = trials[int(np.argmax(dev))]
        return best, [self._student(kind, best, seed) for seed in seeds]

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
            fewer = [f", {s.max_unlabelled:,} for {k}" for k, s in students if s.max_unlabelled]
            notes.append(
                f"{self._plan.max_unlabelled:,} unlabelled texts{''.join(fewer)}, beside the "
                f"number of copies that is better on dev where two were tried. {NEAR_RULE} "
                f"{sources.num_near} such texts were left out."
            )
        num_beside = {k: len(s.copies_beside) if sources.unlabelled else 0 for k, s in students}
        trials = (
            "Trials on dev: augmented 1, unlabelled and plain "
            + ", ".join(f"{kind} {n} and {1 + n}" for kind, n in num_beside.items())
            + "; before them the recipes were chosen on ChnSentiCorp's dev rows: with a teacher "
            "among ten and then 69 of the bag and two of the CNN, without one among two of each "
            "and then eight of the bag (decision 11)."
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
