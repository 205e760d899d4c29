"""Parts of a run's report as HTML: rows, classes, errors, what the run was made of.

Takes what the files of a run folder hold; reads none of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

_MAX_CLASSES_DRAWN = 30
_MAX_CONFUSIONS = 30
_MAX_MISTAKES = 30
_MAX_SKIPPED = 20
_MAX_PARAMETERS = 30
_MAX_TEXT = 300


def describe_rows(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Count the rows of each split, and list those that were left out."""
    if not rows:
        return
    yield "<h2>Rows</h2>"
    yield html_table(
        ["", "file", "rows", "skipped", "truncated", "remarks"],
        [
            [
                split,
                facts["location"],
                *(shown_number(facts[key]) for key in ("num_rows", "num_skipped", "num_truncated")),
                "; ".join(f"{count} {note}" for note, count in facts["notes"].items()),
            ]
            for split, facts in rows.items()
        ],
    )
    for split, facts in rows.items():
        if facts["skipped"]:
            shown = [[_short(line)] for line in facts["skipped"][:_MAX_SKIPPED]]
            yield f"<h3>Skipped {split} rows, the first of {facts['num_skipped']}</h3>"
            yield html_table(["row and problem"], shown)


def describe_classes(tables: Mapping[str, Any], measured: str) -> Iterator[str]:
    """Show each class, and classes against each other; of many only the worst confusions.

    Args:
        tables: As an evaluation has them.
        measured: Which rows were measured, in words.
    """
    classes = tables.get("classes", [])
    if not classes:
        return
    columns = ["label", "precision", "recall", "f1", "support"]
    yield f"<h2>Classes ({measured})</h2>"
    yield html_table(columns, [[shown_number(line[name]) for name in columns] for line in classes])
    confusion = tables.get("confusion", [])
    if not confusion:
        return
    labels = [line["label"] for line in classes]
    yield f"<h2>Confusion ({measured})</h2>"
    if len(confusion) <= _MAX_CLASSES_DRAWN:
        yield _confusion_matrix(labels, confusion)
        return
    yield (
        f"<p>A matrix of {len(confusion)} classes is too large for this page; evaluation.json "
        "holds it. These were confused most often:</p>"
    )
    yield _worst_confusions(labels, confusion)


def _confusion_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Rows are true classes, columns given ones; the darker, the larger the row's share."""
    header = "".join(f"<th>{escape(x)}</th>" for x in labels)
    lines = [f"<tr><th>true \\ given</th>{header}</tr>"]
    for label, row in zip(labels, matrix, strict=True):
        cells = "".join(
            f'<td class="n" style="background: rgb(70 130 200 / {count / max(sum(row), 1):.2f})">'
            f"{count}</td>"
            for count in row
        )
        lines.append(f"<tr><th>{escape(label)}</th>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _worst_confusions(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    found = [
        (count, labels[i], labels[j])
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    found.sort(key=lambda entry: -entry[0])
    rows = [[true, given, str(count)] for count, true, given in found[:_MAX_CONFUSIONS]]
    return html_table(["true", "given", "rows"], rows)


def describe_mistakes(mistakes: Sequence[Mapping[str, Any]], measured: str) -> Iterator[str]:
    """Show some wrong rows; where the answer is a number, those furthest from their label."""
    if not mistakes:
        return
    has_error = "error" in mistakes[0]
    title = "Rows furthest from their label" if has_error else "Wrong rows"
    yield f"<h2>{title} ({measured})</h2>"
    rows = []
    for one in mistakes[:_MAX_MISTAKES]:
        texts = " / ".join(one[name] for name in ("text", "text_pair") if one.get(name))
        given = {k: v for k, v in one["result"].items() if k not in ("scores", "nbest")}
        cells = [texts, str(one["label"]), json.dumps(given, ensure_ascii=False)]
        rows.append([*map(_short, cells), *([shown_number(one["error"])] if has_error else [])])
    yield html_table(["text", "true", "given", *(["off by"] if has_error else [])], rows)


def describe_warm_start(report: Mapping[str, Any] | None) -> Iterator[str]:
    """Say what became of the parameters of the run that this one started from."""
    if not report:
        return
    left = [*report.get("partly", {}).items(), *report["left"].items()]
    yield "<h2>Warm start</h2>"
    yield f"<p>{escape(warm_start_line(report))}</p>"
    if left:
        lines = [[*map(str, one)] for one in left[:_MAX_PARAMETERS]]
        yield html_table(["not taken, or not all of it", "why"], lines)
    if report["missing"]:
        names = ", ".join(report["missing"][:_MAX_PARAMETERS])
        yield f"<p>Not in the source: {escape(names)}</p>"


def warm_start_line(report: Mapping[str, Any]) -> str:
    """Say in one line what was taken of another run, from its report."""
    words = {"taken": "taken", "partly": "in part", "left": "left out", "missing": "not there"}
    counts = {words[key]: len(report.get(key, ())) for key in words}
    shown = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    return f"parameters of {report['source']}: {shown}"


def describe_facts(facts: Mapping[str, Any], lineage: Mapping[str, Any]) -> Iterator[str]:
    """List seconds, weights, the exported step, digests of the data, and versions.

    Args:
        facts: Contents of ``run.json``.
        lineage: What the exported model says of itself; empty if there is none yet.
    """
    lines = [
        [f"seconds: {stage}", shown_number(value)]
        for stage, value in facts.get("seconds", {}).items()
    ]
    if facts.get("pretrained"):
        lines.append(["pretrained", facts["pretrained"]])
    if "step" in lineage:
        lines.append(["exported step", str(lineage["step"])])
    lines += [[f"digest: {split}", one["digest"]] for split, one in facts.get("rows", {}).items()]
    lines += [[f"version: {name}", value] for name, value in facts.get("versions", {}).items()]
    if lines:
        yield "<h2>Facts</h2>"
        yield html_table(["", ""], lines)


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Draw a table of texts; those that are numbers stand to the right."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td{_kind(cell)}>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def shown_number(value: Any) -> str:
    """Write a number with four digits behind the point; nothing for None."""
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _kind(cell: str) -> str:
    return ' class="n"' if cell.replace(".", "", 1).isdigit() else ""


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"
