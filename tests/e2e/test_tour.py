"""The README's first command, with a tiny encoder in place of the embedded one."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(300)


def test_the_tour_trains_serves_answers_and_ends_with_its_table(tmp_path, tiny_embedding_dir):
    done = subprocess.run(
        [
            sys.executable, "-m", "ernie_ray", "tour", "--folder", str(tmp_path / "tour"),
            "--set", f"model.pretrained={tiny_embedding_dir}",
            "--set", "model.max_tokens=32",
            "--set", "model.num_layers=0",
            "--set", "model.trim_vocabulary=false",
            "--set", "training.max_steps=4",
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    question, _, rest = done.stdout.partition("\n{")
    assert "curl -s http://127.0.0.1:" in question
    answer, _ = json.JSONDecoder().raw_decode("{" + rest)
    assert answer["scores"][0]["label"] in ("negative", "positive")
    assert "numbers" in answer["vectors"][0][-1]
    assert "train 1,200, dev 500, test 1,500, unlabelled 12,000" in done.stdout
    for words in ("bag of words", "fine-tuned encoder", "gain in points", "ernie-ray serve"):
        assert words in done.stdout
