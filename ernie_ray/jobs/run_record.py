"""What a run leaves for readers on its way: ``run.json`` and ``report.html``, however it ends.

Knows the files of the run folder; makes none of what they tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ernie_ray.errors import ErnieRayError
from ernie_ray.jobs import runs
from ernie_ray.jobs.report import write_report
from ernie_ray.jobs.run_facts import RunFacts
from ernie_ray.jobs.stopwatch import timed
from ernie_ray.jobs.storage import Storage
from ernie_ray.modeldir.folder import MANIFEST
from ernie_ray.text.uris import path_of

_REPORTED = (
    *(runs.RECIPE, runs.FACTS, runs.METRICS, runs.RESULT, runs.EVALUATION),
    f"{runs.MODEL}/{MANIFEST}",
)


class RunRecord:
    """Keeps a run's facts and seconds; those of earlier attempts count.

    Attributes:
        facts: What the run is made of; None: not known yet.
        seconds: By stage, over all attempts until the run was finished.
    """

    def __init__(self, run: str, storage: Storage) -> None:
        """Go on with what an earlier attempt left.

        Args:
            run: The run folder, claimed already.
            storage: Resolves it.
        """
        self.facts: RunFacts | None = None
        self._run = run
        self._storage = storage
        result = runs.read_json(f"{run}/{runs.RESULT}", storage)
        known = runs.read_json(f"{run}/{runs.FACTS}", storage).get("seconds")
        self.seconds: dict[str, float] = dict(known or result.get("seconds", {}))
        self._is_finished = bool(result)

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Add to a stage what the block takes; of a finished run all stages are done already."""
        return nullcontext() if self._is_finished else timed(self.seconds, stage)

    def write(self) -> None:
        """Write ``run.json``, once there are facts, and the report."""
        if self.facts is not None:
            facts = self.facts.model_copy(update={"seconds": self.seconds})
            runs.write_json(facts.model_dump(mode="json"), self._name(runs.FACTS), self._storage)
        report_run(self._run, self._storage)

    def _name(self, file: str) -> str:
        return f"{self._run}/{file}"


@contextmanager
def recorded(run: str, storage: Storage) -> Iterator[RunRecord]:
    """Write a run's record when the block ends, whatever ends it.

    Args:
        run: The run folder, claimed already.
        storage: Resolves it.
    """
    record = RunRecord(run, storage)
    try:
        yield record
    except BaseException:
        # What ended the run is the error to show, not what then went wrong with its report.
        with suppress(ErnieRayError, OSError, ValueError):
            record.write()
        raise
    record.write()


def report_run(run: str, storage: Storage) -> None:
    """Write ``report.html`` into a run folder, wherever that is."""
    location = storage.resolve(run)
    if isinstance(location, Path):
        write_report(location)
        return
    with TemporaryDirectory(prefix="ernie-ray-report-") as folder:
        copy = Path(folder) / path_of(run).rstrip("/").rpartition("/")[2]
        (copy / runs.MODEL).mkdir(parents=True)
        for name in _REPORTED:
            if storage.exists(f"{run}/{name}"):
                (copy / name).write_bytes(storage.fetch(f"{run}/{name}").read_bytes())
        storage.publish(write_report(copy), f"{run}/{runs.REPORT}")
