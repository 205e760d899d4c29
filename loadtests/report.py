"""A comparison as one HTML file: no scripts, nothing loaded from elsewhere, curves inline."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from loadtests.curves import Axes, Curve, draw
from loadtests.results import (
    Comparison,
    TargetResult,
    knees,
    over_rounds,
    spread,
)
from loadtests.scenario import Lane, Metric

PERCENTILES: tuple[Metric, ...] = ("p50_ms", "p95_ms", "p99_ms")

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;margin:1rem 0;font-size:13px;font-variant-numeric:tabular-nums}
th,td{border-bottom:1px solid #ddd;padding:.25rem .6rem;text-align:right}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2){text-align:left}
.bad{color:#a11;font-weight:600}.good{color:#176b2c;font-weight:600}
svg{max-width:100%;height:auto}code{background:#f4f4f4;padding:.1rem .3rem}
"""


def to_html(comparison: Comparison) -> str:
    """The report."""
    scenario = comparison.scenario
    parts = [
        f"<h1>{_text(scenario.name)}</h1><p>{_text(scenario.description)}</p>",
        _facts(comparison),
        _verdicts(comparison),
        _targets(comparison),
        *(_lane(comparison, lane) for lane in scenario.lanes),
        _ratios(comparison),
        _warnings(comparison),
    ]
    body = "\n".join(part for part in parts if part)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(scenario.name)}'
        f"</title><style>{_STYLE}</style><body>{body}</body></html>\n"
    )


def lane_curves(comparison: Comparison, lane: Lane) -> list[Curve]:
    """Latency over requests answered a second: a curve for each target and percentile."""
    curves = []
    for colour, target in enumerate(comparison.targets):
        for metric in PERCENTILES:
            points = _points(comparison, target, lane, metric)
            if points:
                name = metric.removesuffix("_ms")
                curves.append(
                    Curve(
                        key=f"{lane.name}|{target.name}|{name}",
                        label=f"{target.name} {name}",
                        xs=[x for x, _ in points],
                        ys=[y for _, y in points],
                        colour=colour,
                        dash=name,
                    )
                )
    return curves


def timeline_curves(comparison: Comparison, lane: Lane) -> list[Curve]:
    """Requests answered second by second in each target's first round."""
    curves = []
    for colour, target in enumerate(comparison.targets):
        ys: list[float] = []
        for step in target.rounds[0].steps if target.rounds else []:
            mine = [one for one in step.lanes if one.lane == lane.name]
            whole = int(step.seconds)
            ys += [s.qps for s in mine[0].timeline[:whole]] if mine else [0.0] * whole
        if any(ys):
            key = f"{lane.name}|{target.name}|timeline"
            curves.append(Curve(key, target.name, list(range(len(ys))), ys, colour))
    return curves


def _points(
    comparison: Comparison, target: TargetResult, lane: Lane, metric: Metric
) -> list[tuple[float, float]]:
    points = []
    for step in comparison.scenario.steps():
        # A lane under the load of others too is on no curve of its own.
        if list(step.levels) == [lane.name]:
            qps = spread(over_rounds(target, step.name, lane.name, "qps"))
            value = spread(over_rounds(target, step.name, lane.name, metric))
            if qps and value:
                points.append((qps.median, value.median))
    return points


def _facts(comparison: Comparison) -> str:
    rows = [
        ("command", f"<code>{_text(comparison.command)}</code>"),
        ("commit, date", _text(f"{comparison.commit or 'unknown'}, {comparison.date}")),
        ("machine", _text(comparison.machine)),
        (
            "load",
            _text(
                f"{comparison.generator_processes} generator processes, texts "
                f"{comparison.scenario.texts}, {comparison.scenario.rounds} rounds in turn"
            ),
        ),
    ]
    return "<p>" + "<br>".join(f"{name}: {value}" for name, value in rows) + "</p>"


def _verdicts(comparison: Comparison) -> str:
    rows = []
    for one in comparison.verdicts:
        bound = one.threshold
        what = f"{bound.metric} of {bound.target}"
        what += f" / {bound.against}" if bound.against else ""
        limits = [f"at least {bound.at_least:g}"] if bound.at_least is not None else []
        limits += [f"at most {bound.at_most:g}"] if bound.at_most is not None else []
        mark = ("good", "holds") if one.holds else ("bad", "fails")
        value = "not measured" if one.value is None else f"{one.value:.4g}"
        cells = [what, f"{one.step} {one.lane}", ", ".join(limits), value]
        rows.append([*map(_text, cells), f'<span class="{mark[0]}">{mark[1]}</span>'])
    return _table("Thresholds", ["what", "phase, lane", "must be", "is", ""], rows)


def _targets(comparison: Comparison) -> str:
    rows = []
    for target in comparison.targets:
        state = f'<span class="bad">not measured: {_text(target.unavailable)}</span>'
        cosine = "-" if target.least_cosine is None else f"{target.least_cosine:.5f}"
        rate = knees(target, comparison.scenario)
        shown = ", ".join(
            f"{lane} {'none held' if x is None else f'{x:.4g}/s'}" for lane, x in rate.items()
        )
        rows.append(
            [_text(target.name), state if target.unavailable else "measured", cosine, _text(shown)]
        )
    heads = ["target", "state", "least cosine to the first", "highest rate before the knee"]
    return _table("Targets", heads, rows)


def _lane(comparison: Comparison, lane: Lane) -> str:
    how = "open loop, from the intended send time" if lane.is_open else "closed loop"
    curves, timeline = lane_curves(comparison, lane), timeline_curves(comparison, lane)
    charts = ""
    if curves:
        axes = Axes(f"{lane.name}: latency ({how})", "requests answered / s", "ms", is_log=True)
        charts += draw(axes, curves)
    if timeline:
        charts += draw(
            Axes(f"{lane.name}: first round", "second", "requests answered / s"), timeline
        )
    heads = [
        *("phase", "target", "requests/s", "texts/s", "p50 ms", "p95 ms", "p99 ms"),
        *("CPU s per 1,000 texts", "generator's", "errors"),
    ]
    title = f"Lane {lane.name}: {lane.arrivals}, {lane.texts_per_request} texts a request"
    return _table(title, heads, list(_lane_rows(comparison, lane)), before=charts)


def _lane_rows(comparison: Comparison, lane: Lane) -> Iterable[list[str]]:
    metrics: tuple[Metric, ...] = ("qps", "texts_per_s", *PERCENTILES, "cpu_s_per_1000_texts")
    for step in comparison.scenario.steps():
        if lane.name not in step.levels:
            continue
        for target in comparison.targets:
            found = [spread(over_rounds(target, step.name, lane.name, m)) for m in metrics]
            errors: dict[str, int] = {}
            generator = []
            for a_round in target.rounds:
                for one in (s for s in a_round.steps if s.name == step.name):
                    generator.append(one.generator_cpu_s_per_1000_texts)
                    # A lane of level 0 has no result.
                    for found_lane in (x for x in one.lanes if x.lane == lane.name):
                        for kind, count in found_lane.errors.items():
                            errors[kind] = errors.get(kind, 0) + count
            shown = ", ".join(f"{kind}: {count}" for kind, count in errors.items())
            cells = ["-" if x is None else str(x) for x in [*found, spread(generator)]]
            yield [_text(one) for one in (step.name, target.name, *cells, shown)]


def _ratios(comparison: Comparison) -> str:
    first = comparison.targets[0].name
    rows = [
        [_text(x) for x in (one.step, f"{one.lane}, {one.metric}", one.target, str(one.ratio))]
        for one in comparison.ratios
    ]
    heads = ["phase", "lane, what", "other", f"{first} / other: median (range)"]
    return _table(f"Ratios of {first} to the others", heads, rows)


def _warnings(comparison: Comparison) -> str:
    found = list(comparison.skipped_actions)
    for target in comparison.targets:
        for number, a_round in enumerate(target.rounds):
            for step in a_round.steps:
                found += [
                    f"{target.name}, round {number + 1}, {step.name}: {text}"
                    for text in step.warnings
                ]
    items = "".join(f"<li>{_text(one)}</li>" for one in found)
    return f"<h2>Warnings</h2><ul>{items}</ul>" if items else ""


def _table(title: str, heads: Sequence[str], rows: Sequence[list[str]], before: str = "") -> str:
    """Cells are HTML already."""
    if not rows:
        return ""
    head = "".join(f"<th>{_text(one)}</th>" for one in heads)
    body = "".join("<tr>" + "".join(f"<td>{x}</td>" for x in row) + "</tr>" for row in rows)
    return f"<h2>{_text(title)}</h2>{before}<table><tr>{head}</tr>{body}</table>"


def _text(value: str | None) -> str:
    return html.escape(value or "")
