"""Rows for whole chains on tiny teachers, and when a chain wrote what."""

from __future__ import annotations

import json
from pathlib import Path

from tests.tiny_models import tiny_rows

SIZES = {"train": 120, "dev": 40, "test": 40, "more": 81}


def write_chain_rows(folder: Path, *, unlabelled_column: str) -> Path:
    """Write rows under column names of their own; those of ``more`` have no label."""
    for seed, (name, size) in enumerate(SIZES.items()):
        rows = [
            {unlabelled_column: text} if name == "more" else {"review": text, "kind": label}
            for text, label in tiny_rows(size, seed)
        ]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    return folder


def chain_settings(teacher: Path) -> list[str]:
    """Settings that the recipes of all chains share."""
    return [
        f"teacher.model={teacher}",
        "teacher.precision=fp32",
        "teacher.engine=onnxruntime",
        "data.train=train.jsonl",
        "data.dev=dev.jsonl",
        "data.test=test.jsonl",
        'data.unlabelled=["more.jsonl"]',
        "data.text_column=review",
        "data.label_column=kind",
        "report.base_encoder=false",
        "scaling.cpus_per_worker=1",
    ]


def stamps(run: Path) -> dict[Path, int]:
    """When each file of the stages was written."""
    return {
        path.relative_to(run): path.stat().st_mtime_ns
        for stage in run.iterdir() if stage.is_dir() or stage.suffix == ".parquet"
        for path in ([stage] if stage.is_file() else stage.rglob("*")) if path.is_file()
    }  # fmt: skip
