"""Checks of derivative rules, of minigrad's and of any library's, and strategies for what to check them at.

`check_rule(f, args)` at one point; `@given_rule(f, args)` at many. The checks need nothing but NumPy;
`given_rule` and the strategies need hypothesis.
"""

from .identities import check_constant, check_dot, check_dtypes, check_jvp, check_linear, check_vjp
from .orders import check_grads, check_hvp, check_rule
from .report import RuleError, strided
from .rule import Case, Library, Rule
from .run import directions

_NEED_HYPOTHESIS = """
    Conv Layer arrays axes broadcastable_arrays broadcastable_shapes cases convolutions directions_like
    distinct dtypes fractional given_rule inside layouts nonzero normal paddings parameter_trees poolings
    positive seeds shapes tied
""".split()

try:
    from .given import cases, given_rule
    from .strategies import *  # noqa: F403
except ModuleNotFoundError as e:
    if str(e.name).partition(".")[0] != "hypothesis":
        raise

    def __getattr__(name: str) -> object:
        if name in _NEED_HYPOTHESIS:
            raise ImportError(f"minigrad.testing.{name} needs hypothesis: pip install hypothesis")
        raise AttributeError(f"module 'minigrad.testing' has no attribute {name!r}")
