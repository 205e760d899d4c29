"""The run folder's ``report.html``: one file for a reader, which needs no network.

Knows the files of a run folder and their meaning; measures nothing.
"""

from __future__ import annotations

import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ernie_ray.jobs import runs
from ernie_ray.jobs.progress import read_metrics

_MAX_CLASSES_DRAWN = 30
_MAX_MISTAKES = 30
_MAX_TEXT = 300
_NOT_METRICS = {"step", "num_steps", "epoch", "loss", "learning_rate", "rows_per_s", "tokens_per_s"}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .7rem; text-align: left;
border-bottom: 1px solid #ddd; vertical-align: top } td.n { text-align: right }
svg { max-width: 100%; height: auto } pre { background: #f6f6f6; padding: .7rem; overflow-x: auto }
"""


def write_report(run: Path) -> Path:
    """Write ``report.html`` from whatever a run folder holds by now.

    Args:
        run: The run folder, on this machine. Only ``metrics.jsonl`` and ``recipe.json`` are
            needed; results and tables are shown once they are there.

    Returns:
        The report's path.
    """
    lines = read_metrics(run / runs.METRICS)
    result, recipe = _read(run / runs.RESULT), _read(run / runs.RECIPE)
    evaluation = _read(run / runs.EVALUATION)
    parts = [
        _results(result),
        _curves(lines),
        *_tables(evaluation.get("tables", {})),
        _mistakes(evaluation.get("mistakes", [])),
        _facts(run, result),
        f"<h2>Recipe</h2><pre>{_text(json.dumps(recipe, ensure_ascii=False, indent=2))}</pre>",
    ]
    name = _text(run.name)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>'
        f"<style>{_STYLE}</style><h1>{name}</h1>{''.join(parts)}</html>\n"
    )
    path = run / runs.REPORT
    staging = path.with_name(f".{path.name}.partial")
    staging.write_text(page, encoding="utf-8")
    staging.replace(path)
    return path


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def _results(result: Mapping[str, Any]) -> str:
    metrics: Mapping[str, Mapping[str, float]] = result.get("metrics", {})
    if not metrics:
        return "<p>The run is not finished.</p>"
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = [
        [split, *(_number(values.get(name)) for name in names)] for split, values in metrics.items()
    ]
    return "<h2>Results</h2>" + _table(["rows", *names], rows)


def _curves(lines: Sequence[Mapping[str, float]]) -> str:
    """Loss, dev metrics, learning rate and throughput over the steps, as one SVG."""
    logged = [line for line in lines if "loss" in line]
    measured = [line for line in lines if "loss" not in line]
    names = [name for line in measured[:1] for name in line if name not in _NOT_METRICS]
    panels = [
        ("loss", [("loss", logged)]),
        ("dev metrics", [(name, measured) for name in names if name != "no_answer_threshold"]),
        ("learning rate", [("learning_rate", logged)]),
        ("rows per second", [("rows_per_s", logged)]),
        ("tokens per second", [("tokens_per_s", logged)]),
    ]
    drawn = [(title, [(n, x) for n, x in series if x]) for title, series in panels]
    drawn = [(title, series) for title, series in drawn if series]
    return f"<h2>Curves</h2>{_draw_curves(drawn)}" if drawn else ""


def _draw_curves(panels: Sequence[tuple[str, Any]]) -> str:
    # Without pyplot, which would choose a display and keep every figure in memory.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6 * len(panels)), layout="constrained")
    for axes, (title, series) in zip(
        figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True
    ):
        for name, lines in series:
            steps = [line["step"] for line in lines]
            axes.plot(
                steps,
                [line.get(name) for line in lines],
                label=name,
                marker="." if len(steps) < 30 else "",
            )
        axes.set_title(title)
        axes.set_xlabel("optimizer step")
        axes.grid(alpha=0.3)
        if len(series) > 1:
            axes.legend()
    return _svg(figure)


def _tables(tables: Mapping[str, Any]) -> Iterator[str]:
    classes = tables.get("classes", [])
    if not classes:
        return
    columns = ["label", "precision", "recall", "f1", "support"]
    yield "<h2>Classes</h2>"
    yield _table(columns, [[_number(line[name]) for name in columns] for line in classes])
    confusion = tables.get("confusion", [])
    if 0 < len(confusion) <= _MAX_CLASSES_DRAWN:
        yield "<h2>Confusion</h2>" + _draw_confusion([line["label"] for line in classes], confusion)


def _draw_confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    """Rows are true classes, columns given ones; the darker, the larger the row's share."""
    lines = [
        "<tr><th>true \\ given</th>" + "".join(f"<th>{_text(x)}</th>" for x in labels) + "</tr>"
    ]
    for label, row in zip(labels, matrix, strict=True):
        cells = "".join(
            f'<td class="n" style="background: rgb(70 130 200 / {count / max(sum(row), 1):.2f})">'
            f"{count}</td>"
            for count in row
        )
        lines.append(f"<tr><th>{_text(label)}</th>{cells}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _svg(figure: Any) -> str:
    import matplotlib

    buffer = io.StringIO()
    # Texts stay texts, and ids do not depend on chance: the same run gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ernie-ray"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    content = buffer.getvalue()
    return content[content.index("<svg") :]


def _mistakes(mistakes: Sequence[Mapping[str, Any]]) -> str:
    if not mistakes:
        return ""
    rows = []
    for one in mistakes[:_MAX_MISTAKES]:
        texts = " / ".join(one[name] for name in ("text", "text_pair") if one.get(name))
        given = {k: v for k, v in one["result"].items() if k not in ("scores", "nbest")}
        rows.append(
            [
                _short(texts),
                _short(str(one["label"])),
                _short(json.dumps(given, ensure_ascii=False)),
            ]
        )
    return "<h2>Wrong rows</h2>" + _table(["text", "true", "given"], rows)


def _facts(run: Path, result: Mapping[str, Any]) -> str:
    manifest = _read(run / runs.MODEL / "manifest.json")
    facts = [
        [f"seconds: {stage}", _number(value)] for stage, value in result.get("seconds", {}).items()
    ]
    lineage = manifest.get("lineage", {})
    facts += [
        [name, str(lineage[name])]
        for name in ("pretrained", "step", "data_digest")
        if name in lineage
    ]
    facts += [[f"version: {name}", value] for name, value in manifest.get("versions", {}).items()]
    return "<h2>Facts</h2>" + _table(["", ""], facts) if facts else ""


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td{_kind(cell)}>{_text(cell)}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _kind(cell: str) -> str:
    return ' class="n"' if cell.replace(".", "", 1).isdigit() else ""


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _text(value: str) -> str:
    return html.escape(value)
