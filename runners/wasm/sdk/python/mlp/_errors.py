"""The errors that a transform raises, or causes."""

from __future__ import annotations

from collections.abc import Iterable


class RowError(Exception):
    """Refuses a row: the data is at fault, not the transform.

    ``row`` counts from 0 within the batch, as the lists do; mlp reports the row of the table. Do not put values of
    personal columns into the message.
    """

    def __init__(self, row: int, message: str, column: str | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.message = message
        self.column = column


class MissingColumn(KeyError):
    """The transform asks for a column that it is not given."""

    def __init__(self, column: str, given: Iterable[str]) -> None:
        super().__init__(column)
        self.column = column
        self.given = list(given)

    def __str__(self) -> str:
        given = ", ".join(f"`{name}`" for name in self.given) or "none"
        return f"the transform asks for column `{self.column}`, which it is not given; it has {given}"


class WrongResult(Exception):
    """What the transform returned is not what it declared."""

    def __init__(self, message: str, column: str | None = None, row: int | None = None) -> None:
        super().__init__(message)
        self.column = column
        self.row = row
