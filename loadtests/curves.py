"""Curves as SVG, drawn by matplotlib; every curve is a path whose id names it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib.figure import Figure

COLOURS = ("#1f5fa8", "#c8531c", "#2c8a4b", "#8a4fb0", "#8d6e1e", "#b0306a", "#4a5560")
_DASHES = {"p50": ":", "p95": "--", "p99": "-"}


@dataclass(frozen=True)
class Curve:
    """One line of a chart.

    Attributes:
        key: Its id in the SVG; distinct within a report.
        label: In the legend; empty: not shown.
        xs: Abscissas.
        ys: Ordinates.
        colour: Index of a colour.
        dash: p50, p95 or p99, or empty.
    """

    key: str
    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: int
    dash: str = ""


@dataclass(frozen=True)
class Axes:
    """Titles and scales of a chart."""

    title: str
    x: str
    y: str
    is_log: bool = False


def draw(axes: Axes, curves: Sequence[Curve]) -> str:
    """One chart as an ``<svg>`` element."""
    # simplify would drop points; hashsalt makes equal results equal files.
    settings: dict[str, Any] = {
        "path.simplify": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "loadtests",
        "font.size": 10,
    }
    with mpl.rc_context(settings):  # type: ignore[arg-type]
        figure = Figure(figsize=(8.8, 4.0), layout="constrained")
        plot = figure.subplots()
        for curve in curves:
            plot.plot(
                curve.xs,
                curve.ys,
                gid=curve.key,
                label=curve.label or "_",
                color=COLOURS[curve.colour % len(COLOURS)],
                linestyle=_DASHES.get(curve.dash, "-"),
                marker="o",
                markersize=3,
            )
        plot.set(title=axes.title, xlabel=axes.x, ylabel=axes.y)
        if axes.is_log:
            plot.set_yscale("log")
        else:
            plot.set_ylim(bottom=0)
        plot.grid(visible=True, color="#e4e4e4")
        plot.spines[["top", "right"]].set_visible(False)
        if any(curve.label for curve in curves):
            # Beside the curves: looking for room among them takes long, and says so by a warning.
            plot.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
