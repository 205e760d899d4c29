"""The table and the plot that a Slim chain ends in: quality beside size and speed.

Knows measured numbers only.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from ernie_ray.jobs.text_table import text_table

PLOT_SUFFIXES = (".svg", ".png")


class ReportRow(BaseModel):
    """One model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="What it is.")
    dev: float | None = Field(None, description="Metric on the dev rows.")
    test: float | None = Field(None, description="Metric on the test rows.")
    size_mb: float | None = Field(None, description="Weights, in megabytes.")
    texts_per_s: float | None = Field(None, description="Texts per second, many at once.")
    p50_ms: float | None = Field(None, description="Median time of one text, in milliseconds.")
    p99_ms: float | None = Field(None, description="99th percentile of the same.")


class SlimReport(BaseModel):
    """The whole table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str = Field(description="Name of the metric.")
    rows: tuple[ReportRow, ...] = Field(description="The models; teacher, plain, distilled, ...")
    teacher: str = Field(description="Name of the row that ratios compare with.")
    base: str | None = Field(None, description="Name of the 12 x 768 encoder's row.")

    def row(self, name: str) -> ReportRow:
        """Find a row by its name."""
        return next(row for row in self.rows if row.name == name)


def render_table(report: SlimReport) -> str:
    """Write the report as aligned text."""
    header = ["", f"dev {report.metric}", "test", "MB", "texts/s", "p50 ms", "p99 ms", "x teacher"]
    header += ["x base"] if report.base else []
    lines = [header, *(_cells(report, row) for row in report.rows)]
    return text_table(lines)


def _cells(report: SlimReport, row: ReportRow) -> list[str]:
    cells = [
        row.name,
        _shown(row.dev, 4),
        _shown(row.test, 4),
        _shown(row.size_mb, 2),
        _shown(row.texts_per_s, 0),
        _shown(row.p50_ms, 3),
        _shown(row.p99_ms, 3),
        _faster(report.row(report.teacher), row),
    ]
    return cells + ([_faster(report.row(report.base), row)] if report.base else [])


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def _faster(yardstick: ReportRow, row: ReportRow) -> str:
    """How many times faster one text is answered, by medians."""
    if yardstick.p50_ms is None or row.p50_ms is None:
        return ""
    ratio = yardstick.p50_ms / row.p50_ms
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2f}"


def draw_plot(report: SlimReport, stem: Path) -> list[Path]:
    """Draw quality against latency, as SVG and PNG.

    Args:
        report: Rows with a test metric and a p50 become points.
        stem: Path without suffix; the folder exists.

    Returns:
        The files written.
    """
    # Not pyplot, which keeps state and may look for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row in report.rows:
        if row.test is None or row.p50_ms is None:
            continue
        axes.scatter([row.p50_ms], [100 * row.test], s=60, zorder=3)
        axes.annotate(row.name, (row.p50_ms, 100 * row.test), xytext=(7, 4),
                      textcoords="offset points")  # fmt: skip
    base_ms = report.row(report.base).p50_ms if report.base else None
    if report.base and base_ms:
        axes.axvline(base_ms, linestyle="--", color="grey", zorder=1)
        axes.annotate(
            report.base,
            (base_ms, axes.get_ylim()[0]),
            xytext=(-4, 4),
            textcoords="offset points",
            rotation=90,
            ha="right",
        )
    axes.set_xscale("log")
    axes.set_xlabel("median time of one text, ms (log scale)")
    axes.set_ylabel(f"test {report.metric}, %")
    axes.grid(visible=True, alpha=0.3, zorder=0)
    axes.margins(x=0.25, y=0.15)
    files = [stem.with_suffix(suffix) for suffix in PLOT_SUFFIXES]
    for file in files:
        figure.savefig(file, dpi=150)
    return files
