"""The command line: ``fastnn train mnist``, ``fastnn show step``, ``fastnn gradcheck``, ...

A wrong value ends with one line on standard error and exit code 2, a run that
fails or whose output cannot be written with exit code 1, Ctrl-C with 130.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import time
from collections.abc import Sequence
from typing import Any

from fastnn import __version__, command, progress
from fastnn.optimizers import OPTIMIZERS

# Options that several commands share; a command gives the default. All go to its recipe as they
# are, which checks them.
OPTIONS: dict[str, dict[str, Any]] = {
    "--hidden": {"type": int, "nargs": "+", "metavar": "N", "help": "hidden layers' widths"},
    "--widths": {
        "type": int,
        "nargs": "+",
        "metavar": "N",
        "help": "widths of one hidden layer to compare",
    },
    "--activation": {"help": "of the hidden layers: relu, sigmoid, tanh, ..."},
    "--optimizer": {
        "help": f"update rule: {', '.join(OPTIMIZERS)}",
    },
    "--range": {
        "type": float,
        "nargs": 2,
        "metavar": ("LOW", "HIGH"),
        "help": "of the training inputs",
    },
    "--lr": {"type": float, "metavar": "X", "help": "learning rate; else the job's or the rule's"},
    "--batch-size": {"type": int, "metavar": "N", "help": "rows per step"},
    "--epochs": {"type": int, "metavar": "N", "help": "passes over the data"},
    "--iterations": {"type": int, "metavar": "N", "help": "steps"},
    "--every": {"type": int, "metavar": "N", "help": "epochs between two lines and two pictures"},
    "--rows": {"type": int, "metavar": "N", "help": "images of the batch"},
    "--h": {"type": float, "metavar": "X", "help": "half the distance of the two evaluations"},
    "--dtype": {"metavar": "NAME", "help": "float32 or float64"},
    "--seed": {"type": int, "metavar": "N", "help": "of the initial weights and the batches"},
    "--threads": {"type": int, "metavar": "N", "help": "at most so many; all if not given"},
    "--data": {"metavar": "PATH", "help": "folder with four MNIST files; else the package's data"},
    "--out": {"metavar": "DIR", "help": "folder for pictures, history.csv and model.fastnn"},
}


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
        Default those of the process, which is then taken to be there for nothing else.

    Returns
    -------
    int
        The exit code.
    """
    return command.run("fastnn", lambda: _run(arguments), is_program=arguments is None)


def _run(arguments: Sequence[str] | None) -> int | None:
    options = _parser().parse_args(arguments)
    with progress.silence() if getattr(options, "quiet", False) else contextlib.nullcontext():
        return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = command.Parser(
        prog="fastnn", description="Small neural networks, trained fast on a CPU."
    )
    parser.add_argument("--version", action="version", version=f"fastnn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_train(commands)
    _add_show(commands)
    _add_gradcheck(commands)
    _add_cache(commands)
    return parser


def _add_train(commands: Any) -> None:
    train = commands.add_parser("train", help="run a training job of the source documents")
    jobs = train.add_subparsers(title="jobs", required=True, metavar="JOB")
    _add_mnist(jobs)
    lenet = _recipe(jobs, "lenet", _train, "LeNet, a convolutional network, on handwritten digits")
    _add_options(
        lenet,
        {
            "--lr": 0.003,
            "--batch-size": 64,
            "--epochs": 3,
            "--dtype": "float32",
            "--seed": 0,
            "--threads": None,
            "--data": None,
            "--out": None,
        },
    )
    quadratic = _recipe(
        jobs, "quadratic", _train, "2-30-1 on 3 x0^2 + 2 x1, and beyond the training range"
    )
    _add_options(
        quadratic,
        {
            "--hidden": [30],
            "--widths": [3, 10, 30, 100],
            "--activation": "relu",
            "--range": [0.0, 1.0],
            "--lr": None,
            "--iterations": 2000,
            "--dtype": "float32",
            "--seed": 0,
            "--out": None,
        },
    )
    sine = _recipe(jobs, "sine", _train, "1-3-1 on one period of a sine, with pictures on the way")
    _add_options(
        sine,
        {
            "--hidden": [3],
            "--activation": "sigmoid",
            "--lr": 0.1,
            "--epochs": 2001,
            "--every": 200,
            "--dtype": "float32",
            "--seed": 0,
            "--out": None,
        },
    )


def _add_mnist(jobs: Any) -> None:
    mnist = _recipe(jobs, "mnist", _train, "784-50-10 on handwritten digits")
    _add_options(
        mnist,
        {
            "--hidden": [50],
            "--activation": "relu",
            "--optimizer": "sgd",
            "--lr": None,
            "--batch-size": 100,
            "--dtype": "float32",
            "--seed": 0,
            "--threads": None,
            "--data": None,
            "--out": None,
        },
    )
    # No defaults here: each rule has its own rate, and --epochs alone is enough.
    length = mnist.add_mutually_exclusive_group()
    length.add_argument("--epochs", **OPTIONS["--epochs"])
    steps = {**OPTIONS["--iterations"], "help": "steps; 10000 if neither is given"}
    length.add_argument("--iterations", **steps)


def _add_show(commands: Any) -> None:
    show = commands.add_parser("show", help="work out an example of the source documents")
    examples = show.add_subparsers(title="examples", required=True, metavar="EXAMPLE")
    step = _recipe(examples, "step", _show, "one step of backpropagation with its numbers")
    _add_options(step, {"--lr": 0.01, "--dtype": "float64"})
    chain = _recipe(examples, "chain", _show, "the factors of a gradient by the chain rule")
    _add_options(chain, {"--dtype": "float64"})


def _add_gradcheck(commands: Any) -> None:
    gradcheck = _recipe(
        commands, "gradcheck", _gradcheck, "compare backpropagation with numerical gradients"
    )
    _add_options(
        gradcheck,
        {
            "--hidden": [50],
            "--activation": "relu",
            "--rows": 3,
            "--h": 1e-4,
            "--dtype": "float64",
            "--seed": 0,
            "--threads": None,
            "--data": None,
        },
    )


def _add_cache(commands: Any) -> None:
    cache = commands.add_parser("cache", help="show, fill or clear the compiled code kept on disk")
    actions = cache.add_subparsers(title="actions", required=True, metavar="ACTION")
    for name, run, text in (
        ("info", _cache_info, "say where the code is kept, and how much of it"),
        ("clear", _cache_clear, "remove it"),
        ("warm", _cache_warm, "compile all that is not there yet, as for an image"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        action.set_defaults(run=run)
        if name == "warm":
            action.add_argument("--quiet", action="store_true", help="print nothing but errors")
            action.add_argument("--dtype", **OPTIONS["--dtype"])


def _recipe(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    """A parser for the recipe of this name."""
    parser = commands.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", formatter_class=_HelpFormatter
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    parser.set_defaults(run=run, recipe=name)
    return parser


def _add_options(parser: argparse.ArgumentParser, defaults: dict[str, Any]) -> None:
    for name, default in defaults.items():
        parser.add_argument(name, default=default, **OPTIONS[name])


def _train(options: argparse.Namespace) -> None:
    _run_recipe(options, progress=False if options.quiet else None)


def _show(options: argparse.Namespace) -> None:
    _run_recipe(options)


def _gradcheck(options: argparse.Namespace) -> int:
    from fastnn.recipes import gradcheck

    return 1 if gradcheck.too_large(_run_recipe(options), options.dtype) else 0


def _run_recipe(options: argparse.Namespace, **more: Any) -> Any:
    recipe = importlib.import_module(f"fastnn.recipes.{options.recipe}")
    own = {"run", "recipe", "quiet"}
    arguments = {name: value for name, value in vars(options).items() if name not in own}
    report = (lambda line: None) if options.quiet else _report
    return recipe.run(**arguments, **more, report=report)


def _report(line: str) -> None:
    from tqdm import tqdm

    with command.written_out():  # a pipe or a file gets each line when it is made
        # Keeps a progress bar, if there is one, below the line.
        tqdm.write(command.fitting(line, sys.stdout))


def _cache_info(options: argparse.Namespace) -> None:
    from fastnn.compiler import cache

    for name, value in cache.cache_info().items():
        command.say(f"{name}: {value}")


def _cache_clear(options: argparse.Namespace) -> None:
    from fastnn.compiler import cache

    command.say(f"removed {cache.cache_clear()} files")


def _cache_warm(options: argparse.Namespace) -> None:
    from fastnn import warming
    from fastnn.compiler import cache

    kept = cache.cache_info()
    if kept["folder"] is None:
        raise ValueError(f"nothing can be kept on disk: {kept['reason']}")
    precisions = warming.PRECISIONS if options.dtype is None else (options.dtype,)
    report = (lambda line: None) if options.quiet else _report
    start = time.perf_counter()
    for dtype in precisions:
        for name, compile_it in warming.everything(dtype):
            before = time.perf_counter()
            compile_it()
            report(f"{dtype}: {name:30} {time.perf_counter() - before:5.1f} s")
    kept = cache.cache_info()
    if not (kept["files"] or kept["installed_files"]):
        raise command.NotWrittenError(f"nothing could be written to {kept['folder']}")
    report(
        f"{kept['files']} files, {kept['bytes'] / 1e6:.1f} MB, in {kept['folder']}; "
        f"{kept['installed_files']} came with fastnn; {time.perf_counter() - start:.0f} s"
    )
