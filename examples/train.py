"""Train an image classifier with CurveBall (or SGD, Adam, RMSProp) on real data, on NumPy or CuPy.

python examples/train.py                                  # handwritten digits, resnet8, CurveBall
python examples/train.py --data cifar10 --data-dir DIR    # resnet20
"""

import argparse
import sys
import time
from typing import Any

import numpy as np
from data import DataError, Dataset, batches, epoch_rng, eval_batches, load, prefetch
from run import Run

import minigrad as mg
from minigrad import nn, optim

MODELS = {"digits": "resnet8", "mnist": "mlp", "cifar10": "resnet20"}
SETTINGS: dict[str, dict[str, float]] = {
    "curveball": {},
    "sgd": {"lr": 0.1, "momentum": 0.9},
    "adam": {"lr": 1e-3},
    "rmsprop": {"lr": 1e-3},
}


def train(args: argparse.Namespace, dataset: Dataset, opt: optim.Optimizer, run: Run, show: Any) -> float:
    """Trains `opt.model`, logs every step, tests and checkpoints after each epoch: the last accuracy."""
    start, accuracy = time.perf_counter(), 0.0
    run.checkpoint(opt)
    for epoch in range(args.epochs):
        epoch_batches = batches(dataset, args.batch_size, epoch_rng(args.seed, epoch), dtype=args.dtype)
        last = min(args.steps, (epoch + 1) * steps_per_epoch(args, dataset))
        for x, labels in prefetch(epoch_batches):
            x, labels = mg.to_device(x, args.device), mg.to_device(labels, args.device)

            loss = nn.SoftmaxCrossEntropy(labels)

            def step(x: Any = x, loss: nn.Loss = loss) -> optim.StepInfo:
                return opt.step(lambda model: model(x, train=True), loss)

            try:
                info = step()
            except FloatingPointError as e:
                raise FloatingPointError(f"{e}; {first_nonfinite(step)}") from None
            tested = None
            if opt.count == last:
                tested = accuracy = test(args, dataset, opt.model)
                run.checkpoint(opt)
            row = {k: v for k, v in vars(info).items() if k != "passes"}
            run.log(**row, epoch=epoch, test_accuracy=tested, seconds=round(time.perf_counter() - start, 6))
            show(info, accuracy)
            if opt.count == last:
                break
        if opt.count >= args.steps:
            break
    return accuracy


def test(args: argparse.Namespace, dataset: Dataset, model: nn.Module) -> float:
    """The share of test images that `model` classifies right."""
    right = 0
    for x, labels in eval_batches(dataset.test_x, dataset.test_y, dataset, args.batch_size, args.dtype):
        y = mg.asnumpy(model(mg.to_device(x, args.device)))
        if not np.isfinite(y).all():
            where = first_nonfinite(lambda: model(mg.to_device(x, args.device)))  # noqa: B023
            raise FloatingPointError(f"the test outputs are not finite; {where}")
        right += int((y.argmax(axis=1) == labels).sum())
    return right / len(dataset.test_y)


def first_nonfinite(run: Any) -> str:
    """Which operation makes the first NaN or infinity when `run()` runs again, in words."""
    try:
        with mg.debug_nans():
            run()
    except FloatingPointError as e:
        return f"first in {e}"
    return "every operation by itself is finite: the numbers add up to too much"


def steps_per_epoch(args: argparse.Namespace, dataset: Dataset) -> int:
    return len(dataset.train_x) // args.batch_size


# ----- From the command line to a run -----


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    try:
        dataset = load(args.data, args.data_dir)
        if not steps_per_epoch(args, dataset):
            raise DataError(
                f"--batch-size {args.batch_size}: there are only {len(dataset.train_x)} training images"
            )
        args.steps = min(args.steps or sys.maxsize, args.epochs * steps_per_epoch(args, dataset))
        model = nn.build(args.model, dataset.train_x.shape[1:], len(dataset.classes), args.seed, args.dtype)
        model = on_device(model, args.device)
        lam = {"lam": 10.0} if args.optimizer == "curveball" and args.model == "basic_cifar" else {}
        opt = optim.build(args.optimizer, model, **SETTINGS[args.optimizer], **lam)
    except (DataError, ValueError, RuntimeError) as e:
        print(f"train.py: {e}", file=sys.stderr)
        return 2
    run = Run(args.out, f"{args.data}-{args.model}-{args.optimizer}-{args.seed}", vars(args))
    size = f"{nn.count_parameters(model):,} parameters, {len(dataset.train_x):,} training images"
    print(f"{args.model} on {args.data}: {size}; writing to {run.folder}")
    start = time.perf_counter()
    try:
        with progress(args.steps) as show:
            accuracy = train(args, dataset, opt, run, show)
    except FloatingPointError as e:
        print(
            f"train.py: {e}. The last good checkpoint, of step {run.checkpointed}, is in {run.folder}",
            file=sys.stderr,
        )
        return 1
    finally:
        run.close()
    print(f"test accuracy {accuracy:.2%} after {opt.count} steps, {time.perf_counter() - start:.1f} s")
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits", choices=MODELS, help="which images")
    parser.add_argument("--data-dir", help="where the files of mnist or cifar10 are")
    parser.add_argument("--model", help=f"network (default: by data, {MODELS})")
    parser.add_argument("--optimizer", default="curveball", choices=SETTINGS)
    parser.add_argument("--epochs", type=positive, default=20, help="passes over the training images")
    parser.add_argument("--steps", type=positive, help="stop after this many steps, if that is sooner")
    parser.add_argument("--batch-size", type=positive, default=128)
    parser.add_argument("--seed", type=int, default=0, help="of weights, shuffling and augmentation")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--out", default="runs", help="where run folders are made")
    args = parser.parse_args(argv)
    args.model = args.model or MODELS[args.data]
    return args


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def on_device(model: nn.Module, device: str) -> nn.Module:
    """`model` with its parameters and buffers on `device`."""
    for _, b in mg.tree_buffers(model):
        b.value = mg.to_device(b.value, device) if hasattr(b.value, "dtype") else b.value
    return mg.tree_map(lambda a: mg.to_device(a, device), model)


class progress:
    """A progress bar over `total` steps; entering it gives show(info, accuracy)."""

    def __init__(self, total: int) -> None:
        try:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        except ImportError:
            raise SystemExit('train.py: the progress bar needs rich: pip install -e ".[train]"') from None
        self.bar = Progress(BarColumn(bar_width=10), MofNCompleteColumn(), TextColumn("{task.fields[words]}"))
        self.task = self.bar.add_task("", total=total, words="")

    def __enter__(self) -> Any:
        self.bar.start()
        return self.show

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()

    def show(self, info: optim.StepInfo, accuracy: float) -> None:
        words = f"loss {info.loss:.4f} test acc {accuracy:.1%}"
        if isinstance(info, optim.CurveBallInfo):
            words += f" ρ {info.rho:.2f} β {info.beta:.3f} λ {info.lam:.2f}"
        self.bar.update(self.task, advance=1, words=words)


if __name__ == "__main__":
    sys.exit(main())
