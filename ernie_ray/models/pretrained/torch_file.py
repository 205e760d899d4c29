"""Read PyTorch's ``pytorch_model.bin`` without PyTorch: the zip form and the older plain one.

Both are a pickle of tensors that point into numbered storages. The pickle goes through the
restricted unpickler; a tensor is a strided view of its storage.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import SourceError
from ernie_ray.models.pretrained.pickled_arrays import (
    NUMPY_NAMES,
    ArrayUnpickler,
    from_bfloat16,
    load_pickle,
)

# Pickled as the first object of a plain file (torch.serialization.MAGIC_NUMBER).
_PLAIN_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass(frozen=True)
class _StorageType:
    dtype: str
    is_bfloat16: bool = False


_STORAGE_TYPES = {
    "torch.FloatStorage": _StorageType("<f4"),
    "torch.DoubleStorage": _StorageType("<f8"),
    "torch.HalfStorage": _StorageType("<f2"),
    "torch.BFloat16Storage": _StorageType("<u2", is_bfloat16=True),
    "torch.LongStorage": _StorageType("<i8"),
    "torch.IntStorage": _StorageType("<i4"),
    "torch.ShortStorage": _StorageType("<i2"),
    "torch.CharStorage": _StorageType("<i1"),
    "torch.ByteStorage": _StorageType("<u1"),
    "torch.BoolStorage": _StorageType("<u1"),
}


@dataclass(frozen=True)
class _Storage:
    key: str
    kind: _StorageType


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, data: NDArray[Any]) -> NDArray[Any]:
        """Cut the tensor out of its storage's elements; offset and strides count elements."""
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.strides, strict=True)
        )
        is_empty = 0 in self.shape
        if min((self.offset, *self.shape, *self.strides)) < 0 or (
            not is_empty and last >= data.size
        ):
            raise ValueError(f"tensor reaches outside of storage {self.storage.key}")
        size = data.itemsize
        array = np.lib.stride_tricks.as_strided(
            data[self.offset :], self.shape, tuple(s * size for s in self.strides), writeable=False
        )
        return from_bfloat16(array) if self.storage.kind.is_bfloat16 else array


def _rebuild_tensor(
    storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> _Tensor:
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_parameter(tensor: _Tensor, *_: Any) -> _Tensor:
    return tensor


_TORCH_NAMES = (
    NUMPY_NAMES
    | _STORAGE_TYPES
    | {
        "torch._utils._rebuild_tensor": _rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
    }
)


class _TensorUnpickler(ArrayUnpickler):
    def persistent_load(self, pid: Any) -> _Storage:
        _, kind, key, *_ = pid
        if not isinstance(kind, _StorageType):
            raise ValueError(f"storage {key} is of no known type")
        return _Storage(str(key), kind)


def read_torch_file(path: Path) -> dict[str, NDArray[Any]]:
    """Read a file that ``torch.save(model.state_dict(), path)`` wrote.

    Returns:
        Arrays by name; bfloat16 comes back as float32.

    Raises:
        SourceError: The file names something other than tensors (the message says what), or is no
            such file.
    """
    if zipfile.is_zipfile(path):
        return _read_zip(path)
    return _read_plain(path)


def _read_zip(path: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise SourceError(f"{path}: a zip file, but not one that PyTorch wrote")
        root = pickles[0].removesuffix("data.pkl")
        with archive.open(pickles[0]) as stream:
            content = load_pickle(_TensorUnpickler(stream, _TORCH_NAMES), path)

        def read(storage: _Storage) -> NDArray[Any]:
            return np.frombuffer(archive.read(f"{root}data/{storage.key}"), storage.kind.dtype)

        return _arrays(path, content, read)


def _read_plain(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as stream:
        header = [load_pickle(_TensorUnpickler(stream, _TORCH_NAMES), path) for _ in range(3)]
        if header[0] != _PLAIN_MAGIC:
            raise SourceError(f"{path}: not a file that PyTorch wrote")
        content = load_pickle(_TensorUnpickler(stream, _TORCH_NAMES), path)
        keys = load_pickle(_TensorUnpickler(stream, _TORCH_NAMES), path)
        kinds = {t.storage.key: t.storage.kind for t in _tensors(path, content).values()}
        storages = {str(key): _read_plain_storage(stream, kinds.get(str(key))) for key in keys}
    return _arrays(path, content, lambda storage: storages[storage.key])


def _read_plain_storage(stream: IO[bytes], kind: _StorageType | None) -> NDArray[Any]:
    if kind is None:
        raise SourceError("a storage belongs to no tensor; save the state_dict alone")
    count = int.from_bytes(stream.read(8), "little")
    return np.frombuffer(stream.read(count * np.dtype(kind.dtype).itemsize), kind.dtype)


def _tensors(path: Path, content: Any) -> dict[str, _Tensor]:
    if not isinstance(content, dict):
        raise SourceError(f"{path}: holds no table of tensors; save model.state_dict()")
    wrong = [name for name, value in content.items() if not isinstance(value, _Tensor)]
    if wrong:
        raise SourceError(f"{path}: {', '.join(map(str, wrong[:5]))} are no tensors")
    return {str(name): value for name, value in content.items()}


def _arrays(
    path: Path, content: Any, read: Callable[[_Storage], NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    tensors = _tensors(path, content)
    try:
        data = {s.key: read(s) for s in {t.storage for t in tensors.values()}}
        return {name: tensor.view(data[tensor.storage.key]) for name, tensor in tensors.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{path}: damaged: {error}") from error
