"""Update rules as kernels know them: `fastnn.kernels.rules` has the table and the formulas.

Both `MLP` and the estimators take them from here.  `fastnn.book` has kernels of its own, which
differ in bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastnn.compiler.rounding import rounding_to_nearest
from fastnn.kernels import rules
from fastnn.kernels.rules import Numbers

# Of running means kernels read the share that is new, not the one that is kept.
OF_MEANS = {"mean_kept": "mean_new", "squares_kept": "squares_new"}


class Rule(NamedTuple):
    """An update rule."""

    code: int
    memories: int  # arrays of the size of the parameters that it remembers
    reads: tuple[str, ...]  # names of numbers

    def hyper(self, dtype: np.dtype, **numbers: float) -> np.ndarray:
        """The numbers that it `reads`, in the array in which kernels look for them.

        Parameters
        ----------
        dtype : numpy.dtype
            Precision of the network.
        **numbers : float
            Of each name one.

        Returns
        -------
        ndarray

        Raises
        ------
        ValueError
            If what keeps a rule from dividing by zero is too large for `dtype`, or counts as zero.

        Examples
        --------
        >>> import numpy as np
        >>> RULES["rmsprop"].hyper(np.dtype("float32"), squares_kept=0.75, epsilon=0.5)
        array([0.  , 0.  , 0.25, 0.5 ], dtype=float32)
        """
        if set(numbers) != set(self.reads):
            raise TypeError(f"the rule reads {self.reads}, got {tuple(numbers)}")
        hyper = np.zeros(len(Numbers._fields), dtype)
        fitting(numbers.get("epsilon", 0.0), dtype, "epsilon")
        with rounding_to_nearest():
            for name, number in numbers.items():
                hyper[_place(name)] = 1 - number if name in OF_MEANS else number
        smallest = float(np.finfo(dtype).tiny)  # below it numbers are zero in kernels
        if numbers.get("epsilon", smallest) < smallest:
            raise ValueError(
                f"epsilon must be at least {smallest:.3g} in {dtype}, got {numbers['epsilon']}"
            )
        return hyper


def _place(name: str) -> int:
    field = OF_MEANS.get(name, name)
    if field not in Numbers._fields:
        raise TypeError(f"kernels.rules.Numbers has no field {field!r}")
    return Numbers._fields.index(field)


RULES = {
    name: Rule(rules.RULE_CODES[name], row.memories, row.told) for name, row in rules.RULES.items()
}


def fitting(number: float, dtype: np.dtype, name: str) -> float:
    """The number, if it is not too large for this precision."""
    if float(number) > float(np.finfo(dtype).max):  # one of NumPy's narrow types would overflow
        raise ValueError(f"{name} must fit {dtype}, got {number}")
    return float(number)


def adam_corrections(
    mean_kept: float, squares_kept: float, first: int, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """What learning rates are multiplied with and divided by, for Adam's means began at zero.

    Of `count` steps, `first` having been made before.  Both, as it matters to the last bit whether
    a rate is multiplied first, as in scikit-learn, or with the quotient, as in the book.
    """
    t = np.arange(first + 1, first + count + 1, dtype=np.float64)
    return np.sqrt(1 - squares_kept**t), 1 - mean_kept**t
