"""Columns between the component's interface and Python's own values.

Lists are checked by the set of their values' types, which is quick; only a list that has others is looked at value by
value, to name the row.
"""

import datetime
import decimal

from mlp import WrongResult
from wit_world.imports import types

EPOCH_DAY = datetime.date(1970, 1, 1).toordinal()
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)
MILLISECOND = datetime.timedelta(milliseconds=1)
EXACT = decimal.Context(prec=80, Emin=-999, Emax=999, traps=[])
LOW_BITS = (1 << 64) - 1
NONE = type(None)


def to_python(column, wrong):
    """Returns the column as a list in which a blank is None."""
    values = column.values
    match values:
        case types.Values_Dates(value=numbers):
            convert = lambda n: datetime.date.fromordinal(n + EPOCH_DAY)
        case types.Values_Timestamps(value=numbers):
            convert = lambda n: EPOCH + datetime.timedelta(microseconds=n)
        case types.Values_Durations(value=numbers):
            convert = lambda n: datetime.timedelta(milliseconds=n)
        case types.Values_Decimals(value=decimals):
            numbers = [(high << 64) | low for low, high in decimals.unscaled]
            exponent = decimal.Decimal(-decimals.scale)
            convert = lambda n: EXACT.scaleb(decimal.Decimal(n), exponent)
        case _:
            convert, numbers = None, values.value
    if convert is not None:
        try:
            numbers = list(map(convert, numbers))
        except (ValueError, OverflowError):
            row = next(i for i, n in enumerate(numbers) if fails(convert, n))
            raise wrong(f"column `{column.name}` has a value that Python's `datetime` cannot hold", column.name, row) from None
    if column.validity:
        return [value if valid else None for value, valid in zip(numbers, column.validity)]
    return numbers


def from_python(field, values, n_rows):
    """Returns the list as the declared column."""
    if not isinstance(values, (list, tuple)):
        raise WrongResult(f"column `{field.name}` is {a(values)}, not a list", field.name)
    if len(values) != n_rows:
        raise WrongResult(f"column `{field.name}` has {len(values)} values for {n_rows} rows", field.name)
    accepted, blank, convert, make = TARGETS[type(field.kind)]
    present = set(map(type, values))
    validity = b""
    if NONE in present:
        validity = bytes([value is not None for value in values])
        present.discard(NONE)
    if not present <= accepted:
        for row, value in enumerate(values):
            if value is not None and type(value) not in accepted and not is_a(value, accepted):
                wanted = WORDS[type(field.kind)]
                raise WrongResult(f"column `{field.name}` holds {a(value)}, but is declared `{wanted}`", field.name, row)
    change = convert(field.kind, present)
    if change is not None:
        try:
            values = [blank if value is None else change(value) for value in values]
        except (Unfit, OverflowError) as error:
            row = next(i for i, value in enumerate(values) if value is not None and fails(change, value))
            why = str(error) if isinstance(error, Unfit) else f"does not fit `{WORDS[type(field.kind)]}`"
            raise WrongResult(f"a value of column `{field.name}` {why}", field.name, row) from None
    elif validity:
        values = [blank if value is None else value for value in values]
    return types.Column(field.name, make(field.kind, list(values)), validity)


class Unfit(Exception):
    """A value of the right type that the column cannot hold; the text ends a sentence."""


def floats(_kind, present):
    return None if present <= {float} else float


def ints(_kind, _present):
    def check(n):
        if not -(1 << 63) <= n < 1 << 63:
            raise Unfit("does not fit 64 bits")
        return int(n)

    return check


def bools(_kind, _present):
    return None


def texts(_kind, present):
    def check(text):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Unfit("has a lone surrogate, which is no text") from None
        return str(text)

    return check


def dates(_kind, _present):
    return lambda day: day.toordinal() - EPOCH_DAY


def timestamps(_kind, _present):
    def check(at):
        if at.tzinfo is None:
            raise Unfit("has no time zone; use `datetime.timezone.utc`")
        return (at - EPOCH) // MICROSECOND

    return check


def durations(_kind, _present):
    def check(span):
        n, rest = divmod(span, MILLISECOND)
        if rest:
            raise Unfit("is no whole number of milliseconds; round it")
        return n

    return check


def decimals(kind, _present):
    precision, scale = kind.value
    limit, exponent = 10**precision, decimal.Decimal(scale)

    def check(number):
        number = EXACT.scaleb(decimal.Decimal(number), exponent)
        if not number.is_finite():
            raise Unfit("is no finite number")
        whole = int(number)
        if whole != number:
            raise Unfit(f"has more than {scale} digits after the point; round it")
        if abs(whole) >= limit:
            raise Unfit(f"has more than {precision} digits")
        return whole & LOW_BITS, whole >> 64

    return check


TARGETS = {
    types.Kind_Floats: ({float, int}, 0.0, floats, lambda _, v: types.Values_Floats(v)),
    types.Kind_Ints: ({int}, 0, ints, lambda _, v: types.Values_Ints(v)),
    types.Kind_Bools: ({bool}, False, bools, lambda _, v: types.Values_Bools(v)),
    types.Kind_Texts: ({str}, "", texts, lambda _, v: types.Values_Texts(v)),
    types.Kind_Dates: ({datetime.date}, 0, dates, lambda _, v: types.Values_Dates(v)),
    types.Kind_Timestamps: ({datetime.datetime}, 0, timestamps, lambda _, v: types.Values_Timestamps(v)),
    types.Kind_Durations: ({datetime.timedelta}, 0, durations, lambda _, v: types.Values_Durations(v)),
    types.Kind_Decimals: (
        {decimal.Decimal, int},
        (0, 0),
        decimals,
        lambda kind, v: types.Values_Decimals(types.Decimals(*kind.value, v)),
    ),
}

# As the pipeline's language calls them.
WORDS = {
    types.Kind_Floats: "float",
    types.Kind_Ints: "int",
    types.Kind_Bools: "bool",
    types.Kind_Texts: "str",
    types.Kind_Dates: "date",
    types.Kind_Timestamps: "timestamp",
    types.Kind_Durations: "duration",
    types.Kind_Decimals: "decimal",
}


def is_a(value, accepted):
    """Accepts subclasses, save those that are another kind of column."""
    if isinstance(value, (bool, datetime.datetime)):
        return False
    return isinstance(value, tuple(accepted))


def a(value):
    """Names a value's type, never the value."""
    word = type(value).__name__
    return "None" if value is None else f"an `{word}`" if word[:1].lower() in "aeiou" else f"a `{word}`"


def fails(function, value):
    try:
        function(value)
    except (Unfit, ValueError, OverflowError):
        return True
    return False
