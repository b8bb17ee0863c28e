"""The decorator that makes a function a transform."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from mlp._batch import Batch, Column

Function = Callable[..., Mapping[str, Column]]


class Transform:
    """A function over batches. Calling it with a dict of columns runs it in place: that is how to test it."""

    def __init__(self, function: Function) -> None:
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters or parameters[0].kind not in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            raise TypeError(f"transform `{function.__name__}` must take the batch as its first argument")
        functools.update_wrapper(self, function)
        self.function = function
        self._parameters = parameters[1:]

    def __call__(self, columns: Batch | Mapping[str, Column], **params: Any) -> dict[str, Column]:
        batch = columns if isinstance(columns, Batch) else Batch(columns)
        return self.function(batch, **params)  # type: ignore[return-value]

    def wrong_parameters(self, given: Mapping[str, Any]) -> str | None:
        """Says what is wrong with the names of the parameters, if anything."""
        taken = [p.name for p in self._parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
        if len(taken) == len(self._parameters):
            for name in given:
                if name not in taken:
                    has = ", ".join(f"`{name}`" for name in taken) or "none"
                    return f"transform `{self.__name__}` has no parameter `{name}`; it has {has}"
        for p in self._parameters:
            variable = p.kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
            if p.default is inspect.Parameter.empty and not variable and p.name not in given:
                return f"transform `{self.__name__}` needs the parameter `{p.name}`"
        return None


def transform(function: Function) -> Transform:
    """Makes ``function`` the transform of its file; a file has exactly one.

    The function is called for one batch of up to 65,536 rows after another. What it returns for a row must not depend
    on how rows are batched.
    """
    return Transform(function)
