"""Looking at derivative passes: recordings, tables, programs, reports, and what rules and layers cost.

`trace` and `diff` share their names with NumPy's functions of arrays, and are those, too, for arrays.
"""

from typing import Any

from ..ops.diagonals import trace as _matrix_trace
from ..ops.differences import diff as _difference
from .explain import explain
from .nans import debug_nans
from .recording import Recording
from .show import show_rule
from .summary import summary
from .table import Table, compare

__all__ = ["Recording", "Table", "debug_nans", "diff", "explain", "show_rule", "summary", "trace"]


def trace(x: Any = None, offset: int = 0, axis1: int = 0, axis2: int = 1, dtype: Any = None) -> Any:
    """`with mg.trace() as t:` records every derivative pass inside; see `Recording`. Nothing else changes.

    With an array, the sum of its diagonal, as `np.trace`.

    >>> import numpy as np, minigrad as mg
    >>> with mg.trace() as t:
    ...     g = mg.grad(lambda x: np.sum(x * x))(np.ones(3))
    >>> t.count("primal"), t.count("vjp"), float(mg.trace(np.eye(3)))
    (1, 1, 3.0)
    """
    return Recording() if x is None else _matrix_trace(x, offset, axis1, axis2, dtype)


def diff(x: Any, n: Any = 1, axis: int = -1, prepend: Any = None, append: Any = None) -> Any:
    """`mg.diff(t1, t2)`: two recordings side by side, with ratios. With an array, `np.diff`'s differences.

    >>> import numpy as np, minigrad as mg
    >>> mg.diff(np.array([1.0, 4.0, 9.0]))
    array([3., 5.])
    """
    if not isinstance(x, Recording):
        return _difference(x, n, axis, prepend, append)
    if not isinstance(n, Recording):
        raise TypeError(
            f"diff: a recording is compared with another, not with {type(n).__name__}: mg.diff(t1, t2)"
        )
    return compare(x, n)


# NumPy's functions under these names.
trace.__wrapped__, diff.__wrapped__ = _matrix_trace, _difference  # type: ignore[attr-defined]
