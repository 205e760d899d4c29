"""The README's block for one's own data, line by line as it stands, with a tiny encoder."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ernie_ray.cli.free_ports import free_ports
from tests.tiny_models import tiny_rows

pytestmark = [pytest.mark.soak, pytest.mark.timeout(400)]

README = Path(__file__).parents[2] / "README.md"
FIRST = "source .venv/bin/activate"


@pytest.fixture
def shell(tmp_path, tiny_embedding_dir):
    """Rows of one's own in a folder, and a shell there in which the commands are found."""
    for seed, name in enumerate(("train", "dev", "test", "other")):
        rows = [{"text": text, "label": label} for text, label in tiny_rows(64, seed)]
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    settings = (f"model.pretrained={tiny_embedding_dir}", "model.max_tokens=32")
    settings += ("model.num_layers=0", "model.trim_vocabulary=false", "training.max_steps=4")
    (port,) = free_ports(1)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_AUTH", "RAY_ADDR"))}

    def start(line: str) -> subprocess.Popen[str]:
        if "finetune" in line:
            line += "".join(f" --set {shlex.quote(one)}" for one in settings)
        words = line.replace("8000", str(port)).replace(
            "ernie-ray ", f"{shlex.quote(sys.executable)} -m ernie_ray "
        )
        return subprocess.Popen(
            ["bash", "-c", f"exec {words}" if "|" not in words else words],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(README.parent)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(line: str) -> str:
        process = start(line)
        printed, _ = process.communicate()
        assert process.returncode == 0, printed
        return printed

    run.start = start
    return run


def json_in(printed: str) -> dict:
    """The one line that is JSON, among those of progress."""
    (line,) = (line for line in printed.splitlines() if line.startswith("{"))
    return json.loads(line)


def test_the_commands_for_ones_own_data_run_one_after_the_other(shell, tmp_path):
    (block,) = re.findall(
        rf"```bash\n{re.escape(FIRST)}\n(.*?)```", README.read_text("utf-8"), re.S
    )
    lines = [line.partition("  #")[0].strip() for line in block.splitlines()]
    assert [re.search(r"ernie-ray (\w+)|curl", line)[1] for line in lines] == [
        *("finetune", "evaluate", "predict", "serve", None)
    ]
    finetune, evaluate, predict, serve, curl = lines
    shell(finetune)
    assert (tmp_path / "runs" / "mine" / "model" / "manifest.json").is_file()
    assert "accuracy" in shell(evaluate)
    answer = json_in(shell(predict))
    assert answer["label"] in ("negative", "positive")
    service = shell.start(serve)
    try:
        for printed in service.stdout:
            if "curl" in printed:
                break
        reply = json_in(shell(curl))
        assert reply["scores"][0]["label"] in ("negative", "positive")
        assert len(reply["vectors"][0]) == 32
    finally:
        service.send_signal(signal.SIGINT)
        service.communicate(timeout=60)
    assert service.returncode == 0
