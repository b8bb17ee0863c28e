#!/usr/bin/env python3
"""Makes reference.json: what scikit-learn and PyTorch compute on data given by closed formulas.

Run by hand with numpy 2, scikit-learn 1.9 and PyTorch 2.11 installed; the tests read the file it writes:
    python3 runners/torch/tests/reference/make.py
"""

import json
import pathlib

import numpy as np
import sklearn
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# The rows are built by `table()` in `tests/data.rs` from the same formulas: keep them in step.
N_ROWS = 240
i = np.arange(N_ROWS)
amount = np.sin(i * 0.7) * 40.0 + i * 0.25
visits = (i * i) % 17
member = (i % 7) < 3
plan = np.array(["basic", "plus", "\u00fcber"])[(i * 5) % 3]
region = np.array(["n", "e", "s", "w"])[(i // 3) % 4]
churned = (np.sin(i * 1.3) * 2.0 + amount * 0.05 - visits * 0.2 + (plan == "plus") + member * 0.5) > 1.0
spent = 12.5 + amount * 3.0 - visits * 2.0 + (plan == "basic") * 7.0 + np.cos(i * 2.1) * 5.0
blank_amount = np.where(i % 11 == 5, np.nan, amount)


def encoded():
    numbers = np.column_stack([amount, visits, member]).astype(float)
    categories = np.column_stack([plan, region])
    one_hot = OneHotEncoder(sparse_output=False).fit(categories)
    return np.hstack([StandardScaler().fit_transform(numbers), one_hot.transform(categories)])


def encodings():
    scaler = StandardScaler().fit(np.column_stack([blank_amount, visits, member]).astype(float))
    return {"mean": scaler.mean_.tolist(), "std": scaler.scale_.tolist()}


def logistic():
    x = encoded()
    cases = []
    for c in [0.01, 1.0, 100.0]:
        fit = LogisticRegression(C=c, tol=1e-12, max_iter=100_000, solver="newton-cholesky").fit(x, churned)
        p = fit.predict_proba(x)[:, 1]
        cases.append({
            "c": c,
            "weights": fit.coef_[0].tolist(),
            "bias": fit.intercept_[0],
            "auc": roc_auc_score(churned, p),
            "log_loss": log_loss(churned, p),
        })
    return cases


def linear():
    x = encoded()
    cases = []
    for l2 in [0.0, 1.0, 50.0]:
        fit = Ridge(alpha=l2, tol=1e-14).fit(x, spent) if l2 > 0 else LinearRegression().fit(x, spent)
        cases.append({"l2": l2, "weights": fit.coef_.tolist(), "bias": float(fit.intercept_)})
    return cases


def adam():
    """The first 20 steps on the gradient 2 * (p - goal) + sin(step)."""
    goal = torch.tensor([0.5, -2.0, 3.0, 1e-3], dtype=torch.float64)
    cases = []
    for weight_decay in [0.0, 0.1]:
        p = torch.tensor([1.0, 0.0, -1.0, 100.0], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.AdamW([p], lr=0.05, weight_decay=weight_decay)
        steps = []
        for step in range(20):
            p.grad = (2.0 * (p.detach() - goal)) + np.sin(step)
            optimizer.step()
            steps.append(p.detach().tolist())
        cases.append({"weight_decay": weight_decay, "steps": steps})
    return cases


def mlp():
    """Full-batch AdamW epochs of a small net with weights given by a formula; one run for each loss."""
    x = torch.tensor(encoded(), dtype=torch.float32)
    spent_scaled = torch.tensor((spent - spent.mean()) / spent.std(), dtype=torch.float32)
    losses = {
        "log": (torch.nn.BCEWithLogitsLoss(), torch.tensor(churned, dtype=torch.float32)),
        "mse": (torch.nn.MSELoss(), spent_scaled),
        "mae": (torch.nn.L1Loss(), spent_scaled),
        "huber": (torch.nn.HuberLoss(), spent_scaled),
    }
    result = {}
    for name, (loss_of, y) in losses.items():
        net = torch.nn.Sequential(torch.nn.Linear(x.shape[1], 5), torch.nn.ReLU(), torch.nn.Linear(5, 3),
                                  torch.nn.ReLU(), torch.nn.Linear(3, 1))
        with torch.no_grad():
            at = 0
            for p in net.parameters():
                k = torch.arange(at, at + p.numel(), dtype=torch.float64)
                p.copy_((torch.sin(k * 0.37) * 0.4).reshape(p.shape))
                at += p.numel()
        optimizer = torch.optim.AdamW(net.parameters(), lr=0.01, weight_decay=0.02)
        values = []
        for _ in range(20):
            loss = loss_of(net(x).squeeze(1), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(loss.item())
        result[name] = values
    return result


out = pathlib.Path(__file__).with_name("reference.json")
reference = {
    "made_with": {"numpy": np.__version__, "scikit-learn": sklearn.__version__, "torch": torch.__version__},
    "encodings": encodings(),
    "logistic": logistic(),
    "linear": linear(),
    "adam": adam(),
    "mlp": mlp(),
}
out.write_text(json.dumps(reference, indent=1) + "\n")
