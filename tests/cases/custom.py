"""Functions with a derivative of their own: the node they record, as value and as derivative."""

from collections.abc import Callable
from typing import Any

import numpy as np

import minigrad as mg

from .builders import Case, layout, normal, shapes


@mg.custom_jvp
def wave(x: Any, y: Any) -> Any:
    return mg.sin(x) * y


@wave.defjvp
def wave_rule(primals: Any, tangents: Any) -> Any:
    (x, y), (dx, dy) = primals, tangents
    return wave(x, y), mg.cos(x) * y * dx + mg.sin(x) * dy


@mg.custom_vjp
def swing(x: Any) -> Any:
    return mg.sin(x) * x


swing.defvjp(lambda x: (mg.sin(x) * x, x), lambda x, ct: (ct * (mg.cos(x) * x + mg.sin(x)),))


@mg.custom_vjp
def swings(x: Any, y: Any) -> Any:
    return {"sum": x + mg.sin(y), "product": x * y}


swings.defvjp(
    lambda x, y: (swings(x, y), [x, {"y": y}]),
    lambda res, ct: (
        ct["sum"] + ct["product"] * res[1]["y"],
        ct["sum"] * mg.cos(res[1]["y"]) + ct["product"] * res[0],
    ),
)

swing_again = mg.checkpoint(lambda x: mg.sin(x) * x)
swings_again = mg.checkpoint(lambda x, y: {"sum": x + mg.sin(y), "product": x * y})


def with_tangent(f: Callable) -> Callable:
    """f(x) and its tangent along t: the node itself is differentiated, in t and in its residuals."""

    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes())
        x, t = (layout(draw, normal(rng, shape)) for _ in range(2))
        return Case(lambda x, t: mg.add(*mg.jvp(f, (x,), (t,))), (x, t))

    return case


def pair(f: Callable) -> Callable:
    def case(draw: Callable, rng: np.random.Generator) -> Case:
        shape = draw(shapes())
        args = tuple(layout(draw, normal(rng, shape)) for _ in range(2))
        return Case(lambda x, y: tuple(f(x, y).values()), args)

    return case


def custom_jvp_case(draw: Callable, rng: np.random.Generator) -> Case:
    shape = draw(shapes())
    return Case(lambda x, y: wave(x, y), tuple(layout(draw, normal(rng, shape)) for _ in range(2)))


CASES = {"custom_vjp": with_tangent(swing), "checkpoint": with_tangent(swing_again)}
COMPOSITES = {"custom_jvp": custom_jvp_case, "custom_vjp2": pair(swings), "checkpoint2": pair(swings_again)}
THIRD = {"custom_jvp", "custom_vjp", "custom_vjp2", "checkpoint", "checkpoint2"}
ONE_DTYPE = THIRD
