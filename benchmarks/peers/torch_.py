"""PyTorch's jobs: eager in either layout of images, or compiled; forward mode is torch.func's.

`compiled` compiles each job as a whole, but of the gradient what is usual, the loss, with its backward pass.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch.func import jvp, linearize, vjp

from ..problems import LAM, Network, apply, model

VERSIONS: tuple[str, ...] = ("torch",)
Tensors = Sequence[torch.Tensor]
Jobs = dict[str, Callable[[], tuple]]


def network(problem: Network, layout: str, compiled: str = "") -> Jobs:
    f, w, z, labels = at(problem, layout)
    leaves = [t.clone().requires_grad_() for t in w]
    stored: list = []
    may_compile = torch.compile if compiled else lambda job: job
    loss = may_compile(lambda w: F.cross_entropy(f(w), labels))

    def forward() -> tuple:
        with torch.no_grad():
            return (f(w),)

    def gradient() -> tuple:
        return (torch.autograd.grad(loss(leaves), leaves),)

    def at_w() -> tuple:
        """torch.func's linearization, a traced graph; the reverse pass; the Hessian map."""
        if not stored:
            y, back = vjp(f, w)
            stored.extend([linearize(f, w)[1], back, quadratic(y, labels)[1]])
        return tuple(stored)

    def stored_ggn() -> tuple:
        J, back, H = at_w()
        return back(H(J(z)))

    def ggn() -> tuple:
        y, back = vjp(f, w)
        _, H = quadratic(y, labels)
        return back(H(jvp(f, (w,), (z,))[1]))

    def gradient_and_ggn() -> tuple:
        y, back = vjp(f, w)
        g, H = quadratic(y, labels)
        return back(g + H(jvp(f, (w,), (z,))[1]))

    def curveball() -> tuple:
        # linearize would save two forward passes, but traces for seconds whenever the weights have changed.
        y, back = vjp(f, w)
        g, H = quadratic(y, labels)
        Jz = jvp(f, (w,), (z,))[1]
        HJz = H(Jz)
        dz = [d + LAM * t for d, t in zip(*back(g + HJz), z, strict=True)]
        Jdz = jvp(f, (w,), (dz,))[1]
        return dz, Jz, Jdz, torch.stack(model(g, z, Jz, HJz, dz, Jdz, H(Jdz)))

    jobs = {
        "forward": may_compile(forward),
        "gradient": gradient,
        "jvp": may_compile(lambda: (jvp(f, (w,), (z,))[1],)),
        "GGN product": may_compile(ggn),
        "gradient + GGN product": may_compile(gradient_and_ggn),
        "CurveBall step": may_compile(curveball),
    }
    if compiled:  # a stored linearization is a graph already
        return jobs
    return jobs | {"J(z), stored": lambda: (at_w()[0](z),), "GGN product, stored": stored_ggn}


def at(
    problem: Network, layout: str
) -> tuple[Callable, list[torch.Tensor], list[torch.Tensor], torch.Tensor]:
    """The network as a function of its weights, the weights, the direction and the labels."""
    memory = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}[layout]

    def tensor(a: np.ndarray) -> torch.Tensor:
        """Images NHWC to NCHW, filters OHWI to OIHW, matrices (in, out) to (out, in)."""
        if a.ndim == 4:
            return torch.from_numpy(a).permute(0, 3, 1, 2).contiguous(memory_format=memory)
        return torch.from_numpy(a).T.contiguous() if a.ndim == 2 else torch.from_numpy(a)

    weights, direction, x, labels = problem.arrays()
    images = tensor(x) if x.ndim == 4 else torch.from_numpy(x)
    f = lambda w: apply(problem.layers, Operations, images, iter(w))  # noqa: E731
    return f, [tensor(a) for a in weights], [tensor(a) for a in direction], torch.from_numpy(labels)


class Operations:
    relu, tanh, linear = F.relu, torch.tanh, F.linear

    @staticmethod
    def conv(x: torch.Tensor, w: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
        return F.conv2d(x, w, stride=stride, padding=padding)

    @staticmethod
    def norm(x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-5)

    @staticmethod
    def subsample(x: torch.Tensor, stride: int, extra: int) -> torch.Tensor:
        return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, 0, extra))

    @staticmethod
    def mean(x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3))


def quadratic(y: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Callable]:
    """Gradient and Hessian map of softmax cross entropy, in closed form as minigrad has them."""
    p, n = torch.softmax(y, 1), len(y)
    g = (p - F.one_hot(labels, y.shape[1])) / n
    return g, lambda v: (p * v - p * (p * v).sum(1, keepdim=True)) / n


def plain(result: tuple) -> list[np.ndarray]:
    def array(t: torch.Tensor) -> np.ndarray:
        a = t.detach().numpy()
        return a.transpose(0, 2, 3, 1) if a.ndim == 4 else a

    def vector(tensors: Tensors) -> np.ndarray:
        return np.concatenate([(a.T if a.ndim == 2 else a).ravel() for a in map(array, tensors)])

    return [array(part) if isinstance(part, torch.Tensor) else vector(part) for part in result]
