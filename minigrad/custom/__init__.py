"""Functions with a derivative of their own: `custom_jvp`, `custom_vjp`, and `checkpoint`.

Each makes its function one step of the program (`function.py`). `custom_jvp` puts your rule in the place of
the engine's; the other two record one linear node, whose two directions are programs on its residuals
(`node.py`).
"""

from .derivatives import custom_jvp, custom_vjp
from .recompute import checkpoint
