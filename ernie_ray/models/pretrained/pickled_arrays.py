"""Read pickles that hold arrays, and refuse those that would run anything.

A pickle may name any importable callable. Here the few names that arrays need are answered by
stand-ins written in this file, never by the real objects, and every other name is an error. So
nothing that a file says is imported or called.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ernie_ray.errors import SourceError

_NUMBER_KINDS = "biuf"


class RefusedGlobalError(pickle.UnpicklingError):
    """The pickle names something that is no array."""


class ArrayUnpickler(pickle.Unpickler):
    """An unpickler that knows the given names and no others."""

    def __init__(self, stream: IO[bytes], known: Mapping[str, Any]) -> None:
        """Read from ``stream``; ``known`` maps ``module.name`` to stand-ins."""
        # latin1 keeps the bytes of arrays that Python 2 wrote as str.
        super().__init__(stream, encoding="latin1")
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        """Answer a name with its stand-in."""
        full_name = f"{module}.{name}"
        if full_name not in self._known:
            raise RefusedGlobalError(full_name)
        return self._known[full_name]


class _PickledType:
    """Stands in for ``numpy.dtype``."""

    def __init__(self, code: str, *_: Any) -> None:
        self._code = code
        self._order = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._order = state[1]

    def as_dtype(self) -> np.dtype[Any]:
        dtype = np.dtype(str(self._code))
        if dtype.kind not in _NUMBER_KINDS:
            raise pickle.UnpicklingError(f"array of {dtype}, numbers are needed")
        return dtype.newbyteorder(">") if self._order == ">" else dtype


class _PickledArray:
    """Stands in for ``numpy.ndarray``: empty when made, filled by its state."""

    def __init__(self, *_: Any) -> None:
        self.array: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, pickled_type, is_fortran, data = state
        dtype = pickled_type.as_dtype()
        # Python 2 wrote bytes as str.
        raw = data.encode("latin1") if isinstance(data, str) else data
        flat = np.frombuffer(raw, dtype)
        self.array = flat.reshape(shape, order="F" if is_fortran else "C")


def _reconstruct(*_: Any) -> _PickledArray:
    return _PickledArray()


def _frombuffer(data: Any, dtype: _PickledType, shape: Any, order: str) -> _PickledArray:
    pickled = _PickledArray()
    pickled.__setstate__((1, shape, dtype, order == "F", data))
    return pickled


def _scalar(dtype: _PickledType, data: bytes) -> float:
    return float(np.frombuffer(data, dtype.as_dtype())[0])


def _encode(text: str, encoding: str) -> bytes:
    # Python 3 writes bytes this way in protocol 2, and empty ones as a call of bytes().
    return text.encode("latin1" if encoding == "latin1" else "utf-8")


def _empty_bytes() -> bytes:
    return b""


NUMPY_NAMES: dict[str, Any] = {
    "numpy.dtype": _PickledType,
    "numpy.ndarray": _PickledArray,
    "_codecs.encode": _encode,
    "collections.OrderedDict": OrderedDict,
    "builtins.tuple": tuple,
    "__builtin__.tuple": tuple,
    "builtins.bytes": _empty_bytes,
    "__builtin__.bytes": _empty_bytes,
} | {
    f"numpy.{core}.{name}": stand_in
    for core in ("core", "_core")
    for name, stand_in in (
        ("multiarray._reconstruct", _reconstruct),
        ("multiarray.scalar", _scalar),
        ("numeric._frombuffer", _frombuffer),
    )
}


def read_pdparams(path: Path) -> dict[str, NDArray[Any]]:
    """Read a ``.pdparams`` file as ``paddle.save`` writes it.

    Returns:
        Arrays by name; what Paddle stores as uint16 is bfloat16 and comes back as float32.

    Raises:
        SourceError: The file names something other than arrays (the message says what), or is no
            such file.
    """
    with path.open("rb") as stream:
        content = load_pickle(ArrayUnpickler(stream, NUMPY_NAMES), path)
    if not isinstance(content, dict):
        raise SourceError(f"{path}: holds no table of arrays")
    # Paddle adds its parameter names under this key.
    content.pop("StructuredToParameterName@@", None)
    return {str(name): _array_of(path, name, value) for name, value in content.items()}


def load_pickle(unpickler: pickle.Unpickler, path: Path) -> Any:
    """Load with errors that name the file.

    Raises:
        SourceError: A name was refused, or the pickle is damaged.
    """
    try:
        return unpickler.load()
    except RefusedGlobalError as error:
        raise SourceError(
            f"{path}: refused, because the pickle names {error}, which is no array; "
            "convert the file to safetensors where you trust it"
        ) from error
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise SourceError(f"{path}: not a readable pickle of arrays: {error}") from error


def from_bfloat16(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Widen bfloat16 bit patterns to float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _array_of(path: Path, name: object, value: object) -> NDArray[Any]:
    if isinstance(value, tuple) and len(value) == 2:
        value = value[1]  # (name, array): a tensor that was not saved through a state_dict
    array = value.array if isinstance(value, _PickledArray) else None
    if array is None:
        raise SourceError(f"{path}: {name} is {type(value).__name__}, an array is needed")
    return from_bfloat16(array) if array.dtype == np.uint16 else array
