"""What a row is: a text (or pair) and perhaps its label, and the schema that says so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ernie_ray.errors import ConfigError

LabelForm = Literal["class", "number", "entities", "answers"]
LABEL_SEPARATOR = "|"
# ``RowSchema.copy`` of files that our jobs write.
COPY_COLUMN = "copy"


def join_labels(labels: Sequence[str]) -> str:
    """Write any number of labels as one text, never an empty one: that would be no label."""
    return LABEL_SEPARATOR.join(labels) or LABEL_SEPARATOR


def split_labels(text: str) -> list[str]:
    """Read what ``join_labels`` wrote; spaces around a label stay."""
    return [part for part in text.split(LABEL_SEPARATOR) if part]


@dataclass(frozen=True)
class RowSchema:
    """Which columns a row must have, and what they may hold.

    Attributes:
        text: Column of the text.
        text_pair: Column of the second text of a pair; None: single texts.
        label: Column of the label; None: rows without labels.
        labels: The labels that are known; None: any, to be collected from the rows.
        is_multi_label: A row has any number of labels: a list, or a text that separates them by
            ``LABEL_SEPARATOR``; ``Row.label`` is such a text, the separator alone for none.
        holds: What the label column holds: a class, a number, the entities of the text, or the
            answers that stand in the second text; ``ernie_ray.text.row_values`` has the forms.
        low: Smallest number allowed.
        high: Largest number allowed.
        query: Column of what rows are ranked by; None: rows stand alone.
        header: Names of the columns in .csv and .tsv files that have no header line.
        is_label_optional: Rows may lack the label, or have null or an empty text for it.
        teacher_logits: Column of a teacher's logits, a list of numbers that rows may lack; None:
            not read.
        copy: Column with the number of an augmented copy, which rows may lack; None: not read.
        keep: Columns that are passed on as they are, whatever they hold.
    """

    text: str = "text"
    text_pair: str | None = None
    label: str | None = None
    labels: tuple[str, ...] | None = None
    is_multi_label: bool = False
    holds: LabelForm = "class"
    low: float = -math.inf
    high: float = math.inf
    query: str | None = None
    header: tuple[str, ...] = ()
    is_label_optional: bool = False
    teacher_logits: str | None = None
    copy: str | None = None
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.labels is not None and self.label is None:
            raise ConfigError("labels are given but no label column; name the column in 'label'")
        if len(set(self.columns)) != len(self.columns):
            raise ConfigError(
                f"the columns {list(self.columns)} must differ; text, text_pair, label and "
                f"query cannot share one{self._note_on_copy}"
            )
        if len(set(self.keep)) != len(self.keep):
            raise ConfigError(f"the columns to keep {list(self.keep)} must differ")
        if len(set(self.header)) != len(self.header):
            double = sorted({name for name in self.header if self.header.count(name) > 1})
            raise ConfigError(
                f"the column names given for files without a header have {double} more than once; "
                "rename them in data.columns (--columns)"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, but for those that are only kept."""
        named = (
            *(self.text, self.text_pair, self.label, self.query),
            *(self.teacher_logits, self.copy),
        )
        return tuple(name for name in named if name is not None)

    @property
    def _note_on_copy(self) -> str:
        return f"; '{self.copy}' holds the number of an augmented copy" if self.copy else ""

    @property
    def label_kind(self) -> Literal["none", "given", "free"]:
        """Whether rows carry a label, and whether its values are known already."""
        if self.label is None:
            return "none"
        return "free" if self.labels is None else "given"


@dataclass(frozen=True)
class Row:
    """One text (or pair) before tokenizing.

    Attributes:
        index: Position in the input from 0, bad rows counted too.
        text: Not empty.
        text_pair: Second text of a pair, else None.
        label: The label as a string (a whole number is turned into one; entities and answers are
            JSON), else None.
        origin: File and line, ``"reviews.jsonl:12"`` (in parquet, file and row), both from 1.
        query: What rows are ranked by, else None.
        teacher_logits: What a teacher gave for the row, before temperature; None: none did.
        copy: 0 for a row as it was given, 1, 2... for its augmented copies.
        kept: What the columns ``RowSchema.keep`` hold, each as JSON.
    """

    index: int
    text: str
    text_pair: str | None
    label: str | None
    origin: str
    query: str | None = None
    teacher_logits: tuple[float, ...] | None = None
    copy: int = 0
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class BadRow:
    """A row that does not fit its schema.

    Attributes:
        index: Position in the input from 0, bad rows counted too.
        origin: As in ``Row``.
        problem: What is wrong and what to change.
    """

    index: int
    origin: str
    problem: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.problem}"
