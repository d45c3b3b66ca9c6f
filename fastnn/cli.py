"""The command line: ``fastnn train mnist``, ``fastnn cache``.

A wrong value ends with one line on standard error and exit code 2, a run that
fails with exit code 1, Ctrl-C with 130.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from fastnn import __version__


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds "(default: ...)" where there is one to speak of."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default those of the process.

    Returns
    -------
    int
        The exit code.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except KeyboardInterrupt:
        print("fastnn: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        # What is still to be written goes nowhere, or Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, ImportError, OSError) as error:
        print(f"fastnn: {error}", file=sys.stderr)
        return 2
    except (FloatingPointError, MemoryError) as error:
        print(f"fastnn: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="fastnn", description="Small neural networks, trained fast on a CPU.")
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_train(commands)
    cache = commands.add_parser("cache", help="show or clear the compiled code kept on disk")
    cache.add_argument("action", choices=["info", "clear"])
    cache.set_defaults(run=_cache)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="run a training job of the source documents")
    jobs = train.add_subparsers(title="jobs", required=True, metavar="JOB")
    mnist = jobs.add_parser(
        "mnist",
        help="784-50-10 on handwritten digits",
        description="Train a network on MNIST, from data inside the package.",
        formatter_class=_HelpFormatter,
    )
    _add_training_options(mnist)
    mnist.set_defaults(run=_train_mnist)


def _add_training_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--hidden", type=int, nargs="+", default=[50], metavar="N", help="hidden layers' widths")
    add("--activation", default="relu", help="of the hidden layers: relu, sigmoid, tanh, ...")
    add("--optimizer", default="sgd", help="update rule: sgd")
    add("--lr", type=float, default=0.1, help="learning rate")
    add("--batch-size", type=int, default=100, metavar="N", help="rows per step")
    length = parser.add_mutually_exclusive_group()
    # No default here, so that --epochs alone is enough; the job's own is 10,000 steps.
    length.add_argument("--epochs", type=int, metavar="N", help="passes over the data")
    length.add_argument(
        "--iterations", type=int, metavar="N", help="steps; 10000 if neither is given"
    )
    add("--dtype", default="float32", help="float32 or float64")
    add("--seed", type=int, default=0, help="of the initial weights and the batches")
    add("--threads", type=int, metavar="N", help="at most so many; all if not given")
    add("--data", metavar="PATH", help="folder with four MNIST files; else the package's data")
    add("--out", metavar="DIR", help="folder for curves.png, history.csv and model.fastnn")
    add("--quiet", action="store_true", help="print nothing but errors")


def _train_mnist(options: argparse.Namespace) -> None:
    from fastnn.recipes import mnist

    mnist.run(
        hidden=options.hidden,
        activation=options.activation,
        optimizer=options.optimizer,
        lr=options.lr,
        batch_size=options.batch_size,
        epochs=options.epochs,
        iterations=options.iterations,
        dtype=options.dtype,
        seed=options.seed,
        threads=options.threads,
        data=options.data,
        out=options.out,
        progress=False if options.quiet else None,
        report=(lambda line: None) if options.quiet else _report,
    )


def _report(line: str) -> None:
    from tqdm import tqdm

    tqdm.write(line)  # keeps a progress bar, if there is one, below the line
    sys.stdout.flush()  # a pipe or a file gets each line when it is made


def _cache(options: argparse.Namespace) -> None:
    from fastnn import jit

    if options.action == "clear":
        print(f"removed {jit.cache_clear()} files")
        return
    for name, value in jit.cache_info().items():
        print(f"{name}: {value}")
