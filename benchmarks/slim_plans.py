"""What `benchmarks.slim_quality` trains on each data set: teachers, students and their trials.

Settings alone; nothing is run here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.slim_data import AFQMC, CHNSENTICORP, THUCNEWS, TaskRows

# The best on dev with the first seed: as many of these as a distilled student has trials. That one
# is trained as its recipe says, and tried with several numbers of copies.
PLAIN_TRIALS = {
    "bow": (
        ("student.hidden_sizes=[]", "student.token_dropout=0.0", "training.dropout=0.3"),
        (),
        ("student.hidden_sizes=[]", "student.token_dropout=0.3"),
    ),
    "cnn": (
        (),
        ("student.token_dropout=0.0",),
        ("student.token_dropout=0.4",),
    ),
    "lstm": (
        (),
        ("training.dropout=0.5",),
        ("student.token_dropout=0.3",),
    ),
}
# The plain student sees a tenth of the rows, so it gets more passes over them.
PLAIN_EPOCHS = "training.num_epochs=12"
# What 2.5 hours allow: two to five passes over the rows, the learning rate falling to 0 at the end.
# A CNN gained 1.7 points on ChnSentiCorp's dev rows by 6,000 steps in place of 2,000; a bag none by
# 5,000 in place of 2,500.
MAX_STEPS = {"bow": 3_000, "cnn": 5_000, "lstm": 1_500}
SOFT_EVALUATION = (
    "training.num_epochs=20", "training.eval_every_steps=500", "training.patience_evaluations=0"
)  # fmt: skip
LSTM_LIMITS = ("student.num_units=128", "student.max_tokens=96")
NUM_HELD_OUT = 2_000
"""Rows of AFQMC's training file that choose checkpoints, since its dev rows are measured."""


@dataclass(frozen=True)
class StudentPlan:
    """How often and from what one kind of student is trained.

    Attributes:
        seeds: The first one's dev rows choose among trials.
        num_copies: Of each row.
        copies_beside: Numbers of copies tried beside unlabelled texts.
        max_unlabelled: Most of the data set's unlabelled texts; None: all that its plan has.
        kit_gain: Points that the kit gained on this data set.
    """

    seeds: tuple[int, ...]
    num_copies: int
    copies_beside: tuple[int, ...] = ()
    max_unlabelled: int | None = None
    kit_gain: float | None = None


@dataclass(frozen=True)
class Plan:
    """What is trained on one data set.

    Attributes:
        rows: Where its rows are.
        students: By kind.
        metric: Decides and is shown.
        settings: Of every training, the teacher's and the students'.
        teacher: Settings of the teacher's training besides.
        student: Settings of every student besides.
        max_unlabelled: Most unlabelled texts that the teacher labels.
        remark: Stands below the table.
    """

    rows: TaskRows
    students: Mapping[str, StudentPlan]
    metric: str = "accuracy"
    settings: tuple[str, ...] = ()
    teacher: tuple[str, ...] = ()
    student: tuple[str, ...] = ()
    max_unlabelled: int = 60_000
    remark: str = ""

    @property
    def num_copies(self) -> int:
        """Copies of each row that the teacher labels."""
        return max(student.num_copies for student in self.students.values())


PLANS = {
    "chnsenticorp": Plan(
        CHNSENTICORP,
        {
            "cnn": StudentPlan((1, 2, 3), 5, (0,), kit_gain=0.8),
            "bow": StudentPlan((1, 2, 3), 5, (2,), kit_gain=1.3),
            # At most 80,000 rows, for the time that it takes.
            "lstm": StudentPlan((1,), 5, (0,), 60_000, kit_gain=2.7),
        },
        # Of 129,192. A bag gains by these, not by copies.
        max_unlabelled=120_000,
    ),
    "thucnews": Plan(
        THUCNEWS,
        {"bow": StudentPlan((1,), 2, (0,)), "cnn": StudentPlan((1,), 2, (0,))},
        teacher=("training.max_steps=1000", "model.max_tokens=64"),
    ),
    "afqmc": Plan(
        AFQMC,
        {"cnn": StudentPlan((1,), 1)},
        metric="positive_f1",
        # Three tenths of the pairs match, and their F1 is what counts.
        settings=("training.metric=positive_f1", "training.class_weights=balanced"),
        # The loss only begins to fall after 600 steps.
        teacher=("training.max_steps=700", "model.max_tokens=64"),
        student=("student.hidden_sizes=[128]",),
        remark="F1 of the pairs that match, which chose checkpoints, too; classes are weighed. "
        f"Test: the set's dev rows; dev: the last {NUM_HELD_OUT:,} training rows, which no model "
        "learnt from.",
    ),
}
