"""curvlinops' job: a product with its Gauss-Newton operator, which runs the PyTorch model each time."""

import torch
from curvlinops import GGNLinearOperator
from torch import nn

from .torch_ import Jobs, Network, at, plain

VERSIONS = ("curvlinops-for-pytorch", "torch")
__all__ = ["VERSIONS", "network", "plain"]


def network(problem: Network) -> Jobs:
    """For networks of linear layers and tanh."""
    _, w, z, labels = at(problem, "contiguous")
    model = nn.Sequential(
        *(nn.Tanh() if layer == ("tanh",) else nn.Linear(*layer[1:]) for layer in problem.layers)
    )
    parameters = list(model.parameters())
    with torch.no_grad():
        for p, value in zip(parameters, w, strict=True):
            p.copy_(value)
    x = torch.from_numpy(problem.arrays()[2])
    G = GGNLinearOperator(model, nn.CrossEntropyLoss(), parameters, [(x, labels)], check_deterministic=False)
    return {"GGN product": lambda: (G @ z,)}
