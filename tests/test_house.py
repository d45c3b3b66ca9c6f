"""The houses, fastnn and bench: who may import whom, and what every public name says of itself."""

import ast
import doctest
import graphlib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastnn
import fastnn.book

PACKAGE = Path(fastnn.__file__).parent
REPOSITORY = PACKAGE.parent


def room(module):
    return module.split(".")[0]


def is_for_types_only(node):
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def imports_in(node, late=False) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    """Every import in a tree but those for types only, and whether it waits for a call."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, late
        elif not is_for_types_only(child):
            is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from imports_in(child, late or is_function)


# Who may import what others may not.
RESERVED = {
    "numba": ["compiler", "kernels", "differences_compiled"],
    "llvmlite": ["compiler"],
    "matplotlib": ["plots"],
    "tqdm": ["cli", "progress"],
    "sklearn": ["estimators"],
}
TALKERS = ["cli", "recipes", "book", "estimators"]


class House:
    """A package whose README.md has a map, on which files stand on those that they import.

    Its modules are named as below the package: gate, kernels.sweeps, or __init__ for itself.
    """

    def __init__(self, folder):
        self.folder, self.name = folder, folder.name
        self.paths = {self.name_of(path): path for path in sorted(folder.rglob("*.py"))}
        self.trees = {name: ast.parse(path.read_text("utf-8")) for name, path in self.paths.items()}

    def name_of(self, path):
        parts = path.relative_to(self.folder).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    def file_of(self, module):
        return self.paths[module].relative_to(self.folder).as_posix()

    def files_on_the_map(self):
        """The files that the page inside the package lists, from the roof down."""
        page = (self.folder / "README.md").read_text(encoding="utf-8")
        lines = re.search(rf"^{self.name}/\n(.*?)^```", page, re.M | re.S)[1]
        return re.findall(r"^ {4}(\S+) +\S", lines, re.M)

    def absolute_name(self, node, module):
        """What stands between from and import, without leading dots."""
        if not node.level:
            return node.module
        is_package = self.paths[module].name == "__init__.py"
        parts = [self.name, *([] if module == "__init__" else module.split("."))]
        above = parts[: len(parts) - node.level + is_package]
        return ".".join([*above, *([node.module] if node.module else [])])

    def imported(self, module) -> Iterator[tuple[str, bool]]:
        """Full names of the modules that a module imports, and whether late."""
        for node, late in imports_in(self.trees[module]):
            if isinstance(node, ast.Import):
                yield from ((alias.name, late) for alias in node.names)
                continue
            source = self.absolute_name(node, module)
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield (inner if inner.removeprefix(f"{self.name}.") in self.paths else source), late

    def imported_at_once(self, module):
        """Full names of what is there when a module is."""
        return {name for name, late in self.imported(module) if not late}

    def imported_here(self, module):
        """Names below the package of its modules that a module imports at once."""
        for name in self.imported_at_once(module):
            if name.split(".")[0] == self.name:
                yield name.removeprefix(f"{self.name}.") if name != self.name else "__init__"

    def all_imported_here(self, module):
        """The same, with what those import; and the module."""
        found, waiting = set(), {module}
        while waiting:
            found |= waiting
            waiting = {name for each in waiting for name in self.imported_here(each)} - found
        return found


FASTNN, BENCH = House(PACKAGE), House(REPOSITORY / "bench")
MODULES, TREES = FASTNN.paths, FASTNN.trees
every_module = pytest.mark.parametrize("module", MODULES)
every_house = pytest.mark.parametrize("house", [FASTNN, BENCH], ids=["fastnn", "bench"])
every_module_of_both = pytest.mark.parametrize(
    ("house", "module"),
    [pytest.param(house, module, id=f"{house.name}.{module}")
     for house in (FASTNN, BENCH) for module in house.paths],
)  # fmt: skip


@every_house
def test_the_map_lists_every_file_once(house):
    listed = house.files_on_the_map()
    files = [house.file_of(module) for module in house.paths]
    files = [file for file in files if not file.endswith("/__init__.py")]
    assert sorted(file for file in listed if file.endswith(".py")) == sorted(files)
    assert all((house.folder / file).is_file() for file in listed)


@every_module_of_both
def test_imports_point_down_the_map(house, module):
    floor = {file: line for line, file in enumerate(house.files_on_the_map())}
    if house.file_of(module) in floor:
        for other in set(house.imported_here(module)) - {"__init__"}:
            below = floor.get(house.file_of(other), len(floor))  # a package's own file has no line
            assert below > floor[house.file_of(module)], f"{module} imports {other}"


@every_house
def test_modules_do_not_import_each_other_in_a_circle(house):
    graph = {module: set(house.imported_here(module)) - {module} for module in house.paths}
    graphlib.TopologicalSorter(graph).prepare()


@every_module
def test_the_package_imports_nothing_of_its_benchmarks(module):
    assert not any(name.split(".")[0] == "bench" for name, _ in FASTNN.imported(module))


@pytest.mark.parametrize(
    "module", ["one_process", *(name for name in BENCH.paths if ".with_" in name)]
)
def test_processes_of_rivals_do_not_import_fastnn(module):
    """They are timed from their start, in `bench.processes`."""
    if module != "contestants.with_fastnn":
        for each in BENCH.all_imported_here(module):
            assert not any(name.split(".")[0] == "fastnn" for name in BENCH.imported_at_once(each))


@every_module
def test_some_libraries_have_one_place(module):
    for name, _ in FASTNN.imported(module):
        library = name.split(".")[0]
        allowed = RESERVED.get(library, [room(module)])
        assert room(module) in allowed, f"{module} imports {name}, which only {allowed} may"


def test_kernels_take_nothing_from_numba_but_the_parallel_loop():
    for module in MODULES:
        if room(module) == "kernels":
            for node, _ in imports_in(TREES[module]):
                if isinstance(node, ast.Import):
                    assert not any(alias.name.startswith("numba") for alias in node.names)
                elif node.module.split(".")[0] == "numba":
                    assert [alias.name for alias in node.names] == ["prange"]


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) not in TALKERS])
def test_a_library_does_not_print(module):
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"line {node.lineno}"


@pytest.mark.parametrize("module", [name for name in MODULES if room(name) == "kernels"])
def test_compiled_functions_have_a_statement_beside_their_description(module):
    """With NUMBA_DEBUGINFO=1 Numba looks for it, and raises an IndexError if there is none."""
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.FunctionDef):
            assert len(node.body) > bool(ast.get_docstring(node)), node.name


def test_nothing_is_left_to_do():
    words = "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"])
    for folder in ("fastnn", "tests", "bench", "examples", "docs"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.suffix in (".py", ".md", ".toml"):
                assert not re.search(rf"\b({words})\b", path.read_text(encoding="utf-8")), path


# ---- what public names say of themselves


def documented_things() -> Iterator[tuple[str, object]]:
    """Everything that a user may call, by name: of fastnn, and of its public modules."""
    names = [f"book.{name}" for name in fastnn.book.__all__]
    books = [f"fastnn.{name}" for name in names if name in MODULES]
    for module_name in [
        "fastnn", "fastnn.datasets", "fastnn.estimators", "fastnn.plots", "fastnn.files", *books,
        "fastnn.book", "fastnn.neurons",
    ]:  # fmt: skip
        module = importlib.import_module(module_name)
        for name in module.__all__:
            thing = getattr(module, name)
            if not getattr(thing, "__module__", "fastnn").startswith("fastnn"):
                continue  # the book's modules hand on what they import
            if callable(thing):
                yield f"{module_name}.{name}", thing
            if inspect.isclass(thing):
                yield from methods(f"{module_name}.{name}", thing)


def methods(name, thing):
    for attribute, value in vars(thing).items():
        if not attribute.startswith("_") and inspect.isfunction(value):
            yield f"{name}.{attribute}", value


def is_an_error(thing):
    return inspect.isclass(thing) and issubclass(thing, Exception)


THINGS = dict(documented_things())
every_thing = pytest.mark.parametrize("name", THINGS)
everything_to_call = pytest.mark.parametrize(
    "name", [name for name, thing in THINGS.items() if not is_an_error(thing)]
)


def sections(thing):
    """Parts of a numpydoc text by their titles; the text before the first has the title ''."""
    parts = re.split(r"^([A-Z][A-Za-z ]+)\n-{3,}\n", inspect.cleandoc(thing.__doc__), flags=re.M)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def documented_parameters(thing):
    text = sections(thing).get("Parameters", "")
    lines = re.findall(r"^(\w+(?:, \w+)*)(?: : .*)?$", text, flags=re.M)
    return [name for line in lines for name in line.split(", ")]


def parameters(thing):
    """Those that have a place, in order, and those that only have a name."""
    found = [p for p in inspect.signature(thing).parameters.values() if p.name != "self"]
    by_name = [p.name for p in found if p.kind is p.KEYWORD_ONLY]
    return [p.name for p in found if p.name not in by_name], by_name


@every_thing
def test_a_summary_is_one_line_that_ends_with_a_stop(name):
    summary = sections(THINGS[name])[""].split("\n\n")[0].strip()
    assert summary.endswith(".")
    assert "\n" not in summary


@everything_to_call
def test_the_documented_parameters_are_those_of_the_signature(name):
    documented = documented_parameters(THINGS[name])
    by_place, by_name = parameters(THINGS[name])
    assert [parameter for parameter in documented if parameter not in by_name] == by_place
    assert sorted(documented) == sorted(by_place + by_name)


@every_thing
def test_what_is_returned_is_documented(name):
    thing = THINGS[name]
    if inspect.isfunction(thing):
        returned = inspect.signature(thing).return_annotation
        assert ("Returns" in sections(thing)) == (returned not in (None, "None"))


@everything_to_call
def test_every_public_name_has_an_example(name):
    assert "Examples" in sections(THINGS[name])


@every_thing
def test_sections_come_in_the_usual_order(name):
    order = ["", "Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns", "See Also",
             "Notes", "References", "Examples"]  # fmt: skip
    found = [order.index(title) for title in sections(THINGS[name])]
    assert found == sorted(found)


def test_public_names_are_there_and_sorted():
    assert all(hasattr(fastnn, name) for name in fastnn.__all__)
    assert len(set(fastnn.__all__)) == len(fastnn.__all__)


@every_module_of_both
def test_a_module_says_what_it_is_for(house, module):
    text = ast.get_docstring(house.trees[module])
    assert text
    assert text.split("\n")[0].endswith((".", ":"))


IMPORTABLE = [
    module.name
    for module in pkgutil.walk_packages([str(PACKAGE)], "fastnn.")
    if not module.name.endswith("__main__")
]


@pytest.mark.parametrize("name", ["fastnn", *IMPORTABLE])
def test_the_examples_in_the_documentation_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0
    assert not list(tmp_path.iterdir())
