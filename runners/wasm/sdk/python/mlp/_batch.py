"""Rows of a table, column by column."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator, Mapping
from typing import Union

from mlp._errors import MissingColumn, WrongResult

Value = Union[None, float, int, bool, str, datetime.date, datetime.datetime, decimal.Decimal, datetime.timedelta]
Column = list


class Batch(Mapping[str, Column]):
    """Columns by name, each a list with one value for each row; ``None`` is a blank value.

    The lists are the transform's own: it may change and return them.
    """

    __slots__ = ("_columns", "_n_rows")

    def __init__(self, columns: Mapping[str, Column], n_rows: int | None = None) -> None:
        self._columns = {name: list(values) for name, values in columns.items()}
        lengths = {len(values) for values in self._columns.values()}
        if n_rows is not None:
            lengths.add(n_rows)
        if len(lengths) > 1:
            raise WrongResult(f"the columns of a batch have different numbers of rows: {sorted(lengths)}")
        self._n_rows = lengths.pop() if lengths else 0

    @property
    def n_rows(self) -> int:
        """How many rows the batch has. (``len(batch)`` is its number of columns.)"""
        return self._n_rows

    def __getitem__(self, name: str) -> Column:
        try:
            return self._columns[name]
        except KeyError:
            raise MissingColumn(name, self._columns) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"Batch({', '.join(self._columns)}; n_rows={self._n_rows})"
