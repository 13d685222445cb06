"""`@given_rule`: a test that draws arguments and runs every check on a rule.

Number of examples, seeds and shrinking are hypothesis's, by its settings.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from .orders import MODES, check_rule
from .rule import Case, Rule
from .strategies import seeds

__all__ = ["cases", "given_rule"]


def given_rule(
    rule: Any,
    args: st.SearchStrategy | None = None,
    kwargs: dict | Callable[..., dict] | None = None,
    *,
    order: int = 2,
    modes: Sequence[str] = MODES,
    analytic: bool = False,
    rtol: float | None = None,
) -> Callable[[Callable], Callable[[], None]]:
    """Decorator: a test that draws arguments of `rule`, runs `check_rule` on them, and then the function.

    `rule` is a function that minigrad differentiates, or a `Rule`; `args` a strategy of tuples of arrays or
    trees. `kwargs` gives keyword arguments that are no arrays: a dict of strategies, or a function from the
    drawn arguments to one (an axis depends on the array). Where more hangs together, `rule` is a strategy of
    `Case`s instead, such as `cases` makes. The test function has no parameters, or one: the `Case`.
    The other parameters are those of `check_rule`.

    >>> from minigrad.testing import arrays, axes
    >>> @given_rule(np.sum, st.tuples(arrays()), lambda x: {"axis": axes(x.ndim)})
    ... def test_sum():
    ...     pass
    >>> test_sum()
    """
    if isinstance(rule, st.SearchStrategy):
        drawn = rule
    elif args is None:
        raise TypeError("given_rule needs a strategy of argument tuples beside the rule: given_rule(f, args)")
    else:
        drawn = _drawn(rule, args, kwargs or {}, analytic)

    def decorate(test: Callable) -> Callable[[], None]:
        wants_case = bool(inspect.signature(test).parameters)

        def run(case: Case, seed: int) -> None:
            check_rule(case.f, case.args, order, modes, case.analytic, seed, rtol)
            test(case) if wants_case else test()

        run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
        run.__module__ = test.__module__
        vars(run).update(vars(test))  # marks and settings given to the function below
        return given(case=drawn, seed=seeds())(run)

    return decorate


@st.composite
def _drawn(draw: Callable, rule: Callable, args: st.SearchStrategy, kwargs: Any, analytic: bool) -> Case:
    xs = tuple(draw(args))
    params = {name: draw(s) for name, s in (kwargs(*xs) if callable(kwargs) else kwargs).items()}
    return Case(bind(rule, params), xs, analytic)


def bind(rule: Callable, params: dict) -> Callable:
    if not params:
        return rule
    return rule.bind(**params) if isinstance(rule, Rule) else partial(rule, **params)


@st.composite
def cases(draw: Callable, build: Callable[[Callable, np.random.Generator], Case]) -> Case:
    """Cases by a function `build(draw, rng) -> Case`: structure by `draw(strategy)`, numbers by `rng`.

    >>> from minigrad.testing import shapes
    >>> @given_rule(cases(lambda draw, rng: Case(np.cos, (rng.standard_normal(draw(shapes())),))))
    ... def test_cos():
    ...     pass
    >>> test_cos()
    """
    return build(draw, np.random.default_rng(draw(seeds())))
