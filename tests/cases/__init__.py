"""The cases that prove the rules: one table a family, gathered here.

`CASES` has one builder a primitive, `CONSTANTS` those whose derivative is zero, `COMPOSITES` public
operations made of primitives, and `NUMPY_CALLS` calls whose values are compared with NumPy's.
"""

from collections.abc import Callable

from . import (
    arrays,
    complexes,
    cumulative,
    custom,
    elementwise,
    linalg,
    networks,
    order,
    polynomial,
    products,
    reductions,
    special,
    statistics,
)
from .builders import times

FAMILIES = (
    elementwise,
    special,
    arrays,
    reductions,
    cumulative,
    order,
    polynomial,
    statistics,
    products,
    linalg,
    networks,
    complexes,
    custom,
)


def gathered(table: str) -> dict:
    """The union of one table over all families; a name that stands in two of them is a mistake."""
    parts = [getattr(family, table, {}) for family in FAMILIES]
    union = {name: entry for part in parts for name, entry in part.items()}
    assert len(union) == sum(map(len, parts)), f"a name stands twice in {table}"
    return union


CONSTANTS: dict[str, Callable] = gathered("CONSTANTS")
CASES: dict[str, Callable] = gathered("CASES") | {name: times(case) for name, case in CONSTANTS.items()}
COMPOSITES: dict[str, Callable] = gathered("COMPOSITES")
EVERYTHING = CASES | COMPOSITES
NUMPY_CALLS: dict[str, list] = gathered("NUMPY_CALLS")

ONE_DTYPE: set[str] = set().union(*(getattr(family, "ONE_DTYPE", ()) for family in FAMILIES))
THIRD: set[str] = set().union(*(getattr(family, "THIRD", ()) for family in FAMILIES))
