import subprocess
import sys

HEAVY = ("ray", "paddle", "openvino", "onnxruntime")


def loaded_after(statement: str) -> list[str]:
    """Heavy modules that a fresh interpreter has loaded after a statement."""
    script = f"{statement}\nimport sys\nprint([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return eval(done.stdout)


def test_importing_the_package_loads_neither_ray_nor_paddle():
    assert loaded_after("import ernie_ray") == []


def test_asking_for_help_loads_neither_ray_nor_paddle():
    statement = (
        "from click.testing import CliRunner\n"
        "from ernie_ray.cli import group\n"
        "assert 'finetune' in CliRunner().invoke(group, ['--help']).output"
    )
    assert loaded_after(statement) == []
