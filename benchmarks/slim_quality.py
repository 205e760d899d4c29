r"""What distillation gains: `python -m benchmarks.slim_quality`.

ChnSentiCorp (train_noleak -> dev, test), teacher: fine-tuned multilingual-e5-small. Students plain,
distilled with augmented rows alone, and with unlabelled reviews added. Everything that can be tuned
is tuned on dev with the first seed, a plain student with as many trials as the distilled one has in
all; nothing on test. The same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import command_line, table, write_result
from benchmarks.slim_data import (
    AFQMC,
    CHNSENTICORP,
    NEAR_RULE,
    THUCNEWS,
    add_threads_option,
    place,
    require_data,
    with_held_out_dev,
    write_unlabelled,
)
from ernie_ray.cli.ray_session import connect
from ernie_ray.text.augment import AugmentSettings

if TYPE_CHECKING:
    from benchmarks.slim_runs import Score, Workshop

KIT_GAINS = {"bow": 1.3, "cnn": 0.8, "lstm": 2.7}
SEEDS = {"bow": (1, 2, 3), "cnn": (1, 2, 3), "lstm": (1,)}
# The best on dev with the first seed. Distilled students have two trials with augmented rows and
# two more with unlabelled ones, so plain students have four.
PLAIN_TRIALS = {
    "bow": (
        ("student.hidden_sizes=[]", "student.token_dropout=0.0", "training.dropout=0.3"),
        (),
        ("student.hidden_sizes=[]", "student.token_dropout=0.3"),
        ("training.learning_rate=1e-3",),
    ),
    "cnn": (
        (),
        ("student.token_dropout=0.0",),
        ("student.token_dropout=0.4",),
        ("training.learning_rate=1e-3",),
    ),
    "lstm": (
        (),
        ("training.dropout=0.5",),
        ("student.token_dropout=0.3",),
        ("training.learning_rate=1e-3",),
    ),
}
SOFT_TRIALS = (
    ("distillation.temperature=1.0", "distillation.hard_weight=0.0"),
    ("distillation.temperature=2.0", "distillation.hard_weight=0.2"),
)
# With unlabelled rows the settings are those chosen without; tried is how many copies are beside.
# So many that an LSTM sees 80,000 rows at most.
COPIES = {"bow": 10, "cnn": 10, "lstm": 9}
NUM_COPIES = max(COPIES.values())
COPIES_BESIDE = {"bow": (0, 2), "cnn": (0, 2), "lstm": (0, 1)}
# The plain student sees a tenth of the rows, so it gets more passes over them.
PLAIN_EPOCHS = "training.num_epochs=12"
# What 2.5 hours allow: two to four passes over the rows, the learning rate falling to 0 at the end.
MAX_STEPS = {"bow": 2_500, "cnn": 3_000, "lstm": 2_000}
SOFT_EVALUATION = ("training.eval_every_steps=500", "training.patience_evaluations=0")
NUM_HELD_OUT = 2_000
"""Rows of AFQMC's training file that choose checkpoints, since its dev rows are measured."""
LSTM_LIMITS = ("student.num_units=128", "student.max_tokens=96")
MAX_UNLABELLED = 60_000
TITLE = "Slim: what distillation gains"
# AFQMC's loss only begins to fall after 600 steps.
TEACHER_STEPS = {"thucnews": 500, "afqmc": 1_000}
# Three tenths of the pairs match, and their F1 is what counts.
PAIR_SETTINGS = ("training.metric=positive_f1", "training.class_weights=balanced")
SETS = ("chnsenticorp", "thucnews", "afqmc")


def main() -> None:
    """Make the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks/slim"))
    parser.add_argument("--students", nargs="+", default=list(SEEDS), choices=list(SEEDS))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--max-unlabelled", type=int, default=MAX_UNLABELLED)
    add_threads_option(parser)
    options = parser.parse_args()
    require_data()
    with connect(num_cpus=options.threads + 1):
        # Imported late: Ray reads its environment, which `connect` sets.
        from benchmarks.slim_runs import Workshop

        bodies: list[str] = []
        for name in options.sets:
            if name == "chnsenticorp":
                shop = Workshop(CHNSENTICORP, options.folder / name, options.threads)
                bodies.append(_chnsenticorp(shop, options))
            elif name == "thucnews":
                shop = Workshop(THUCNEWS, options.folder / name, options.threads)
                bodies.append(_augmented_only(shop, ("bow", "cnn"), 2, TEACHER_STEPS[name]))
            else:
                folder = options.folder / name
                held_out = with_held_out_dev(AFQMC, NUM_HELD_OUT, folder / "rows")
                shop = Workshop(held_out, folder, options.threads, "positive_f1", PAIR_SETTINGS)
                bodies.append(_augmented_only(shop, ("cnn",), 2, TEACHER_STEPS[name]))
            # Written after each set: what is there is not lost with what comes.
            path = write_result(
                "slim_quality", TITLE, command_line("slim_quality"), "\n\n".join(bodies)
            )
    print(path.read_text(encoding="utf-8"))  # noqa: T201


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


def _chnsenticorp(shop: Workshop, options: argparse.Namespace) -> str:
    teacher = shop.train_teacher()
    copies = AugmentSettings(num_copies=NUM_COPIES)
    augmented = shop.label(shop.augment("augmented", copies), "labelled")
    texts = shop.folder / f"unlabelled-{options.max_unlabelled}.jsonl"
    counted = texts.with_suffix(".near.txt")
    if not (texts.exists() and counted.exists()):
        num_near = write_unlabelled(CHNSENTICORP, texts, options.max_unlabelled)
        counted.write_text(str(num_near), encoding="utf-8")
    unlabelled = shop.label(texts, f"labelled-{texts.stem}")
    rows = [_constant(shop), ["teacher", f"{100 * teacher.dev:.2f}", f"{100 * teacher.test:.2f}",
                              "", "", ""]]  # fmt: skip
    for kind in options.students:
        rows += _rows_of_student(shop, kind, augmented, unlabelled, teacher)
    notes = (
        "Accuracy in percent, mean over seeds, with the spread (largest minus smallest). "
        "Gain: points over the plain student; gap: its share of the way to the teacher. "
        f"Copies of each row: {', '.join(f'{kind} {COPIES[kind]}' for kind in options.students)}; "
        f"beside {options.max_unlabelled:,} unlabelled reviews the better number on dev of two. "
        "Trials on dev: plain four, augmented two, unlabelled two more. "
        f"{_budgets(options.students)} "
        f"{NEAR_RULE} {counted.read_text(encoding='utf-8')} such reviews were left out."
    )
    header = ["ChnSentiCorp", "dev", "test", "spread", "gain (kit)", "gap closed"]
    return table(header, rows) + "\n\n" + notes


def _rows_of_student(
    shop: Workshop, kind: str, augmented: Path, unlabelled: Path, teacher: Score
) -> list[list[str]]:
    # Imported late: Ray reads its environment, which `connect` sets.
    from benchmarks.slim_runs import mixed_rows, with_first_copies

    copies = augmented
    if COPIES[kind] < NUM_COPIES:
        target = shop.folder / f"copies-{COPIES[kind]}.parquet"
        copies = with_first_copies(augmented, COPIES[kind], target)
    trials = [
        Trial(f"plain-trial{i}", CHNSENTICORP.train, settings, has_teacher=False)
        for i, settings in enumerate(PLAIN_TRIALS[kind])
    ]
    _, plain = _best(shop, kind, trials)
    trials = [
        Trial(f"augmented-trial{i}", str(copies), settings, has_teacher=True)
        for i, settings in enumerate(SOFT_TRIALS)
    ]
    soft, with_augmented = _best(shop, kind, trials)
    trials = [
        replace(
            soft,
            name=f"unlabelled-{n}-copies",
            rows=str(mixed_rows(augmented, n, unlabelled, shop.folder / f"mixed-{n}")),
        )
        for n in COPIES_BESIDE[kind]
    ]
    beside, with_unlabelled = _best(shop, kind, trials)
    num_beside = COPIES_BESIDE[kind][trials.index(beside)]
    return [
        _row(f"{kind} plain", plain),
        _row(f"{kind} + augmented", with_augmented, plain, KIT_GAINS[kind], teacher),
        _row(f"{kind} + unlabelled, {num_beside} copies", with_unlabelled, plain, KIT_GAINS[kind],
             teacher),
    ]  # fmt: skip


def _best(shop: Workshop, kind: str, trials: Sequence[Trial]) -> tuple[Trial, list[Score]]:
    """The trial that is best on dev with the first seed, and its scores with every seed."""
    dev = [_student(shop, kind, trial, SEEDS[kind][0]).dev for trial in trials]
    best = trials[int(np.argmax(dev))]
    return best, [_student(shop, kind, best, seed) for seed in SEEDS[kind]]


def _student(shop: Workshop, kind: str, trial: Trial, seed: int) -> Score:
    overrides = (
        *(SOFT_EVALUATION if trial.has_teacher else (PLAIN_EPOCHS,)),
        *(LSTM_LIMITS if kind == "lstm" else ()),
        *trial.settings,
        f"training.max_steps={MAX_STEPS[kind]}",
        f"training.seed={seed}",
    )
    name = f"{kind}-{trial.name}-seed{seed}"
    return shop.student(name, kind, trial.rows, overrides, has_teacher=trial.has_teacher)


def _row(
    name: str,
    scores: Sequence[Score],
    plain: Sequence[Score] = (),
    kit_gain: float = 0.0,
    teacher: Score | None = None,
) -> list[str]:
    tests = [100 * score.test for score in scores]
    dev, test = (float(np.mean(x)) for x in ([100 * score.dev for score in scores], tests))
    spread = f"{max(tests) - min(tests):.2f}" if len(tests) > 1 else ""
    gain = share = ""
    if teacher is not None:
        plain_test = 100 * float(np.mean([score.test for score in plain]))
        gain = f"{test - plain_test:+.2f} ({kit_gain:+.1f})"
        share = f"{100 * (test - plain_test) / max(100 * teacher.test - plain_test, 1e-9):.0f} %"
    return [name, f"{dev:.2f}", f"{test:.2f}", spread, gain, share]


def _budgets(kinds: Sequence[str], num_seeds: int = 0) -> str:
    parts = (
        f"{kind} {num_seeds or len(SEEDS[kind])} seeds, {MAX_STEPS[kind]:,} steps" for kind in kinds
    )
    return f"At most: {'; '.join(parts)}."


def _constant(shop: Workshop) -> list[str]:
    is_f1 = shop.metric == "positive_f1"
    values = shop.constant_positive_f1() if is_f1 else shop.constant_accuracies()
    return ["constant", *(f"{100 * value:.2f}" for value in values), "", "", ""]


def _augmented_only(
    shop: Workshop, kinds: tuple[str, ...], num_copies: int, teacher_steps: int
) -> str:
    teacher = shop.train_teacher((f"training.max_steps={teacher_steps}", "model.max_tokens=64"))
    augmented = shop.label(
        shop.augment("augmented", AugmentSettings(num_copies=num_copies)), "labelled"
    )
    rows = [["teacher", f"{100 * teacher.dev:.2f}", f"{100 * teacher.test:.2f}"]]
    rows.insert(0, _constant(shop)[:3])
    for kind in kinds:
        for way, source, has_teacher in (
            ("plain", place(shop.rows.train), False),
            ("distilled", str(augmented), True),
        ):
            overrides = (
                *(() if has_teacher else (PLAIN_EPOCHS,)),
                *(SOFT_TRIALS if has_teacher else PLAIN_TRIALS[kind])[0],
                f"training.max_steps={MAX_STEPS[kind]}",
            )
            name = f"{kind}-{way}"
            if shop.rows.text_pair:
                overrides += ("student.hidden_sizes=[128]",)
            score = shop.student(name, kind, source, overrides, has_teacher=has_teacher)
            rows.append([f"{kind} {way}", f"{100 * score.dev:.2f}", f"{100 * score.test:.2f}"])
    header = [f"{shop.rows.name} ({shop.metric})", "dev", "test"]
    notes = f"{num_copies} copies of each row; one seed and nothing tuned. {_budgets(kinds, 1)}"
    if shop.metric == "positive_f1":
        notes += (
            " F1 of the pairs that match, which chose checkpoints, too; classes are weighed. Test: "
            "the set's dev rows; dev: the last "
            f"{NUM_HELD_OUT:,} training rows, which no model learnt from."
        )
    return table(header, rows) + "\n\n" + notes


if __name__ == "__main__":
    main()
