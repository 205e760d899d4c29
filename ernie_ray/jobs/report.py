"""The run folder's ``report.html``: one file for a reader, which needs no network.

Knows the files of a run folder and their meaning; measures nothing.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from ernie_ray.jobs import runs
from ernie_ray.jobs.progress import read_metrics
from ernie_ray.jobs.report_parts import (
    describe_classes,
    describe_facts,
    describe_mistakes,
    describe_rows,
    describe_warm_start,
    html_table,
    shown_number,
)
from ernie_ray.modeldir.folder import MANIFEST

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
        run: The run folder, on this machine. Only ``recipe.json`` is needed; curves, results and
            tables are shown once they are there.

    Returns:
        The report's path.
    """
    lines = read_metrics(run / runs.METRICS)
    result, recipe = _read(run / runs.RESULT), _read(run / runs.RECIPE)
    evaluation, facts = _read(run / runs.EVALUATION), _read(run / runs.FACTS)
    measured = f"{evaluation.get('split', 'test')} rows"
    parts = [
        _results(result),
        *describe_rows(facts.get("rows", {})),
        _curves(lines),
        *describe_classes(evaluation.get("tables", {}), measured),
        *describe_mistakes(evaluation.get("mistakes", []), measured),
        *describe_warm_start(facts.get("warm_start")),
        *describe_facts(facts, _read(run / runs.MODEL / MANIFEST).get("lineage", {})),
        f"<h2>Recipe</h2><pre>{escape(json.dumps(recipe, ensure_ascii=False, indent=2))}</pre>",
    ]
    name = escape(run.name)
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
        [split, *(shown_number(values.get(name)) for name in names)]
        for split, values in metrics.items()
    ]
    return "<h2>Results</h2>" + html_table(["rows", *names], rows)


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
            # Beside the curves: looking for room among them takes long, and says so by a warning.
            axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return _svg(figure)


def _svg(figure: Any) -> str:
    import matplotlib

    buffer = io.StringIO()
    # Texts stay texts, and ids do not depend on chance: the same run gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "ernie-ray"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    content = buffer.getvalue()
    return content[content.index("<svg") :]
