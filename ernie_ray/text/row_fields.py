"""The fields of one row against a schema: a ``Row``, or an error that names the field.

Opens no file; what each form of label may hold is in ``ernie_ray.text.row_values``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

from ernie_ray.text.row_formats import MAX_FIELD_CHARS
from ernie_ray.text.row_schema import LABEL_SEPARATOR, Row, RowSchema, join_labels
from ernie_ray.text.row_values import (
    UnfitError,
    answers_label,
    entities_label,
    has_units,
    join_units,
    kind_of,
    number_of,
    refuse_half_surrogates,
    units_of,
)

_MAX_LOGIT = 3.4028234663852886e38
"""The largest float32."""
_MAX_COPY = 2**31 - 1


class MissingColumnError(UnfitError):
    """A row lacks a column."""


def check_fields(index: int, origin: str, fields: Mapping[str, object], schema: RowSchema) -> Row:
    """Make a row of the fields that a file holds for it.

    Args:
        index: Position in its file, from 0.
        origin: File and line, for the row.
        fields: Values by column.
        schema: What they must be.

    Raises:
        MissingColumnError: A column that the schema names is not there.
        UnfitError: A field holds what it must not; the message says what to change.
    """
    # Before units are joined: what is kept is what the file has.
    kept = tuple(_kept(_value_of(fields, column), column) for column in schema.keep)
    units = None
    if schema.holds == "entities" and has_units(value := _value_of(fields, schema.text)):
        units = units_of(value, schema.text)
        fields = {**fields, schema.text: join_units(units)[0]}
    text = _text_of(fields, schema.text)
    pair = None if schema.text_pair is None else _text_of(fields, schema.text_pair)
    query = (
        None
        if schema.query is None
        else _one_label(_value_of(fields, schema.query), schema.query, None, role="query")
    )
    label = None
    if schema.label is None or (schema.is_label_optional and not _has(fields, schema.label)):
        pass
    elif schema.holds == "class":
        label = _label_of(fields, schema.label, schema)
    else:
        label = _other_label(fields, schema.label, schema, (units, text, pair))
    logits = None if schema.teacher_logits is None else fields.get(schema.teacher_logits)
    if schema.teacher_logits is not None and label is None and logits is None:
        raise UnfitError(
            f"no teacher's logits in '{schema.teacher_logits}' and no label, so there is nothing "
            "to learn; let the teacher label the row, or remove it"
        )
    copy = 0 if schema.copy is None else fields.get(schema.copy)
    return Row(
        index,
        text,
        pair,
        label,
        origin,
        query,
        teacher_logits=None if logits is None else _logits_of(logits, str(schema.teacher_logits)),
        copy=0 if copy is None else _copy_of(copy, str(schema.copy)),
        kept=kept,
    )


def _other_label(
    fields: Mapping[str, object],
    column: str,
    schema: RowSchema,
    texts: tuple[list[str] | None, str, str | None],
) -> str:
    value = _value_of(fields, column)
    units, text, pair = texts
    if schema.holds == "number":
        return number_of(value, column, schema.low, schema.high)
    if schema.holds == "entities":
        return entities_label(value, column, units, text, schema.labels)
    return answers_label(value, column, pair or text, fields.get("is_impossible"))


def _logits_of(value: object, column: str) -> tuple[float, ...]:
    # bool is a number to Python, too.
    if not isinstance(value, list) or not all(type(x) in (int, float) for x in value):
        raise UnfitError(f"'{column}' is {kind_of(value)}; write a list of numbers")
    # Not NaN either, and of any whole number.
    if not all(abs(x) <= _MAX_LOGIT for x in value):
        raise UnfitError(f"'{column}' holds NaN or numbers beyond a float32; label the row again")
    return tuple(map(float, value))


def _copy_of(value: object, column: str) -> int:
    try:
        if "_" in str(value):  # int() takes 1_0 for 10
            raise ValueError
        number = int(str(value))
        if not 0 <= number <= _MAX_COPY:
            raise ValueError
    except ValueError:
        raise UnfitError(
            f"'{column}' is {kind_of(value)}; write a whole number from 0 to {_MAX_COPY:,}"
        ) from None
    return number


def _kept(value: object, column: str) -> str:
    """Write what a column holds as JSON; dates and decimal numbers of parquet become texts."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
        text.encode("utf-8")
    except (ValueError, TypeError, RecursionError) as error:
        raise UnfitError(f"'{column}' is {kind_of(value)}, which JSON cannot hold") from error
    return text


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        raise TypeError
    return str(value)


def _value_of(fields: Mapping[str, object], column: str) -> object:
    if column not in fields:
        present = ", ".join(repr(name) for name in list(fields)[:8]) or "no column"
        raise MissingColumnError(
            f"column '{column}' is missing (there is {present}); rename it, or name the right "
            "column in the data settings"
        )
    return fields[column]


def _text_of(fields: Mapping[str, object], column: str) -> str:
    value = _value_of(fields, column)
    if not isinstance(value, str):
        raise UnfitError(f"'{column}' is {kind_of(value)}, not a text; write it as a string")
    if not value.strip():
        raise UnfitError(f"'{column}' is empty; fill it or remove the row")
    if len(value) > MAX_FIELD_CHARS:
        raise UnfitError(
            f"'{column}' has {len(value):,} characters, the limit is {MAX_FIELD_CHARS:,}; "
            "split the text"
        )
    refuse_half_surrogates(value, f"'{column}'")
    return value


def _has(fields: Mapping[str, object], column: str) -> bool:
    return fields.get(column) not in (None, "")


def _label_of(fields: Mapping[str, object], column: str, schema: RowSchema) -> str:
    value = _value_of(fields, column)
    if not schema.is_multi_label:
        return _one_label(value, column, schema.labels)
    if isinstance(value, str):
        # "sport | news" has the two labels of "sport|news".
        value = [part.strip() for part in value.split(LABEL_SEPARATOR) if part.strip()]
    if not isinstance(value, list):
        raise UnfitError(f"label '{column}' is {kind_of(value)}; write a list of labels")
    parts = [_one_label(part, column, schema.labels) for part in value]
    if any(LABEL_SEPARATOR in part for part in parts):
        raise UnfitError(f"label '{column}' has a {LABEL_SEPARATOR!r} inside a label; rename it")
    return join_labels(parts)


def _one_label(
    value: object, column: str, known: tuple[str, ...] | None, role: str = "label"
) -> str:
    if isinstance(value, float) and math.isnan(value):
        raise UnfitError(f"{role} '{column}' is NaN; fill it or remove the row")
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise UnfitError(
            f"{role} '{column}' is {kind_of(value)}; write it as a string or a whole number"
        )
    label = str(value)
    if not label.strip():
        raise UnfitError(f"{role} '{column}' is empty; fill it or remove the row")
    refuse_half_surrogates(label, f"{role} '{column}'")
    if known is None or label not in known:
        # A table's cells often have spaces around them; "pos " would be a class beside "pos".
        label = label.strip()
    if known is not None and label not in known:
        raise UnfitError(
            f"{role} '{column}' is {label!r}, which is none of {_shown(known)}; correct the row "
            "or add the label to the list"
        )
    if known is None and label.lower() == "nan":
        raise UnfitError(
            f"{role} '{column}' is {label!r}, a missing number in most tools; fill it, or list it "
            "among the labels if it is one"
        )
    return label


def _shown(labels: tuple[str, ...]) -> str:
    some = ", ".join(repr(label) for label in labels[:10])
    return some if len(labels) <= 10 else f"{some} and {len(labels) - 10} more"
