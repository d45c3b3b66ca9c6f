"""Whether a module of fastnn.book can stand for a file: it must have all that the file has.

Files are parsed, not imported.  What one has is a list of what an importer can ask of it, such as
``Affine``, ``Affine.dW`` and ``Affine.forward(x)``.
"""

from __future__ import annotations

import ast
import importlib
import re
import warnings
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

COMMON = "functions gradient layers multi_layer_net multi_layer_net_extend optimizer trainer util"
MODULES = {"common": tuple(COMMON.split()), "dataset": ("mnist",)}
# Of these parts stand in modules that the book does not have.
PARTS_ELSEWHERE = {"layers": ("regularization", "convolution"), "util": ("convolution",)}

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DEFINITIONS = (*FUNCTIONS, ast.ClassDef)
# What has names of its own, beside definitions.
EXPRESSIONS = (ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
STAR = "* of "
# In the first printings and in translations, where the batches of a method may be X and T, too.
EARLIER_NAME, LATER_NAME = re.compile(r"\bmean_squared_error\b"), "sum_squared_error"


def difference(part: str, reader: ModuleSpec) -> str | None:
    """What of a reader's module keeps ``fastnn.book.part`` from standing for it, if anything."""
    if reader.submodule_search_locations is not None:
        return "is a package"
    try:
        source = reader.loader.get_source(reader.name)  # type: ignore[union-attr]
        theirs = _parsed(EARLIER_NAME.sub(LATER_NAME, source))
    except Exception:  # whatever is wrong with it, its import will say
        return "cannot be read"
    module = _module(part)
    ours = _parsed(_source(module))
    for other in PARTS_ELSEWHERE.get(part, ()):
        ours.body += _parsed(_source(_module(other))).body
    named = {*_defined(theirs), *_imported(theirs)}
    for node in ours.body:
        if not isinstance(node, DEFINITIONS) or node.name not in set(module.__all__) - named:
            continue
        if getattr(module, node.name).__module__ == module.__name__:
            return f"lacks {node.name}, which volume 1 has"
    known = {*_offered(ours), *module.__all__}
    for name in _offered(theirs):
        if not (name in known or _hands_on(name, known)):
            return f"has {name}, which fastnn lacks"
    return None


def _module(part: str) -> ModuleType:
    return importlib.import_module(f"fastnn.book.{part}")


def _source(module: ModuleType) -> str:
    """What `inspect.getsource` returns, without its import, which takes 5 ms."""
    return module.__spec__.loader.get_source(module.__name__)  # type: ignore[union-attr]


def _hands_on(name: str, known: set[str]) -> bool:
    """Whether it is a star import from a module like ours, of nothing but known names."""
    package, _, part = name.removeprefix(STAR).rpartition(".")
    ours = name.startswith(STAR) and any(
        package in ("", own) and part in parts for own, parts in MODULES.items()
    )
    return ours and known.issuperset(_module(part).__all__)


def _parsed(source: str) -> ast.Module:
    with warnings.catch_warnings():  # of its escape sequences
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _offered(tree: ast.Module) -> Iterator[str]:
    """What an importer can ask of a module."""
    yield from filter(_is_public, [*_defined(tree), *_imported(tree)])
    for node in _run(tree):
        if isinstance(node, FUNCTIONS) and _is_public(node.name):
            yield from _arguments(node.name, node)
        elif isinstance(node, ast.ClassDef) and _is_public(node.name):
            yield from _members(node)


def _members(kind: ast.ClassDef) -> Iterator[str]:
    """What can be asked of a class and of its objects."""
    for name in [*_defined(kind), *_imported(kind), *_set_on_self(kind)]:
        if _is_public(name) or _is_special(name):
            yield f"{kind.name}.{name}"
    for node in _run(kind):
        if isinstance(node, FUNCTIONS) and (_is_public(node.name) or node.name == "__init__"):
            yield from _arguments(f"{kind.name}.{node.name}", node)


def _arguments(name: str, function: Any) -> Iterator[str]:
    found = function.args
    several = [argument for argument in (found.vararg, found.kwarg) if argument is not None]
    for argument in [*found.posonlyargs, *found.args, *found.kwonlyargs, *several]:
        yield f"{name}({argument.arg.lower()})"


def _set_on_self(kind: ast.ClassDef) -> Iterator[str]:
    for node in ast.walk(kind):
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        ):
            yield node.attr


def _defined(scope: ast.AST) -> Iterator[str]:
    """Names that a module or class gives to something of its own."""
    for node in _run(scope):
        if isinstance(node, DEFINITIONS):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _imported(scope: ast.AST) -> Iterator[str]:
    for node in _run(scope):
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            yield f"{STAR}{'.' * node.level}{node.module or ''}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)


def _run(scope: ast.AST) -> Iterator[ast.AST]:
    """What is run when a module is imported or a class is made, outside other functions."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.If) and "__name__" in ast.unparse(node.test):
            continue  # run in a script only
        yield node
        if not isinstance(node, (*DEFINITIONS, *EXPRESSIONS)):
            yield from _run(node)


def _is_public(name: str) -> bool:
    return not name.startswith("_")


def _is_special(name: str) -> bool:
    """Whether Python asks for it, such as ``__call__``, and not every object has it."""
    return name.startswith("__") and name.endswith("__") and name not in vars(object)
