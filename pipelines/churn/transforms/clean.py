"""Makes customers comparable: a bill for everybody, and a yes or no where the file has a number."""

from __future__ import annotations

from mlp import Batch, RowError, transform


@transform
def clean(t: Batch) -> dict[str, list]:
    """Fills `TotalCharges` of brand-new customers, who have not been billed yet, and makes `SeniorCitizen` a bool."""
    return {
        "TotalCharges": [billed(*cells) for cells in zip(range(t.n_rows), t["tenure"], t["TotalCharges"])],
        "SeniorCitizen": [flag == 1 for flag in t["SeniorCitizen"]],
    }


def billed(row: int, months: int, charges: float | None) -> float:
    if charges is not None:
        return charges
    if months > 0:
        raise RowError(row, "`TotalCharges` is blank, but the customer is not new", column="TotalCharges")
    return 0.0
