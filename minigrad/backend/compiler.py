"""A C file as a shared library, compiled at first use by the system's compiler and kept in the user's cache.

A file there is named after all that it depends on and after its own content, so a damaged one is known; it
appears whole or not at all.
"""

import ctypes
import functools
import os
import platform
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np

FLAGS = "-std=gnu11 -O3 -march=native -fno-math-errno -ffp-contract=fast -shared -fPIC".split()


def library(source: Path) -> ctypes.CDLL:
    """The functions of a C file. Raises RuntimeError, OSError or SubprocessError where there can be none."""
    # Imported here, like tempfile below, because most programs need none of them.
    from tempfile import TemporaryDirectory

    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler: there is no `cc` on PATH")
    folder, name = cache(), f"{source.stem}-{_key(compiler, source)}"
    for known in folder.glob(f"{name}-*.so"):
        if known.stem == f"{name}-{_hash(known.read_bytes())}":
            return ctypes.CDLL(str(known))
        known.unlink()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        scratch = TemporaryDirectory(dir=folder)
    except OSError as error:
        warnings.warn(
            f"{source.name} is compiled anew in each process, because its cache cannot be written: {error}",
            RuntimeWarning,
            stacklevel=2,
        )
        with TemporaryDirectory() as elsewhere:
            return ctypes.CDLL(str(_compile(compiler, source, Path(elsewhere))))
    with scratch as inside:
        made = _compile(compiler, source, Path(inside))
        kept = folder / f"{name}-{_hash(made.read_bytes())}.so"
        os.replace(made, kept)  # another process may do the same at this moment: either file will do
    return ctypes.CDLL(str(kept))


@functools.cache
def function(loaded: ctypes.CDLL, name: str, dtype: np.dtype) -> Callable[..., None]:
    """The function of a library for arrays of a dtype."""
    return loaded[f"{name}_{dtype.name}"]


def cache() -> Path:
    """Where compiled files are kept: $XDG_CACHE_HOME/minigrad, by default ~/.cache/minigrad."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "minigrad"


def _compile(compiler: str, source: Path, folder: Path) -> Path:
    import subprocess

    made = folder / "library.so"
    done = subprocess.run(
        [compiler, *FLAGS, str(source), "-o", str(made)], capture_output=True, text=True, timeout=300
    )
    if done.returncode:
        raise RuntimeError(f"{compiler} cannot compile {source.name}: {done.stderr.strip()}")
    return made


def _key(compiler: str, source: Path) -> str:
    """A name for all that decides what the compiler makes of the file."""
    import subprocess

    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=60)
    return _hash("\n".join([source.read_text(), version.stdout, *FLAGS, _processor()]).encode())


def _processor() -> str:
    """What -march=native depends on."""
    known = Path("/proc/cpuinfo")
    first = known.read_text().partition("\n\n")[0] if known.exists() else ""
    lines = re.findall(r"^(?:model name|flags|CPU part|Features)\s*:.*", first, re.MULTILINE)
    return "\n".join([platform.machine(), platform.processor(), *lines])


def _hash(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()[:24]
