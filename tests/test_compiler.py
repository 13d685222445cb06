"""How the kernels in C come to be: compiled once, kept in a cache that heals, chosen where they work, and
never in silence replaced by others.
"""

import os
import shutil
import subprocess
import sys

import pytest

from minigrad.backend import choice, compiler, large

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")

CONVOLVE = """if True:
    import warnings
    import numpy as np
    import minigrad as mg
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for dtype in ("f4", "f8", "f2"):
            y = mg.conv2d(np.ones((1, 3, 3, 2), dtype), np.ones((1, 3, 3, 2), dtype))
            assert y.item() == 18 and y.dtype == np.dtype(dtype)
    from minigrad.backend import choice
    print(choice.c_is_chosen(), *[str(w.message) for w in told], sep=chr(10))
    """


def fresh(cache, code=CONVOLVE, **environment):
    """A new interpreter with a cache of its own: the lines it prints, and its complaints."""
    settings = {k: v for k, v in os.environ.items() if k != "MINIGRAD_CPU_KERNELS"}
    settings |= {"XDG_CACHE_HOME": str(cache)} | environment
    done = subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True, timeout=300
    )
    return done.stdout.splitlines(), done.stderr


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small C file, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "seven.c"
    path.write_text("int seven(void) { return 7; }\n")
    return path


def kept():
    return sorted(compiler.cache().iterdir())


# ----- Compiling and keeping -----


@needs_cc
def test_a_file_is_compiled_once_and_again_when_anything_changes(source, monkeypatch):
    assert compiler.library(source).seven() == 7
    first = kept()
    assert len(first) == 1
    with monkeypatch.context() as without:
        without.setattr(compiler, "_compile", None)
        assert compiler.library(source).seven() == 7
    source.write_text("int seven(void) { return 5 + 2; }\n")
    assert compiler.library(source).seven() == 7 and len(kept()) == 2
    monkeypatch.setattr(compiler, "FLAGS", [*compiler.FLAGS, "-g"])
    assert compiler.library(source).seven() == 7 and len(kept()) == 3
    monkeypatch.setattr(compiler, "_processor", lambda: "another one")
    assert compiler.library(source).seven() == 7 and len(kept()) == 4


@needs_cc
@pytest.mark.parametrize("content", [b"", b"no library", None])
def test_a_damaged_library_is_built_again(source, content):
    compiler.library(source)
    (path,) = kept()
    whole = path.read_bytes()
    path.unlink()  # this process still has the file that it loaded
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    code = f"from minigrad.backend import compiler; from pathlib import Path; s = Path({str(source)!r})"
    out, err = fresh(compiler.cache().parent, code + "; print(compiler.library(s).seven())")
    assert out == ["7"] and not err
    assert kept() == [path] and path.read_bytes() == whole


@needs_cc
def test_a_cache_that_cannot_be_written_is_told_and_done_without(source, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.warns(RuntimeWarning, match="seven.c is compiled anew in each process.*cache") as told:
        assert compiler.library(source).seven() == 7
    assert len(told) == 1


@needs_cc
def test_processes_that_compile_at_once_do_not_disturb_each_other(source):
    code = f"from minigrad.backend import compiler; from pathlib import Path; s = Path({str(source)!r})"
    command = [sys.executable, "-c", code + "; print(compiler.library(s).seven())"]
    several = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [p.communicate(timeout=300)[0] for p in several] == ["7\n"] * 4
    assert all(path.suffix == ".so" for path in kept())


@needs_cc
def test_an_error_of_the_compiler_is_passed_on(source):
    source.write_text("int seven(void) { return }\n")
    with pytest.raises(RuntimeError, match=r"cannot compile seven\.c.*\n.*error"):
        compiler.library(source)
    assert kept() == []


# ----- Choosing -----


@needs_cc
def test_c_is_the_default_where_it_works(tmp_path):
    assert fresh(tmp_path) == (["True"], "")
    names = sorted(p.name.partition("-")[0] for p in (tmp_path / "minigrad").iterdir())
    assert names == ["convolution", "norm", "pooling"]


def test_numpy_on_request_compiles_nothing(tmp_path):
    assert fresh(tmp_path, MINIGRAD_CPU_KERNELS="numpy") == (["False"], "")
    assert not list(tmp_path.iterdir())


def test_importing_and_other_operations_compile_nothing(tmp_path):
    assert fresh(
        tmp_path, "import minigrad as mg, numpy as np; mg.tanh(np.ones((2, 2)) @ np.ones((2, 2)))"
    ) == (
        [],
        "",
    )
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_numpy_serves_with_one_warning(tmp_path):
    (chosen, *told), errors = fresh(tmp_path, PATH="")
    assert chosen == "False" and len(told) == 1 and not errors
    assert "those in C do not work: no C compiler: there is no `cc` on PATH" in told[0]


def test_c_on_request_without_a_compiler_is_an_error(tmp_path):
    _, errors = fresh(tmp_path, PATH="", MINIGRAD_CPU_KERNELS="c")
    assert "RuntimeError: MINIGRAD_CPU_KERNELS=c, but these kernels do not work: no C compiler" in errors


def test_any_other_choice_is_an_error(tmp_path):
    _, errors = fresh(tmp_path, MINIGRAD_CPU_KERNELS="fortran")
    assert "ValueError: MINIGRAD_CPU_KERNELS=fortran: must be numpy or c" in errors


@needs_cc
@pytest.mark.parametrize("name", ["conv2d", "conv2d_input", "conv2d_filter", "batch_norm_tangent"])
def test_kernels_that_come_out_wrong_are_not_used(monkeypatch, name):
    right = choice.IN_C[name]
    monkeypatch.setitem(choice.IN_C, name, lambda *args: right(*args) * 1.01)
    monkeypatch.delenv("MINIGRAD_CPU_KERNELS", raising=False)
    with pytest.warns(RuntimeWarning, match=f"{name} in float32 comes out wrong"):
        assert not choice.c_is_chosen.__wrapped__()


def test_every_kernel_has_a_place():
    assert all(callable(getattr(choice.KERNELS, name)) for name in choice.generic.NAMES)
    assert choice.KERNELS.matmul is large.matmul
