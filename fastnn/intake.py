"""The intake: whatever holds real numbers becomes a NumPy array of them, or is refused by name.

`np.asarray` alone takes the number under a mask for a number, makes NaN of a missing value and
objects of data frames with columns of several kinds, and raises whatever the object raises.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from fastnn import frames
from fastnn.frames import NUMERIC
from fastnn.sparse_rows import is_sparse

# What lists may hold without a closer look, besides `np.ndarray` but not its subclasses.
PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic, Decimal)
SUMMED = (bool, int, float)
# By one of these it shows that an object is an array, or has something that NumPy loses.
OF_ARRAYS = ("__array__", "__array_interface__", "__dlpack__", "to_numpy", "toarray", "mask")
DEEPEST = 64  # dimensions of NumPy's arrays
LONGEST = 200  # characters of what is quoted in an error
# What makes an array of an object, if it has it.
WAYS_OUT = ("collect", "compute", "toarray", "todense", "to_dense", "to_numpy", "to_dataframe",
            "to_pandas", "toPandas", "numpy")  # fmt: skip

Where = Callable[[tuple[int, ...]], str]


class _RefusedError(Exception):
    """Holds the error to raise."""


def numbers(x: Any, name: str) -> np.ndarray:
    """`x` as an array of real numbers, of whatever dtype they are."""
    if type(x) is np.ndarray and x.dtype.kind in NUMERIC:
        return x
    try:
        with np.errstate(all="ignore"):
            return _taken(x, name, ())
    except _RefusedError as refused:
        raise refused.args[0] from refused.__cause__


def _taken(x: Any, name: str, at: tuple[int, ...]) -> np.ndarray:
    """The array of an argument, or of what lies `at` this place in a list."""
    try:
        return _numbers(x, name, at)
    except (_RefusedError, MemoryError):
        raise
    except Exception as error:  # whatever an object raises that is asked for an array
        first = (str(error).strip().splitlines() or ["it says no more"])[0]
        said = f"{type(error).__name__}: {first}"[:LONGEST]
        what = _element(name, at)
        text = f"{what} must hold real numbers, but {_kind(x)} refuses to become an array ({said})"
        raise _RefusedError(TypeError(text + _advice(x, what))) from error


def _refuse(kind: type[Exception], text: str) -> NoReturn:
    raise _RefusedError(kind(text))


def _element(name: str, at: tuple[int, ...]) -> str:
    return name + "".join(f"[{place}]" for place in at)


def _numbers(x: Any, name: str, at: tuple[int, ...]) -> np.ndarray:
    def where(inner: tuple[int, ...]) -> str:
        return frames.place(None if at else x, name, at + inner)

    if not frames.is_plain(x):
        columns = frames.columns_of(x)
        if columns is not None:
            return _of_columns(columns, name, where)
        _look_for_missing(x, name, where)
    _look_for_masked(x, name, at)
    array = _array(x, name, at)
    _look_for_masked(array, name, at)  # that an object may give
    return _real(np.asarray(array), x, name, where, frames.name_of(x, " in column "))


def _look_for_missing(column: Any, name: str, where: Where) -> None:
    place = frames.first_missing(column)
    if place is not None:
        _refuse(ValueError, f"{name} must have no missing values, got one at {where((place,))}")


# Masks -----------------------------------------------------------------------------------------


def refuse_masked(x: Any, name: str) -> None:
    """Refuse what is masked in an array, or in a list of arrays; all else goes by unseen."""
    if type(x) is np.ndarray:
        return
    try:
        with np.errstate(all="ignore"):
            _look_for_masked(x, name, (), in_lists=True)
    except _RefusedError as refused:
        raise refused.args[0] from None


def _look_for_masked(x: Any, name: str, at: tuple[int, ...], in_lists: bool = False) -> None:
    if in_lists and isinstance(x, list | tuple):
        for place, element in _foreign(x, at):
            _look_for_masked(element, name, (*at, place), in_lists)
        return
    mask = getattr(x, "mask", None)
    if mask is None or callable(mask):
        return
    masked, shape = np.asarray(mask), getattr(x, "shape", ())
    if masked.dtype == bool and masked.any() and masked.shape in ((), shape):
        first = tuple(np.argwhere(np.broadcast_to(masked, shape))[0].tolist())
        where = frames.place(None, name, at + first)
        _refuse(ValueError, f"{name} must have no masked values, got one at {where}")


def _foreign(x: Sequence[Any], at: tuple[int, ...]) -> Iterator[tuple[int, Any]]:
    """Place and element of what is, in a list, neither a plain number nor a plain array."""
    if len(at) < DEEPEST and not _are_plain(x):
        for place, element in enumerate(x):
            if type(element) is not np.ndarray and not isinstance(element, PLAIN):
                yield place, element


def _are_plain(x: Sequence[Any]) -> bool:
    """Whether a list holds plain numbers and plain arrays only."""
    if len(x) and type(x[0]) in SUMMED:
        # The sum of these is one of them, and of any others none.  It takes a fifth of the time of
        # a look at each type, which is that of `np.asarray`.
        with contextlib.suppress(Exception):
            if type(sum(x)) in SUMMED:
                return True
    kinds = {kind for kind in set(map(type, x)) if kind is not np.ndarray}
    return all(issubclass(kind, PLAIN) for kind in kinds)


# Arrays ----------------------------------------------------------------------------------------


def _array(x: Any, name: str, at: tuple[int, ...] = ()) -> np.ndarray:
    """What NumPy, or the object itself, makes an array of; with its subclass, such as a mask's."""
    if isinstance(x, np.ndarray):
        return x
    if is_sparse(x):
        _refuse_kind(x, _element(name, at), "be a dense array")
    if isinstance(x, Mapping) and not hasattr(x, "__array__"):
        _refuse_kind(x, _element(name, at))
    if _is_list(x):
        try:
            return np.asarray(_with_arrays(x, name, at))
        except ValueError as error:
            _refuse(ValueError, f"{name} must be an array of numbers: {error}")
    array = np.asanyarray(x)
    if array.dtype == object and array.ndim == 0 and not isinstance(x, PLAIN + (Real,)):
        return _by_other_ways(x, _element(name, at))
    return array


def _is_list(x: Any) -> bool:
    """Whether NumPy would look at the elements one by one."""
    if isinstance(x, list | tuple):
        return True
    is_text = isinstance(x, str | bytes | bytearray | memoryview | range)
    return isinstance(x, Sequence) and not is_text and not hasattr(x, "__array__")


def _with_arrays(x: Sequence[Any], name: str, at: tuple[int, ...]) -> Sequence[Any]:
    """A list with arrays in the place of what only resembles them, however deep in it."""
    found: dict[int, Any] = {}
    for place, element in _foreign(x, at):
        if isinstance(element, list | tuple):
            found[place] = _with_arrays(element, name, (*at, place))
        elif any(hasattr(element, sign) for sign in OF_ARRAYS):
            found[place] = _taken(element, name, (*at, place))
    return [found.get(place, element) for place, element in enumerate(x)] if found else x


def _by_other_ways(x: Any, name: str) -> np.ndarray:
    """The array of an object that NumPy knows nothing of."""
    if not isinstance(x, type):
        if hasattr(x, "__dlpack__"):
            return np.from_dlpack(x)
        array = x.to_numpy() if callable(getattr(x, "to_numpy", None)) else None
        if isinstance(array, np.ndarray | np.generic):
            return np.asanyarray(array)
    _refuse_kind(x, name)


def _refuse_kind(x: Any, name: str, wanted: str = "hold real numbers") -> NoReturn:
    _refuse(TypeError, f"{name} must {wanted}, got {_kind(x)}{_advice(x, name)}")


# Real numbers ----------------------------------------------------------------------------------


def _real(array: np.ndarray, x: Any, name: str, where: Where, inside: str) -> np.ndarray:
    """`array`, made of `x` or of what is `inside` it, as one of real numbers."""
    dtype = array.dtype
    if dtype.kind in NUMERIC:
        return array
    if dtype.kind == "O":
        return _of_objects(array, name, where)
    if dtype.kind == "V" and dtype.names is None:
        for wide in (np.int64, np.float32):  # bfloat16 and others, which NumPy does not know itself
            if np.can_cast(dtype, wide):
                return array.astype(wide)
    if dtype.names is not None:
        inside += f"; call numpy.lib.recfunctions.structured_to_unstructured({name})"
    elif dtype.kind in "UST" and array.size:
        # Of a list in which there are numbers, too, NumPy makes texts of all.
        texts = np.ndenumerate(np.asarray(x, object) if _is_list(x) else array.astype(object))
        inside = next(
            (f": {where(at)} is {_shown(e)}" for at, e in texts if isinstance(e, str | bytes)), ""
        )
    _refuse(TypeError, f"{name} must hold real numbers, got dtype {dtype}{inside}")


def _of_objects(array: np.ndarray, name: str, where: Where) -> np.ndarray:
    """Objects that are all real numbers: as int64 if they are integers that fit, else float64."""
    kinds = set(map(type, array.flat))
    if kinds and all(issubclass(kind, int | np.integer | np.bool_) for kind in kinds):
        try:
            return array.astype(np.int64)
        except OverflowError:
            pass
    if all(issubclass(kind, Real | Decimal | np.bool_) for kind in kinds):
        try:
            found = array.astype(np.float64)
        except (ArithmeticError, ValueError):
            pass
        else:
            if all(map(_is_represented, array[np.isinf(found)])):
                return found
    at, element = next((at, e) for at, e in np.ndenumerate(array) if not _is_represented(e))
    place = f" at {where(at)}" if at else ""
    if isinstance(element, Real) or (isinstance(element, Decimal) and not element.is_nan()):
        place += ", too large for float64"
    elif array.ndim == 1 and isinstance(element, np.ndarray | list | tuple):
        place += f"; call numpy.stack({name})"
    _refuse(TypeError, f"{name} must hold real numbers, got {_shown(element)}{place}")


def _is_represented(element: Any) -> bool:
    """Whether an object is a real number that a float64 can stand for."""
    if not isinstance(element, Real | Decimal | np.bool_):
        return False
    try:
        value = float(element)
    except (ArithmeticError, ValueError):
        return False
    return not math.isinf(value) or bool(element == value)


# Data frames -----------------------------------------------------------------------------------


def _of_columns(columns: list[tuple[Any, Any]], name: str, where: Where) -> np.ndarray:
    """The numbers of a data frame, of columns that may be of several kinds."""
    parts = [_column(place, *column, name, where) for place, column in enumerate(columns)]
    return np.column_stack(parts or [np.empty((0, 0))])


def _column(place: int, label: Any, column: Any, name: str, of_frame: Where) -> np.ndarray:
    def where(at: tuple[int, ...]) -> str:
        return of_frame((at[0], place))

    _look_for_missing(column, name, where)
    inside = f" in column {frames.shown(label)}"
    array = _real(np.asarray(_array(column, name)), column, name, where, inside)
    if array.ndim != 1:
        _refuse(TypeError, f"{name} must hold a number a row{inside}, got {array.shape[1:]}")
    return array


# Words -----------------------------------------------------------------------------------------


def _kind(x: Any) -> str:
    """What an object is, in words."""
    if x is None or isinstance(x, type):
        return "None" if x is None else f"the class {x.__name__}"
    kind = type(x).__name__
    return f"an {kind}" if kind[:1] in "aeioAEIO" else f"a {kind}"


def _shown(value: Any) -> str:
    """An object as Python writes it, on one line and not long."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an integer of more digits than Python writes; anything of a user's
        return _kind(value)
    return text if len(text) <= LONGEST // 3 else text[: LONGEST // 3] + "..."


def _advice(x: Any, name: str) -> str:
    """What to call, as the end of a sentence; nothing if that is not known."""
    calls = "".join(f".{step}()" for step in _steps_of_tensor(x))
    if calls:
        return f"; call {name}{calls}"
    if hasattr(x, "detach"):  # a tensor that none of these helps
        return ""
    for way in WAYS_OUT:
        if callable(getattr(x, way, None)):
            return f"; call {name}.{way}()"
    if hasattr(x, "get") and (hasattr(x, "__array__") or hasattr(x, "__cuda_array_interface__")):
        return f"; call {name}.get()"  # CuPy's; that of a dict is another
    if isinstance(x, Mapping):
        return f"; call numpy.column_stack(list({name}.values()))"
    may_be_listed = isinstance(x, Iterable) and not any(hasattr(x, sign) for sign in OF_ARRAYS)
    return f"; call list({name})" if may_be_listed else ""


def _steps_of_tensor(x: Any) -> list[str]:
    """What makes an array of a tensor of PyTorch, or of one that is like it, can read."""
    if not hasattr(x, "detach"):
        return []
    dtype, device = str(getattr(x, "dtype", "")), getattr(x, "device", None)
    layout = str(getattr(x, "layout", "torch.strided"))
    wanted = {
        "detach": getattr(x, "requires_grad", False),
        "cpu": getattr(device, "type", "cpu") not in ("cpu", "meta"),
        "to_dense": layout not in ("torch.strided", "torch.jagged"),
        "dequantize": getattr(x, "is_quantized", False),
        "resolve_conj": hasattr(x, "is_conj") and x.is_conj(),
        "resolve_neg": hasattr(x, "is_neg") and x.is_neg(),
        "float": dtype == "torch.bfloat16" or dtype.startswith(("torch.float8", "torch.float4")),
    }
    return [step for step, is_wanted in wanted.items() if is_wanted]
