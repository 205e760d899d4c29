from ernie_ray.jobs.slim_report import (
    ReportRow,
    SlimReport,
    draw_plot,
    render_table,
)

TEACHER = {"size_mb": 90, "texts_per_s": 100, "p50_ms": 10, "p99_ms": 20}
STUDENT = {"size_mb": 1, "texts_per_s": 9e4, "p50_ms": 0.05, "p99_ms": 0.1}
REPORT = SlimReport(
    metric="accuracy",
    teacher="teacher",
    base="base",
    rows=(
        ReportRow(name="constant", dev=0.5, test=0.52),
        ReportRow(name="teacher", dev=0.9, test=0.91, **TEACHER),
        ReportRow(name="student", dev=0.88, test=0.87, **STUDENT),
        ReportRow(name="base", p50_ms=100, p99_ms=120, texts_per_s=12),
    ),
)


def test_the_table_gives_ratios_of_medians():
    lines = {line.split("  ")[0]: line.split() for line in render_table(REPORT).splitlines()[1:]}
    assert lines["student"][-2:] == ["200", "2,000"]
    assert lines["teacher"][-2:] == ["1.00", "10"]
    assert lines["constant"] == ["constant", "0.5000", "0.5200"]


def test_the_plot_is_written_in_both_forms_and_names_the_models(tmp_path):
    svg, png = draw_plot(REPORT, tmp_path / "quality")
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.read_text(encoding="utf-8").count("<use") >= 2
