"""Check derivative rules of any library with minigrad.testing: one of autograd's, and two written by hand.

python examples/check_a_rule.py
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.testing import Library, Rule, RuleError, check_rule

# ----- A library: its jvp and vjp, and every function it differentiates can be checked, to any order -----


def autograd_jvp(f: Callable, primals: tuple, tangents: tuple) -> tuple:
    from autograd import make_jvp

    return make_jvp(lambda xs: f(*xs))(primals)(tangents)


def autograd_vjp(f: Callable, *primals: Any) -> tuple:
    from autograd import make_vjp

    pull, y = make_vjp(lambda xs: f(*xs))(primals)
    return y, pull


AUTOGRAD = Library(autograd_jvp, autograd_vjp)


# ----- Rules by hand: forward and backward in plain NumPy -----


def layer_norm(x: np.ndarray) -> np.ndarray:
    """Rows of mean zero and variance one."""
    deviation = x - x.mean(-1, keepdims=True)
    return deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + 1e-3)


def backward(c: np.ndarray, x: np.ndarray, centred: bool) -> np.ndarray:
    deviation = x - x.mean(-1, keepdims=True)
    size = np.sqrt((deviation**2).mean(-1, keepdims=True) + 1e-3)
    y = deviation / size
    mean = c.mean(-1, keepdims=True) if centred else 0.0
    return (c - mean - y * (c * y).mean(-1, keepdims=True)) / size


def layer_norm_vjp(primals: tuple) -> tuple:
    (x,) = primals
    return layer_norm(x), lambda c: (backward(c, x, centred=True),)


def forgetful_vjp(primals: tuple) -> tuple:
    """As above, but for the mean, which depends on x, too."""
    (x,) = primals
    return layer_norm(x), lambda c: (backward(c, x, centred=False),)


right = Rule(layer_norm, vjp=layer_norm_vjp, name="layer_norm")
forgetful = Rule(layer_norm, vjp=forgetful_vjp, name="layer_norm without the mean's part")


def main() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3))

    try:
        import autograd.numpy as anp
    except ImportError:
        print("autograd is not installed (pip install autograd): its rules are left out")
    else:
        check_rule(AUTOGRAD.rule(anp.tanh), (x,), order=3)
        print("autograd's tanh: right to order 3, forward, reverse and mixed")
        check_rule(AUTOGRAD._replace(jvp=None).rule(anp.linalg.inv), (2 * np.eye(3) + 0.1 * x[:1],))
        print("autograd's linalg.inv, reverse mode (it has no other): right to order 2")

    check_rule(right, (x,))
    print("layer norm by hand: right")

    try:
        check_rule(forgetful, (x,))
    except RuleError as e:
        print("layer norm by hand, without one term:", e, sep="\n\n")


if __name__ == "__main__":
    main()
