"""Checkpoints: a nested dict of arrays and settings in one safetensors file, written whole or not at all.

Arrays keep every bit. `optimizer.state_dict()` is such a dict.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import asnumpy


def save_state(path: str | os.PathLike, state: dict[str, Any]) -> None:
    """Writes `state` to `path`; the file is replaced only once the new one is complete. Needs safetensors.

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "state.safetensors")
    >>> save_state(path, {"step": 3, "w": np.ones(2)})
    >>> load_state(path)
    {'step': 3, 'w': array([1., 1.])}
    """
    safetensors = _safetensors()
    arrays: dict[str, np.ndarray] = {}
    plain = _take_arrays(state, "", arrays)
    path = Path(path)
    part = path.with_name(path.name + ".part")
    # safetensors writes the memory behind an array as it lies: only contiguous arrays come out right.
    arrays = {k: np.asarray(v, order="C") for k, v in arrays.items()}
    metadata = {"state": json.dumps(plain)}
    try:
        safetensors.numpy.save_file(arrays, part, metadata=metadata)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_state(path: str | os.PathLike) -> dict[str, Any]:
    """The dict that `save_state` wrote; raises ValueError when the file is damaged or something else.

    >>> load_state("nowhere.safetensors")
    Traceback (most recent call last):
    FileNotFoundError: no checkpoint at nowhere.safetensors
    """
    safetensors = _safetensors()
    if not Path(path).is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with safetensors.safe_open(path, framework="numpy") as f:
            arrays = {k: f.get_tensor(k) for k in f.keys()}
            plain = json.loads((f.metadata() or {})["state"])
    except (safetensors.SafetensorError, KeyError, ValueError) as e:
        raise ValueError(
            f"{path} is damaged or no minigrad checkpoint ({type(e).__name__}): take an earlier one"
        ) from None
    return _put_arrays(plain, arrays)


_ARRAY = "__array__"


def _take_arrays(x: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(x, dict):
        return {k: _take_arrays(v, f"{path}/{k}" if path else k, arrays) for k, v in x.items()}
    if hasattr(x, "dtype"):
        if path in arrays:
            raise ValueError(f"save_state: two arrays of the state come to the name {path!r}: rename a key")
        arrays[path] = asnumpy(x)
        return {_ARRAY: path}
    return x


def _put_arrays(x: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(x, dict):
        return arrays[x[_ARRAY]] if _ARRAY in x else {k: _put_arrays(v, arrays) for k, v in x.items()}
    return x


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError('checkpoints need safetensors: pip install "minigrad[train]"') from None
    return safetensors
