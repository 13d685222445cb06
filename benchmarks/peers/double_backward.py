"""CurveBall in PyTorch as its authors wrote it: forward mode by differentiating twice backwards.

Written from the equations of their implementation: J t is the derivative, in v along t, of the vector Jᵀ v.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.autograd import grad

from ..problems import LAM, Network, model
from .torch_ import Jobs, Tensors, at, plain

VERSIONS = ("torch",)
__all__ = ["VERSIONS", "network", "plain"]


def network(problem: Network, layout: str) -> Jobs:
    f, w, z, labels = at(problem, layout)
    w = [t.requires_grad_() for t in w]
    stored: list = []

    def quadratic(y: torch.Tensor) -> tuple[torch.Tensor, Callable]:
        """Gradient and Hessian map of the loss, differentiated twice at detached outputs."""
        outputs = y.detach().requires_grad_()
        (g,) = grad(F.cross_entropy(outputs, labels), outputs, create_graph=True)
        return g.detach(), lambda v: grad(g, outputs, v, retain_graph=True)[0]

    def stored_jvp() -> tuple:
        if not stored:
            stored.append(f(w))
        return (fmad(stored[0], w, z),)

    def gradient_and_ggn() -> tuple:
        y = f(w)
        g, H = quadratic(y)
        return (grad(y, w, g + H(fmad(y, w, z))),)

    def curveball() -> tuple:
        y = f(w)
        g, H = quadratic(y)
        Jz = fmad(y, w, z)
        HJz = H(Jz)
        back = grad(y, w, g + HJz, retain_graph=True)
        dz = [d + LAM * t for d, t in zip(back, z, strict=True)]
        Jdz = fmad(y, w, dz)
        return dz, Jz, Jdz, torch.stack(model(g, z, Jz, HJz, dz, Jdz, H(Jdz)))

    return {
        "jvp": lambda: (fmad(f(w), w, z),),
        "J(z), stored": stored_jvp,
        "gradient + GGN product": gradient_and_ggn,
        "CurveBall step": curveball,
    }


def fmad(y: torch.Tensor, w: Tensors, t: Tensors) -> torch.Tensor:
    """J t, on the graph that led to y."""
    v = torch.zeros_like(y, requires_grad=True)
    return grad(grad(y, w, v, create_graph=True), v, t)[0]
