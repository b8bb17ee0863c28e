"""Writes metrics.json: what scikit-learn measures on inputs that any language can rebuild.

    python3 metrics.py > metrics.json      (scikit-learn 1.9.1, numpy 2.4.6)

u(n, k, s) is the Weyl sequence frac(s + phi * k * i), i = 1..n: no random numbers, no files. A metric that
scikit-learn answers with a warning or an error is null here. Tests compare with a tolerance of 1e-12.
"""
import json
import sys
import warnings

import numpy as np
from sklearn import metrics as M

phi = 0.6180339887498949


def u(n, k=1, s=0.0):
    return np.mod(s + phi * k * np.arange(1, n + 1), 1.0)


def measured(metric, *args, **kwargs):
    """The metric, or None where scikit-learn refuses, warns that it is undefined, or gives no finite number."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            value = float(metric(*args, **kwargs))
        except (ValueError, UserWarning, RuntimeWarning):
            return None
    return value if np.isfinite(value) else None


def ece(y, s):
    """Ten equal bins, each with its right edge."""
    bins = np.searchsorted(np.linspace(0, 1, 11)[1:-1], s)
    gaps = [(bins == b).mean() * abs(y[bins == b].mean() - s[bins == b].mean()) for b in range(10) if (bins == b).any()]
    return float(sum(gaps))


def binary(y, s, t=0.5):
    p = (s >= t).astype(int)
    tn, fp, fn, tp = (int(n) for n in M.confusion_matrix(y, p, labels=[0, 1]).ravel())
    return {
        "auc": measured(M.roc_auc_score, y, s),
        "average_precision": measured(M.average_precision_score, y, s),
        "log_loss": measured(M.log_loss, y, s, labels=[0, 1]),
        "brier": measured(M.brier_score_loss, y, s, pos_label=1),
        "precision": measured(M.precision_score, y, p),
        "recall": measured(M.recall_score, y, p),
        "f1": measured(M.f1_score, y, p, zero_division="warn"),
        "accuracy": measured(M.accuracy_score, y, p),
        "ece": ece(y, s),
        "tp": tp, "fp": fp, "tn": tn, "fn": fn,
    }


def regression(y, p):
    return {
        "mae": measured(M.mean_absolute_error, y, p),
        "rmse": measured(M.root_mean_squared_error, y, p),
        "r2": measured(M.r2_score, y, p, force_finite=False),
        "medae": measured(M.median_absolute_error, y, p),
        "max_error": measured(M.max_error, y, p),
        "mape": None if (y == 0).any() else measured(M.mean_absolute_percentage_error, y, p),
    }


def labels(s, n):
    return (u(n, 7) < (0.15 + 0.7 * s * np.sqrt(s))).astype(int)


out = {"binary": {}, "regression": {}}

s = u(600)
out["binary"]["plain"] = binary(labels(s, 600), s)
out["binary"]["threshold 0.8"] = binary(labels(s, 600), s, 0.8)
s = np.floor(u(1000) * 20) / 20  # 20 distinct scores, many of them exactly on the edge of a bin
out["binary"]["ties on bin edges"] = binary(labels(s, 1000), s)
s = np.full(50, 0.25)
out["binary"]["one score"] = binary(labels(u(50), 50), s)
s = u(90_001, 3)  # more rows than one batch of a table
out["binary"]["long"] = binary(labels(s, 90_001), s, 0.3)
s = np.floor(u(40) * 2)  # certain, and sometimes wrong: the log loss is clipped
out["binary"]["certain"] = binary(labels(u(40), 40), s)
s = u(30)
out["binary"]["all positive"] = binary(np.ones(30, int), s)
out["binary"]["all negative"] = binary(np.zeros(30, int), s)
out["binary"]["none predicted positive"] = binary(labels(s, 30), s * 0.4)
y = labels(s, 30)
out["binary"]["perfect"] = binary(y, 0.1 + 0.8 * y)

y = 5 + 10 * u(600, 3)
out["regression"]["plain"] = regression(y, y + 2 * (u(600, 5) - 0.5) + 0.3)
out["regression"]["odd number"] = regression(y[:599], y[:599] * 1.5)
y = 1e9 + u(90_001, 3)  # small differences of large numbers
out["regression"]["far from zero"] = regression(y, y + u(90_001, 5))
y = u(100) - 0.5
out["regression"]["both signs"] = regression(y, -y)
out["regression"]["constant target"] = regression(np.full(100, 3.0), 3 + u(100))
out["regression"]["one row"] = regression(np.array([2.0]), np.array([2.5]))
y = np.floor(10 * u(100))
out["regression"]["zeros in the target"] = regression(y, y + u(100, 5))

json.dump(out, sys.stdout, indent=1)
print()
