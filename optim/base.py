"""What every optimizer shares: one flat vector `w` that the model's arrays view, a step, a plan, a state.

So an optimizer's code is the paper's algebra on vectors: `w += z` moves the whole model.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

import minigrad as mg
from minigrad.core import LOCAL, aval_str, is_float
from minigrad.tree import tree_assign, tree_paths

Array = Any
Tree = Any
Predict = Callable[[Tree], Array]
Loss = Callable[[Array], Array]


@dataclass(frozen=True)
class StepInfo:
    """What one step did: its number from 0, the loss before it (with weight decay), the passes it ran."""

    step: int
    loss: float
    passes: dict[str, int]


class Optimizer:
    """Base class. `model` is any pytree of floating-point arrays of one dtype.

    `w` is all of them in one vector; `model` the live tree whose leaves are views of `w`. A Module stays the
    same object; of another tree a new one is made. `weight_decay` wd adds wd/2 |w|² to the loss, exactly:
    wd w to the gradient, wd to the curvature. Raises TypeError for leaves that are not floating point or
    differ in dtype, ValueError for an array that the tree holds twice.
    """

    def __init__(self, model: Tree, weight_decay: float = 0.0) -> None:
        if not 0 <= weight_decay < math.inf:
            raise ValueError(
                f"{self.name}: weight_decay={weight_decay} must not be negative, infinite or NaN"
            )
        leaves, paths = mg.tree_leaves(model), tree_paths(model)
        seen: dict[int, str] = {}
        for path, x in zip(paths, leaves, strict=True):
            if not is_float(x):
                raise TypeError(
                    f"{self.name}: model{path} is {aval_str(x)}: parameters must be floating point"
                )
            if id(x) in seen:
                raise ValueError(
                    f"{self.name}: model{seen[id(x)]} and model{path} are the same array, and one "
                    "vector cannot hold it for both: let the tree hold it once and `predict` use it twice"
                )
            seen[id(x)] = path
        self.w, self.unravel = mg.ravel(model)
        live = self.unravel(self.w)
        # A Module is changed in place, so that the user's own reference sees every step.
        self.model = tree_assign(model, mg.tree_leaves(live)) if hasattr(model, "forward") else live
        self.weight_decay = float(weight_decay)
        self.count = 0

    @property
    def name(self) -> str:
        return type(self).__name__

    def step(self, predict: Predict, loss: Loss) -> StepInfo:
        """One step on one mini-batch: `predict(tree) -> outputs`, `loss(outputs) -> scalar`.

        Raises FloatingPointError when the loss or gradient is not finite, with parameters and Buffers as they
        were.
        """
        raise NotImplementedError

    def plan(self, step: int | None = None) -> dict[str, Any]:
        """The passes that step number `step` runs, by kind: primal, jvp, vjp; by default the next step.

        None for a kind whose number is decided in the step.

        >>> opt = Optimizer({"w": np.ones(2)})
        >>> opt.plan()
        {'primal': 1, 'jvp': 0, 'vjp': 1}
        """
        return {"primal": 1, "jvp": 0, "vjp": 1}

    def state_dict(self) -> dict[str, Any]:
        """All that a bit-exact continuation needs: copies of the vectors, counters, the model's Buffers."""
        state: dict[str, Any] = {"optimizer": self.name}
        for key, value in self._state().items():
            state[key] = value.copy() if hasattr(value, "copy") else value
        state["buffers"] = {path: b.value for path, b in mg.tree_buffers(self.model)}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues from `state`, on the device where the parameters are.

        Raises ValueError when the state is another optimizer's or another model's.
        """
        mine = self.state_dict()
        if state.get("optimizer") != self.name:
            raise ValueError(f"{self.name}: this is the state of {state.get('optimizer')!r}")
        for part, own, other in (
            ("state", mine, state),
            ("buffers", mine["buffers"], state.get("buffers", {})),
        ):
            if own.keys() != other.keys():
                raise ValueError(
                    f"{self.name}: {part} holds {sorted(other)}, this optimizer has {sorted(own)}"
                )
            for key, value in own.items():
                if hasattr(value, "dtype") and (value.shape, value.dtype) != (
                    other[key].shape,
                    other[key].dtype,
                ):
                    raise ValueError(
                        f"{self.name}: {key} is {aval_str(other[key])} in the state, "
                        f"but {aval_str(value)} here: it belongs to another model"
                    )
        for key, value in self._state().items():
            if hasattr(value, "dtype"):
                value[...] = beside(value, state[key])  # in place: the model's arrays are views of w
            else:
                setattr(self, key, state[key])
        for path, b in mg.tree_buffers(self.model):
            b.value = beside(b.value, state["buffers"][path])

    def _state(self) -> dict[str, Any]:
        """The live attributes that make up the state; vectors are written in place on loading."""
        return {"w": self.w, "count": self.count}

    def _loss_now(self, predict: Predict, loss: Loss) -> float:
        """The loss at the parameters as they are: one primal pass."""
        recorder = LOCAL.recorder
        with nullcontext() if recorder is None else recorder.running("primal", "the loss", "primal"):
            return float(loss(predict(self.model)))

    def _done(self, info: StepInfo, **vectors: Array) -> Any:
        """`info`, told to a recording if there is one, with the norms of `vectors`."""
        if (recorder := LOCAL.recorder) is not None:
            values = {k: v for k, v in vars(info).items() if k != "passes"}
            norms = {k: math.sqrt(dot(v, v)) for k, v in vectors.items()}
            recorder.step({"optimizer": self.name, **values, "norms": norms})
        return info

    @contextmanager
    def _buffers_back_on_error(self) -> Iterator[list[Any]]:
        """Gives the Buffers' values from before a step, and puts them back when the step fails."""
        buffers = [b for _, b in mg.tree_buffers(self.model)]
        before = [b.value for b in buffers]
        try:
            yield before
        except BaseException:
            for b, value in zip(buffers, before, strict=True):
                b.value = value
            raise

    def _check_loss(self, value: float) -> None:
        if not math.isfinite(value):
            raise FloatingPointError(
                f"{self.name} step {self.count}: the loss is {value}; parameters are as before the step: "
                "look at the data, lower the learning rate, or raise the damping"
            )

    def _check_gradient(self, gg: float) -> None:
        if not math.isfinite(gg):
            raise FloatingPointError(
                f"{self.name} step {self.count}: the loss is finite, but its gradient is not; parameters "
                "are as before the step: look for sqrt, log or division at 0"
            )


def beside(value: Any, x: Any) -> Any:
    """`x` on the device of `value`, where both are arrays."""
    if not hasattr(value, "dtype"):
        return x
    return mg.to_device(x, "cpu" if isinstance(value, (np.ndarray, np.generic)) else "cuda")


def dot(a: Array, b: Array) -> float:
    """⟨a, b⟩ of two arrays of one shape, summed in float64 whatever their dtype."""
    xp = mg.backend_of(a, b).xp
    return float(xp.einsum("i,i->", xp.ravel(a), xp.ravel(b), dtype=np.float64))
