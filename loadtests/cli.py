"""The commands: run, compare, screenshot, ui, list."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from loadtests.errors import LoadTestError
from loadtests.scenario import SCENARIOS, load_scenario
from loadtests.weights import DEFAULT, E5

_URLS = "http://HOST:PORT, grpc://HOST:PORT, tcp://HOST:PORT"

_processes_option = click.option(
    "--processes",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Locust processes that make the load; more if one is saturated.",
)


class _Group(click.Group):
    """Shows this package's errors as one line."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except LoadTestError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    r"""Load tests: requests a second and latencies over the network.

    \b
    Examples:
      python -m loadtests run --url http://127.0.0.1:8000 --seconds 15
      python -m loadtests compare --targets ours,infinity --scenario ramp
      python -m loadtests ui --url http://127.0.0.1:8000 --scenario steady
      python -m loadtests list
    """


@main.command(name="list")
def list_command() -> None:
    """Show scenarios and targets."""
    from loadtests.targets import target_names

    click.echo("scenarios:")
    for path in sorted(SCENARIOS.glob("*.toml")):
        click.echo(f"  {path.stem:16} {load_scenario(path.stem).description}")
    click.echo("targets:\n  " + "\n  ".join([*target_names(), _URLS]))


@main.command(name="run")
@click.option("--url", required=True, help="The service; its path says how it is asked.")
@click.option("--seconds", default=15.0, show_default=True, type=click.FloatRange(3))
@click.option("--dialect", help="vectors, infer, openai, plain...  [default: by the URL's path]")
@click.option("--clients", default=16, show_default=True, type=click.IntRange(1))
@click.option("--texts", default="both", show_default=True, help="english, chinese, both, FILE.")
@click.option("--texts-per-request", default=1, show_default=True, type=click.IntRange(1))
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write results here.")
@_processes_option
def run_command(
    url: str,
    seconds: float,
    dialect: str | None,
    clients: int,
    texts: str,
    texts_per_request: int,
    json_path: Path | None,
    processes: int,
) -> None:
    r"""Measure a running service: QPS of waiting clients, then latencies below that rate.

    \b
    Examples:
      python -m loadtests run --url http://127.0.0.1:8000
      python -m loadtests run --url http://127.0.0.1:8000/v1/infer --seconds 15
      python -m loadtests run --url tcp://127.0.0.1:5555 --texts texts.txt
    """
    from loadtests.short_run import Ask, short_run
    from loadtests.targets.url import address_of

    ask = Ask(seconds, clients, texts, texts_per_request, processes)
    result = short_run(address_of(url, dialect), ask)
    if json_path:
        _write(json_path, result.model_dump_json(indent=2))
    click.echo(result.summary())


@dataclass(frozen=True)
class _Options:
    """Options of compare."""

    targets: str
    scenario: str
    weights: str
    model_dir: Path | None
    settings: tuple[str, ...]
    scale: float | None
    rounds: int | None
    out: Path
    processes: int


@main.command(name="compare")
@click.option(
    "--targets",
    default="ours,infinity",
    show_default=True,
    help="Names or URLs, with commas; ratios are of the first to the others.",
)
@click.option("--scenario", default="ramp", show_default=True, help="A name or a TOML file.")
@click.option(
    "--weights", default=DEFAULT, show_default=True, help=f"Folder with the encoder, or {E5}."
)
@click.option(
    "--model-dir", type=click.Path(path_type=Path, exists=True), help="Our export of the weights."
)
@click.option("--set", "settings", multiple=True, metavar="TARGET.KEY=VALUE", help="An option.")
@click.option("--scale", type=float, help="Multiply open-loop levels; no capacity is measured.")
@click.option("--rounds", type=click.IntRange(1), help="Turns of each target.")
@click.option(
    "--out",
    default="loadtests-report",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Write OUT.html, OUT.json and OUT.md (a table).",
)
@_processes_option
def compare_command(**options: object) -> None:
    r"""Run targets in turn, A B A B, and write a report. Ends with 1 if a threshold fails.

    \b
    Examples:
      python -m loadtests compare --targets ours,infinity --scenario ramp
      python -m loadtests compare --targets ours,one-job-one-batch --scenario announcement-2019
      python -m loadtests compare --targets ours,infinity \
          --set infinity.torch_index=URL
    """
    asked = _Options(**options)  # type: ignore[arg-type]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers are ended as by Ctrl-C
    holds = _compare(asked)
    if not holds:
        sys.exit(1)


def _compare(asked: _Options) -> bool:
    from loadtests import weights
    from loadtests.compare import compare
    from loadtests.report import to_html
    from loadtests.table import to_markdown
    from loadtests.targets import make_target
    from loadtests.targets.target import Start

    scenario = load_scenario(asked.scenario)
    if asked.scale is not None:
        scenario = scenario.scaled(asked.scale)
    if asked.rounds is not None:
        scenario = scenario.model_copy(update={"rounds": asked.rounds})
    names = [name.strip() for name in asked.targets.split(",") if name.strip()]
    needs_weights = any("://" not in name for name in names)
    folder = weights.weights_folder(asked.weights) if needs_weights else Path()
    given = asked.model_dir.absolute() if asked.model_dir else None
    start = Start(
        weights=folder,
        model_dir=lambda: given or weights.model_dir(folder),
        num_replicas=scenario.num_replicas,
    )
    targets = [make_target(name, start, asked.settings) for name in names]
    command = shlex.join(["python", "-m", "loadtests", *sys.argv[1:]])
    json_path, html_path, table_path = (
        asked.out.with_name(asked.out.name + ending) for ending in (".json", ".html", ".md")
    )
    comparison = compare(
        scenario,
        targets,
        processes=asked.processes,
        command=command,
        save=lambda found: _write(json_path, found.model_dump_json(indent=1)),
    )
    _write(json_path, comparison.model_dump_json(indent=1))
    _write(html_path, to_html(comparison))
    _write(table_path, to_markdown(comparison))
    for target in comparison.targets:
        if target.unavailable:
            click.secho(f"{target.name}: not measured: {target.unavailable}", fg="red", err=True)
    for verdict in (one for one in comparison.verdicts if not one.holds):
        bound = verdict.threshold.model_dump(exclude_none=True)
        click.secho(f"fails: {bound} at {verdict.step}: {verdict.value}", fg="red", err=True)
    click.echo(f"report: {html_path}\ndata:   {json_path}\ntable:  {table_path}")
    return all(one.holds for one in comparison.verdicts) and any(
        one.steps for target in comparison.targets for one in target.rounds
    )


@main.command(name="screenshot")
@click.argument("report", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("picture", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--width", default=1100, show_default=True, type=click.IntRange(200), help="Pixels.")
@click.option("--height", default=1600, show_default=True, type=click.IntRange(200), help="Pixels.")
def screenshot_command(report: Path, picture: Path, width: int, height: int) -> None:
    r"""Draw the top of REPORT, an HTML file, as PICTURE, a PNG file, with Chromium.

    \b
    Examples:
      python -m loadtests screenshot loadtests-report.html docs/load-test-report.png
    """
    from loadtests.screenshot import screenshot

    screenshot(report, picture, width=width, height=height)


@main.command(name="ui", context_settings={"ignore_unknown_options": True})
@click.option("--url", required=True, help="The service; its path says how it is asked.")
@click.option("--scenario", default="steady", show_default=True, help="A name or a TOML file.")
@click.option("--dialect", help="vectors, infer, openai, plain...  [default: by the URL's path]")
@click.option("--scale", type=float, help="Multiply open-loop levels.")
@_processes_option
@click.argument("locust_options", nargs=-1, type=click.UNPROCESSED)
def ui_command(
    url: str,
    scenario: str,
    dialect: str | None,
    scale: float | None,
    processes: int,
    locust_options: tuple[str, ...],
) -> None:
    r"""Open Locust's own web interface with a scenario; other options go to Locust.

    \b
    Examples:
      python -m loadtests ui --url http://127.0.0.1:8000 --scenario steady
      python -m loadtests ui --url http://127.0.0.1:8000 --scenario ramp --headless --csv ramp
    """
    from loadtests.targets.url import address_of

    address = address_of(url, dialect)
    load_scenario(scenario)
    environment = {
        **os.environ,
        "LOADTESTS_URL": address.url,
        "LOADTESTS_DIALECT": address.dialect,
        "LOADTESTS_SCENARIO": scenario,
        "LOADTESTS_PROCESSES": str(processes),
        "LOADTESTS_SCALE": "" if scale is None else str(scale),
    }
    locustfile = str(Path(__file__).parent / "locustfile.py")
    arguments = [sys.executable, "-m", "locust", "-f", locustfile, *locust_options]
    if processes > 1:
        arguments += ["--processes", str(processes)]
    os.execve(sys.executable, arguments, environment)


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        file.write(text)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


# Docstrings with a backslash are raw, and in those click's mark before examples, which keeps their
# lines, is two characters.
for _command in (main, *main.commands.values()):
    _command.help = (_command.help or "").replace("\\b\n", "\b\n")
