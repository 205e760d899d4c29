"""The README's first command, with a tiny encoder in place of the embedded one."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.timeout(300)


def test_the_tour_trains_distils_serves_answers_and_ends_with_its_table(
    tmp_path, tiny_embedding_dir
):
    folder = tmp_path / "tour"
    done = subprocess.run(
        [
            sys.executable, "-m", "ernie_ray", "tour", "--folder", str(folder),
            "--unlabelled", "200",
            "--load-seconds", "3",
            "--set", f"model.pretrained={tiny_embedding_dir}",
            "--set", "model.max_tokens=32",
            "--set", "model.num_layers=0",
            "--set", "model.trim_vocabulary=false",
            "--set", "training.max_steps=4",
            "--set-student", "augment.num_copies=1",
            "--set-student", "student.bucket_bits=10",
            "--set-student", "student.embedding_size=8",
            "--set-student", "training.max_steps=4",
            "--set-student", "report.num_timed_texts=20",
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

    table = (folder / "table.txt").read_text(encoding="utf-8")
    assert table in done.stdout
    assert "train 1,200, dev 500, test 1,500, unlabelled 200" in table
    for name in ("bag of words", "teacher", "student plain", "student distilled"):
        assert any(line.startswith(name) for line in table.splitlines())
    load = json.loads((folder / "load-test.json").read_text(encoding="utf-8"))
    assert load["opened"]["lanes"][0]["p50_ms"] > 0
    assert f"QPS {load['closed']['lanes'][0]['qps']:.1f}" in table
    assert f"p99 {load['opened']['lanes'][0]['p99_ms']:.1f} ms" in table
    assert (folder / "student" / "quality.svg").is_file()
    assert f"ernie-ray serve {folder / 'teacher' / 'model'}" in done.stdout
