"""The errors minigrad raises, each one line that names the thing and the way out.

Wrong shapes and dtypes raise ValueError and TypeError, as in NumPy; the errors here are the ones
only a differentiating library has. All of them are TypeErrors or RuntimeErrors to a caller who does not care.
"""


class LeakedTracerError(RuntimeError):
    """A tracer was used after the transformation that made it had ended."""


class NonlinearError(TypeError):
    """A recorded tangent program met an operation that is not linear in its tangents."""


class MissingRuleError(TypeError):
    """A primitive has no rule for the derivative that was asked for."""


class MixedBackendError(TypeError):
    """Arrays of two libraries met in one operation."""
