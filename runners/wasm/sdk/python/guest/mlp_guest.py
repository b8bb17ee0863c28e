"""The component's side of a Python transform: loads the file, gives it batches, tells what went wrong.

It is part of every built component and of nothing else; users see the package ``mlp`` alone.

The file is executed twice. While the component is built, only so that everything it imports is there and that its
mistakes show at once. And in the sandbox, before the first batch, where it has no clock, randomness or files: nothing
of the machine that built the component can get into a result.
"""

import importlib.util
import io
import json
import sys
import types as python_types

import mlp_columns
import mlp_sandbox
from componentize_py_types import Err, Ok
from mlp import Batch, MissingColumn, RowError, Transform, WrongResult
from wit_world import WitWorld as World
from wit_world.imports import types

SOURCE = "mlp_user_source"
FILE = "<transform>"
MODULE = "transform"
MAX_FRAMES = 24
MAX_CHARS = 2000


class WitWorld(World):
    def map_rows(self, input, adds, params):
        try:
            outcome = Ok(run(input, adds, params))
        except BaseException as error:  # Whatever it is: an exception that leaves this function ends the instance.
            outcome = Err(describe(error))
        return types.Answer(printed.take(), outcome)


class WrongCall(Exception):
    """The file is no transform, or cannot be called like this."""

    def __init__(self, message, column=None, row=None):
        super().__init__(message)
        self.column = column
        self.row = row


def run(batch, adds, params):
    global loaded
    if loaded is None:
        loaded = load()
    given = {parameter.name: getattr(parameter.value, "value", None) for parameter in params}
    wrong = loaded.wrong_parameters(given)
    if wrong is not None:
        raise WrongCall(wrong)
    columns = {column.name: mlp_columns.to_python(column, WrongCall) for column in batch.columns}
    result = loaded(Batch(columns, batch.n_rows), **given)
    if not hasattr(result, "keys"):
        raise WrongResult(f"the transform returned {mlp_columns.a(result)}, not a dict of columns")
    result = dict(result)
    declared = ", ".join(f"`{field.name}`" for field in adds)
    for name in result:
        if not isinstance(name, str):
            raise WrongResult(f"the transform returned a dict with {mlp_columns.a(name)} as a key, not a column's name")
        if all(field.name != name for field in adds):
            raise WrongResult(f"the transform returned column `{name}`, but declares {declared} alone", name)
    for field in adds:
        if field.name not in result:
            raise WrongResult(f"the transform did not return column `{field.name}`, which it declares", field.name)
    return [mlp_columns.from_python(field, result[field.name], batch.n_rows) for field in adds]


def load():
    """Executes the file and returns its transform."""
    module = python_types.ModuleType(MODULE)
    module.__file__ = FILE
    sys.modules[MODULE] = module
    exec(compile(source, FILE, "exec"), module.__dict__)
    found = []
    for value in vars(module).values():
        if isinstance(value, Transform) and all(value is not other for other in found):
            found.append(value)
    if not found:
        raise WrongCall("the file has no function marked `@transform`")
    if len(found) > 1:
        names = ", ".join(f"`{one.__name__}`" for one in found)
        raise WrongCall(f"the file has {len(found)} functions marked `@transform` ({names}); it must have one")
    return found[0]


def describe(error):
    """Says what went wrong, with the places in the transform's file."""
    cause, row, column = types.Cause.FAILED, None, None
    if isinstance(error, RowError):
        cause = types.Cause.REFUSED
    elif isinstance(error, WrongResult):
        cause = types.Cause.WRONG_RESULT
    elif isinstance(error, (WrongCall, MissingColumn)):
        cause = types.Cause.WRONG_CALL
    if isinstance(error, (RowError, WrongResult, WrongCall, MissingColumn)):
        row = getattr(error, "row", None)
        column = getattr(error, "column", None)
    row = row if isinstance(row, int) and 0 <= row < 1 << 32 else None
    column = column if isinstance(column, str) else None
    try:
        message = str(error.msg if isinstance(error, SyntaxError) else error)
    except Exception:
        message = ""
    message = message[:MAX_CHARS].encode(errors="replace").decode()
    kind = type(error).__name__ if cause == types.Cause.FAILED else ""
    return types.Error(cause, kind, message, row, column, frames_of(error))


def frames_of(error):
    frames = []
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if code.co_filename == FILE:
            frames.append(types.Frame(FILE, step.tb_lineno or 0, code.co_name))
        step = step.tb_next
    if isinstance(error, SyntaxError) and error.filename == FILE:
        frames.append(types.Frame(FILE, error.lineno or 0, "<module>"))
    if len(frames) > MAX_FRAMES:
        frames = frames[: MAX_FRAMES // 2] + frames[-MAX_FRAMES // 2 :]
    return frames


def build():
    """Executes the file once, for its imports. Tells mlp of a mistake by a line that it looks for."""
    try:
        load()
    except BaseException as error:
        told = describe(error)
        frames = [[frame.line, frame.function] for frame in told.frames]
        kind = told.kind or ("" if isinstance(error, (WrongCall, MissingColumn)) else type(error).__name__)
        sys.__stderr__.write("\nmlp-guest " + json.dumps({"kind": kind, "message": told.message, "frames": frames}) + "\n")
        sys.__stderr__.flush()
        raise SystemExit(1) from None
    del sys.modules[MODULE]


with io.open(importlib.util.find_spec(SOURCE).origin, encoding="utf-8") as file:
    source = file.read()
loaded = None
printed = sys.stdout = sys.stderr = mlp_sandbox.Printed()
mlp_sandbox.forget_other_packages(__file__, importlib.util.find_spec("mlp").origin)
build()
printed.take()
mlp_sandbox.close()
