"""Transforms for mlp pipelines, in Python.

A transform is one function over a batch of rows. It is given columns as lists and returns the columns it adds or
replaces::

    from mlp import Batch, transform

    @transform
    def clean(t: Batch, *, months: int = 12) -> dict[str, list]:
        return {"tenure_years": [m / months for m in t["tenure"]]}

A blank value is ``None``. Values are ``float``, ``int``, ``bool``, ``str``, ``datetime.date``, ``datetime.datetime``
(in UTC), ``decimal.Decimal`` and ``datetime.timedelta``. Parameters of the pipeline come as keyword arguments.

``mlp run`` builds the file into a WebAssembly component and runs it there: without clock, randomness, files or network,
and with the standard library alone. The same file imports and runs in ordinary Python, so a test needs no mlp::

    assert clean({"tenure": [6, 18]}) == {"tenure_years": [0.5, 1.5]}
"""

from mlp._batch import Batch, Column, Value
from mlp._errors import MissingColumn, RowError, WrongResult
from mlp._transform import Transform, transform

__all__ = ["Batch", "Column", "MissingColumn", "RowError", "Transform", "Value", "WrongResult", "transform"]
