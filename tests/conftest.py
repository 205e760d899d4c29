"""What every test folder shares: markers by folder, no Ray in unit tests, one local Ray elsewhere.

The folder of a test decides its kind: ``tests/unit`` (no Ray), ``tests/integration`` (one local
Ray for the whole run), ``tests/e2e`` (whole flows as a user runs them).
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest
from hypothesis import settings

# A busy machine must not fail a property.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Ray reads these when it is imported, so they are set before any test module is collected. Tokens
# are on by default for local clusters; a mode that differs between head and driver hangs tests.
os.environ.update(
    RAY_AUTH_MODE="disabled",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_DEDUP_LOGS="0",
    RAY_TRAIN_HEALTH_CHECK_INTERVAL_S="0.2",
    RAY_TRAIN_ENABLE_PREEMPTION_WATCHER="0",  # a process more for each run; nothing preempts here
    RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S="0.1",
    RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S="1",
    RAY_DATA_DISABLE_PROGRESS_BARS="1",
    RAY_prestart_worker_first_driver="0",
    RAY_ENABLE_UV_RUN_RUNTIME_ENV="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
)

TESTS = Path(__file__).parent
STDERR = pytest.StashKey[TextIO]()
KINDS = ("unit", "integration", "e2e")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with the name of its folder."""
    for item in items:
        kind = item.path.relative_to(TESTS).parts[0]
        if kind in KINDS:
            item.add_marker(getattr(pytest.mark, kind))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the standard error that pytest does not capture, for the traceback of a crash."""
    config.stash[STDERR] = os.fdopen(os.dup(2), "w")
    logging.setLogRecordFactory(record_without_frames)


def record_without_frames(*arguments: Any, **options: Any) -> logging.LogRecord:
    """Make a log record that keeps an error's text only.

    pytest keeps the records. Frames in them would hold what they saw: a failed Ray Data job's
    actors, whose CPUs the next tests then lack.
    """
    record = logging.LogRecord(*arguments, **options)
    if record.exc_info:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
    return record


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Show where a crash happened: Paddle, once imported, hides Python's own traceback."""
    paddle = sys.modules.get("paddle")
    if paddle is not None and hasattr(paddle, "disable_signal_handler"):
        paddle.disable_signal_handler()
        faulthandler.disable()  # or it takes its handlers for still installed
        faulthandler.enable(file=item.config.stash[STDERR])


@pytest.fixture(autouse=True)
def no_ray_in_unit_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit tests never start Ray; move the test to integration/ if it must."""
    if request.node.get_closest_marker("unit") is None:
        return

    def refuse(*args: object, **kwargs: object) -> None:
        raise RuntimeError("unit tests must not start Ray; move this test to tests/integration")

    monkeypatch.setattr("ray.init", refuse)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """One Ray of this test run's own: 4 logical CPUs and 2 GPUs, whatever the machine has."""
    import ray
    import ray.data

    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=2,
        include_dashboard=False,
        object_store_memory=256 << 20,
        log_to_driver=False,
        logging_level="warning",
    )
    with warnings.catch_warnings():
        # Ray Data sets its own deprecated options when it is first used.
        warnings.simplefilter("ignore", DeprecationWarning)
        ray.data.DataContext.get_current()
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with a classification head, made by the real export."""
    return _exported(tmp_path_factory, "classifier")


@pytest.fixture(scope="session")
def tiny_embedding_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory without a head, made by the real export."""
    return _exported(tmp_path_factory, "embedding")


def _exported(tmp_path_factory: pytest.TempPathFactory, kind: str) -> Path:
    from tests.tiny_models import export_tiny_classifier, export_tiny_embedding

    target = tmp_path_factory.mktemp(kind) / f"tiny-{kind}"
    export = export_tiny_classifier if kind == "classifier" else export_tiny_embedding
    return export(target)
