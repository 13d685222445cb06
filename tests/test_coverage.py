"""Each operation is proved and on the page, as is all that HIPS autograd differentiates."""

import subprocess
import sys

import numpy as np
import operations
import pytest
from cases import CASES, EVERYTHING

import minigrad as mg
from minigrad.testing import check_grads


def test_every_public_operation_has_a_case():
    assert [name for name in operations.public_names() if operations.case_of(name) is None] == []


def test_the_readme_counts_the_operations_right():
    assert (
        f"[{len(operations.public_names())} operations]"
        in (operations.PAGE.parents[1] / "README.md").read_text()
    )


def test_the_page_of_operations_is_up_to_date():
    assert operations.PAGE.read_text() == operations.page(), "run python tests/operations.py"


# ----- HIPS autograd's table of reverse rules, as it is when the test runs -----


def autograd_names() -> list[str]:
    """The primitives that have a vjp rule once autograd.numpy is imported, one line each."""
    pytest.importorskip("autograd")
    program = (
        "import autograd.numpy, autograd.core as c; print(*(p.__name__ for p in c.primitive_vjps), sep='\\n')"
    )
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()


OTHER_NAMES = {
    "absolute": "abs", "amax": "max", "amin": "min", "__getitem__": "getitem", "array_from_args": "array",
    "_array_from_scalar_or_array": "array", "concatenate_args": "concatenate", "untake": "scatter",
    "sparse_add": "scatter", "mut_add": "add", "scalar_mul": "multiply", "inner_prod": "vecdot",
    "covector": "conjugate", "ravel": "reshape", "make_diagonal": "diagflat", "truncate_pad": "fft.fft",
    "dot_adjoint_0": "dot", "dot_adjoint_1": "dot", "tensordot_adjoint_0": "tensordot",
    "tensordot_adjoint_1": "tensordot",
}  # fmt: skip

# What autograd needs primitives for is a property of trees here: any structure goes in and comes out.
CONTAINERS = {
    "make_sequence": lambda a, b: mg.stack([a, b]).sum() + (a, b)[0].sum() ** 2,
    "_make_dict": lambda a, b: {"x": a * b, "y": a}["x"],
    "container_take": lambda a, b: [a, b][0] * [a, b][1],
    "container_untake": lambda a, b: mg.grad(lambda t: (t[0] * b).sum())((a, b))[0] * a,
    "sequence_extend_right": lambda a, b: sum((*(a, b), a)),
    "sequence_extend_left": lambda a, b: sum((a, *[b, a])),
}


def home_of(name: str) -> str | None:
    """The public name here of what autograd calls `name`."""
    candidates = [OTHER_NAMES.get(name, name)] + [f"{space}.{name}" for space in ("linalg", "fft", "special")]
    public = operations.public_names()
    return next((n for n in candidates if n in public or n in CASES), None)


def test_every_rule_of_autograd_has_a_proven_one_here():
    names = autograd_names()
    assert len(names) >= 150
    missing = [n for n in names if n not in CONTAINERS and home_of(n) is None]
    assert missing == []
    for name in set(names) - set(CONTAINERS):
        assert operations.case_of(home_of(name)) in EVERYTHING


@pytest.mark.parametrize("name", CONTAINERS)
def test_structures_of_arrays_are_differentiated_in_every_mode(name):
    rng = np.random.default_rng(0)
    check_grads(CONTAINERS[name], (rng.standard_normal(3), rng.standard_normal(3)), order=2)
