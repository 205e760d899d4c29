"""Pickled weights: arrays come out right, and nothing else gets in."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import pytest

from ernie_ray.errors import SourceError
from ernie_ray.models.pretrained.pickled_arrays import read_pdparams
from ernie_ray.models.pretrained.torch_file import read_torch_file


class Bomb:
    """Unpickled by the plain pickle module, it creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return (os.system, (f"touch '{self.marker}'",))


def test_a_pdparams_file_that_would_run_a_command_is_refused_by_name(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    file = tmp_path / "model_state.pdparams"
    file.write_bytes(pickle.dumps({"weight": np.ones(2), "evil": Bomb(marker)}))
    with pytest.raises(SourceError, match=r"names posix\.system"):
        read_pdparams(file)
    assert not marker.exists()
    pickle.loads(file.read_bytes())
    assert marker.exists()  # the file was a real bomb


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_torch_file_that_would_run_a_command_is_refused_by_name(
    tmp_path: Path, protocol: int
) -> None:
    marker = tmp_path / "ran"
    payload = pickle.dumps({"evil": Bomb(marker)}, protocol=protocol)
    zipped = tmp_path / "zip.bin"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", payload)
    plain = tmp_path / "plain.bin"
    plain.write_bytes(payload)
    for file in (zipped, plain):
        with pytest.raises(SourceError, match=r"names posix\.system"):
            read_torch_file(file)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["builtins.eval", "builtins.getattr", "numpy.load"])
def test_other_names_are_refused_too(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    file = tmp_path / "weights.pdparams"
    file.write_bytes(f"c{module}\n{attribute}\n(S'1'\ntR.".encode())
    with pytest.raises(SourceError, match=name):
        read_pdparams(file)


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_paddle_saves_is_read_back(tmp_path: Path, protocol: int) -> None:
    layer = paddle.nn.Linear(3, 5)
    file = tmp_path / "saved.pdparams"
    paddle.save(layer.state_dict(), str(file), protocol=protocol)
    arrays = read_pdparams(file)
    assert arrays.keys() == {"weight", "bias"}
    np.testing.assert_array_equal(arrays["weight"], layer.weight.numpy())


def test_paddle_bfloat16_is_widened(tmp_path: Path) -> None:
    layer = paddle.nn.Linear(3, 5)
    expected = layer.weight.numpy()
    # Not `layer.bfloat16()`, which some CPUs cannot.
    narrow = {name: tensor.astype("bfloat16") for name, tensor in layer.state_dict().items()}
    paddle.save(narrow, str(tmp_path / "saved.pdparams"))
    weight = read_pdparams(tmp_path / "saved.pdparams")["weight"]
    assert weight.dtype == np.float32
    np.testing.assert_allclose(weight, expected, rtol=1e-2)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_numpy_arrays_of_every_protocol_and_order_are_read(tmp_path: Path, protocol: int) -> None:
    arrays = {
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big_endian": np.arange(4, dtype=">f4"),
        "empty": np.zeros((0, 3), np.float32),
        "int8": np.arange(3, dtype=np.int8),
    }
    file = tmp_path / "arrays.pdparams"
    file.write_bytes(pickle.dumps(arrays, protocol=protocol))
    read = read_pdparams(file)
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "objects.pdparams"
    file.write_bytes(pickle.dumps({"w": np.array([{}, []], dtype=object)}))
    with pytest.raises(SourceError, match="numbers are needed"):
        read_pdparams(file)


@pytest.mark.parametrize("form", ["zip", "plain"])
def test_both_forms_of_torch_files_give_the_tensors(torch_files: Path, form: str) -> None:
    read = read_torch_file(torch_files / f"{form}.bin")
    with np.load(torch_files / "expected.npz") as expected:
        assert read.keys() == set(expected)
        for name, array in read.items():
            np.testing.assert_array_equal(array.astype(np.float32), expected[name])


def test_a_tensor_cannot_reach_outside_of_its_storage(torch_files: Path, tmp_path: Path) -> None:
    source = torch_files / "zip.bin"
    spoilt = tmp_path / "spoilt.bin"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(spoilt, "w") as new:
        for item in old.namelist():
            data = old.read(item)
            new.writestr(item, data[:8] if "/data/" in item else data)
    with pytest.raises(SourceError, match="reaches outside of storage"):
        read_torch_file(spoilt)


def test_a_damaged_file_is_an_error_that_names_it(torch_files: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.bin"
    cut.write_bytes((torch_files / "plain.bin").read_bytes()[:200])
    with pytest.raises(SourceError, match=r"cut\.bin"):
        read_torch_file(cut)
