"""float32 against float64 in CurveBall: in its derivative passes, and in its 2x2 system for rho and beta.

The system's directions z and dz differ in length by orders of magnitude and become nearly parallel. Compared
are all four combinations; "2x2 in float32" means dot products in float32 and a pseudo-inverse in float32.
"""

import sys
from itertools import count, product
from typing import Any

import numpy as np
from data import batches, epoch_rng, load
from lab import Experiment, Place, Results, Settings, main, markdown, spread
from run import smooth

import minigrad as mg
from minigrad import nn, optim
from minigrad.optim.base import dot

FULL: Settings = {
    "data": "mnist",
    "batch_size": 128,
    "steps": 938,  # two epochs
    "compared_every": 20,
    "seeds": [0, 1, 2],
    "lams": [1.0, 1e-4],
    "kappa": 1000.0,
}
FAST: Settings = {"data": "digits", "batch_size": 32, "steps": 60, "compared_every": 5, "seeds": [0]}
WAYS = [f"passes {p}, 2x2 {s}" for p, s in product(("float32", "float64"), repeat=2)]


def runs(settings: Settings) -> dict[str, Settings]:
    own = {k: v for k, v in settings.items() if k != "lams"}
    problems: dict[str, Settings] = {"two parameters": {"lam": 0.0}}
    problems |= {f"{settings['data']} at λ = {lam:g}": {"lam": lam} for lam in settings["lams"]}
    return {
        f"{title}, {way}": own | problem | {"passes": way.split()[1][:-1], "system": way.split()[3]}
        for title, problem in problems.items()
        for way in WAYS
    }


def run(settings: Settings, place: Place) -> dict[str, Any]:
    return training(settings, place) if settings["lam"] else plane(settings)


# ----- CurveBall's step with every number in sight -----


def step(w: Any, z: Any, lam: float, predict: Any, loss: Any, system: str) -> tuple[Any, ...]:
    """One step's loss, system A, b, coefficients c = (-beta, rho), and dz; passes in the dtype of `w`."""
    y, J = mg.linearize(predict, w)
    value, g, H = mg.quadratic(loss, y)
    Jz = J(z)
    HJz = H(Jz)
    dz = J.T(g + HJz) + lam * z
    Jdz = J(dz)
    HJdz = H(Jdz)
    inner = dot if system == "float64" else dot32
    a11 = inner(Jdz, HJdz) + lam * inner(dz, dz)
    a12 = inner(Jz, HJdz) + lam * inner(dz, z)
    a22 = inner(Jz, HJz) + lam * inner(z, z)
    A, b = np.array([[a11, a12], [a12, a22]]), np.array([inner(g, Jdz), inner(g, Jz)])
    if not np.isfinite(A).all():
        c = np.full(2, np.nan)  # the pseudo-inverse would raise, the minimum would be no step
    elif system == "float64":
        c = optim.QuadraticModel(A, b).minimum()
    else:
        c = -np.linalg.pinv(A.astype(np.float32)) @ b.astype(np.float32)
    return float(value), A, b, c, dz


def dot32(a: Any, b: Any) -> float:
    """⟨a, b⟩ in float32, whatever the arrays' dtype."""
    return float(np.vdot(a.astype(np.float32), b.astype(np.float32)))


# ----- Two parameters: after two steps CurveBall is at the minimum -----


def plane(settings: Settings) -> dict[str, Any]:
    """|g| after two steps on quadratics of two parameters, relative to |g| before; a seed each."""
    left = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        q, _ = np.linalg.qr(rng.normal(size=(2, 2)))
        A = (np.sqrt([0.5, settings["kappa"] / 2])[:, None] * q).astype(settings["passes"])
        t = rng.normal(size=2).astype(settings["passes"])
        w = np.ones(2, settings["passes"])
        z = w * 0
        before = gradient(A, t, w)
        for _ in range(2):
            predict, loss = lambda w, A=A: mg.matmul(A, w), nn.SquaredError(t, "sum")
            _, _, _, c, dz = step(w, z, 0.0, predict, loss, settings["system"])
            z = (c[1] * z + c[0] * dz).astype(w.dtype)
            w = w + z
        left.append(gradient(A, t, w) / before)
    return {"left": left}


def gradient(A: Any, t: Any, w: Any) -> float:
    """|g| at `w`, computed in float64."""
    A, t, w = (a.astype(np.float64) for a in (A, t, w))
    return float(np.linalg.norm(2 * A.T @ (A @ w - t)))


# ----- A network: what the steps miss of the model's decrease, and what training makes of it -----


def training(settings: Settings, place: Place) -> dict[str, Any]:
    """The losses of a run for each seed, and the share of the model's decrease that its steps miss."""
    images = load(settings["data"], place.data_dir)
    dtype, rule = np.dtype(settings["passes"]), optim.LambdaRule()
    losses, missed, failed = [], [], []
    for seed in settings["seeds"]:
        model = nn.build("mlp", images.train_x.shape[1:], len(images.classes), seed, "float64")
        vector, unravel = mg.ravel(model)
        w, lam, own = vector.astype(dtype), settings["lam"], []
        z = w * 0
        for k, (x, labels) in zip(range(settings["steps"]), forever(images, settings, seed), strict=False):
            loss = nn.SoftmaxCrossEntropy(labels)
            value, A, b, c, dz = step(w, z, lam, network(unravel, x), loss, settings["system"])
            if not np.isfinite([value, *c]).all():
                failed.append(f"seed {seed}: loss {value}, rho {c[1]}, beta {-c[0]} in step {k}")
                break
            if k and k % settings["compared_every"] == 0:
                missed.append(shortfall(w, z, dz, lam, network(unravel, x), loss, c))
            z = (c[1] * z + c[0] * dz).astype(dtype)
            w = w + z
            own.append(value)
            if rule.due(k):
                after = float(loss(network(unravel, x)(w)))
                lam = rule(lam, (after - value) / float(b @ c + 0.5 * c @ A @ c))
        losses.append(own)
    return {"losses": losses, "missed": missed, "failed": failed}


def network(unravel: Any, x: Any) -> Any:
    """The outputs for `x` as a function of the vector of parameters, in that vector's dtype."""
    return lambda w: unravel(w)(x.astype(w.dtype), train=True)


def forever(images: Any, settings: Settings, seed: int) -> Any:
    """Batches of one epoch after the other."""
    for epoch in count():
        yield from batches(images, settings["batch_size"], epoch_rng(seed, epoch), dtype="float64")


def shortfall(w: Any, z: Any, dz: Any, lam: float, predict: Any, loss: Any, c: Any) -> float:
    """1 - m(c) / min m: the share of the decrease in the plane of z and dz that c misses, all in float64."""
    P = np.stack([dz, z]).astype(np.float64)
    y, J = mg.linearize(predict, w.astype(np.float64))
    _, g, H = mg.quadratic(loss, y)
    JP = [J(p) for p in P]
    A = np.array([[dot(p, H(q)) for p in JP] for q in JP]) + lam * P @ P.T
    m = optim.QuadraticModel(A, np.array([dot(g, p) for p in JP]))
    return 1 - m(c) / m(m.minimum())


# ----- What came out -----


def tables(results: Results) -> dict[str, str]:
    planes, networks = [], []
    for name, run in results.items():
        if "left" in run:
            way = name.partition(", ")[2]
            planes.append([way, *(f"{f(run['left']):.0e}" for f in (np.median, np.max))])
        else:
            shares = [f"{f(run['missed']):.0e}" for f in (np.median, np.max)] if run["missed"] else "--"
            last = [float(np.mean(own[-100:])) for own in run["losses"] if own]
            networks.append([name, *shares, spread(last, 4), len(run["failed"])])
    return {
        "two parameters": markdown(["", "gradient left after two steps, median", "largest"], planes),
        "network": markdown(
            ["", "decrease missed, median", "largest", "loss of the last 100 steps", "failed"], networks
        ),
    }


def draw(results: Results) -> Any:
    from matplotlib.figure import Figure

    runs = {name: run for name, run in results.items() if "losses" in run}
    problems = list(dict.fromkeys(name.partition(", ")[0] for name in runs))
    figure = Figure(figsize=(5 * len(problems), 7), layout="constrained")
    axes = figure.subplots(2, len(problems), squeeze=False)
    for name, run in runs.items():
        problem, _, way = name.partition(", ")
        k, (top, bottom) = WAYS.index(way), axes[:, problems.index(problem)]
        style = {"label": way, "color": f"C{k}", "ls": ["-", "--", "-.", ":"][k]}
        shares = np.sort(np.maximum(run["missed"], 1e-17))
        top.semilogx(shares, np.linspace(0, 1, len(shares)), **style)
        if run["losses"][0]:
            bottom.semilogy(smooth(run["losses"][0]), **style)
        top.set_title(problem)
    for top, bottom in axes.T:
        top.set_xlabel("share of the model's decrease that is missed")
        top.set_ylabel("share of steps")
        top.legend()
        bottom.set_xlabel("step")
        bottom.set_ylabel("training loss, first seed (running mean)")
    return figure


EXPERIMENT = Experiment("precision", FULL, FAST, runs, run, tables, draw)

if __name__ == "__main__":
    sys.exit(main(EXPERIMENT))
