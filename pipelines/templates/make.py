#!/usr/bin/env python3
"""Makes the data of the templates: invented by the rules below, from a fixed seed, so nobody's and free of any licence.

    pipelines/templates/make.py    # writes data/*.csv of each template; the same bytes every time

Python's standard library is enough.
"""

import csv
import math
import random
from datetime import date, datetime, timedelta
from pathlib import Path

HERE = Path(__file__).resolve().parent


def write(name, head, rows):
    with open(HERE / name, "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        table.writerows(rows)


def chance(logit):
    return 1 / (1 + math.exp(-logit))


def churn():
    """Customers of a phone company: short contracts, high bills and calls for help make people leave."""
    draw = random.Random(11)
    rows = []
    for i in range(1200):
        months = min(72, int(draw.expovariate(1 / 26)))
        contract = draw.choices(["monthly", "yearly", "two_years"], [6, 3, 2])[0]
        fee = round(draw.uniform(12, 95), 2)
        billed = "" if months == 0 else round(fee * months * draw.uniform(0.9, 1.05), 2)
        calls = min(9, int(draw.expovariate(1 / 1.2)))
        gender = draw.choice(["f", "m", "x"])
        logit = -1.6 + {"monthly": 1.3, "yearly": -0.6, "two_years": -1.8}[contract]
        logit += 0.022 * (fee - 50) + 0.5 * calls - 0.035 * (months - 20)
        left = draw.random() < chance(logit)
        callback = "yes" if left and draw.random() < 0.8 or draw.random() < 0.02 else "no"
        rows.append([f"C{i:05}", gender, months, contract, fee, billed, calls, callback, "yes" if left else "no"])
    head = ["customer", "gender", "months", "contract", "monthly_fee", "billed", "help_calls", "win_back_call", "left"]
    write("churn/data/customers.csv", head, rows)


def demand():
    """Loaves sold a day in four shops: weekdays, seasons, weather and offers."""
    draw = random.Random(12)
    rows = []
    level = {"harbour": 140, "market": 220, "station": 180, "hill": 90}
    week_ago = {shop: [] for shop in level}
    first = date(2025, 1, 1)
    for n in range(365):
        day = first + timedelta(days=n)
        season = math.cos((n - 20) / 365 * 2 * math.pi)
        warmth = round(11 - 10 * season + draw.gauss(0, 3), 1)
        for shop, usual in level.items():
            offer = draw.random() < 0.12
            weekday = day.isoweekday()
            factor = {6: 1.45, 7: 0.35, 1: 0.9}.get(weekday, 1.0)
            if shop == "station" and weekday >= 6:
                factor *= 0.6
            mean = usual * factor * (1 + 0.1 * season) * (1.25 if offer else 1) * (1 - 0.004 * max(0, warmth - 20))
            sold = max(0, round(draw.gauss(mean, 0.07 * mean)))
            before = week_ago[shop][-7] if len(week_ago[shop]) >= 7 else ""
            week_ago[shop].append(sold)
            price = 2.9 if offer else 3.6
            takings = round(sold * price, 2)
            rows.append([f"{shop}-{day}", shop, day, weekday, warmth, str(offer).lower(), before, takings, sold])
    head = ["id", "shop", "day", "weekday", "warmth", "offer", "sold_week_before", "takings", "sold"]
    write("demand/data/sales.csv", head, rows)


def fraud():
    """Payments by card, and what a bank knew of each card at which time."""
    draw = random.Random(13)
    start = datetime(2026, 1, 1)
    payments, ratings = [], []
    for card in range(260):
        name = f"K{card:04}"
        is_stolen = draw.random() < 0.16
        trust = round(draw.gauss(640, 60))
        ratings.append([name, (start - timedelta(hours=draw.randint(1, 900))).strftime("%Y-%m-%dT%H:%M:%SZ"), trust])
        stolen_at = start + timedelta(hours=draw.randint(200, 1200))
        if is_stolen:
            received = stolen_at + timedelta(hours=draw.randint(5, 60))
            ratings.append([name, received.strftime("%Y-%m-%dT%H:%M:%SZ"), trust - draw.randint(120, 260)])
        elif draw.random() < 0.4:
            received = start + timedelta(hours=draw.randint(100, 1300))
            ratings.append([name, received.strftime("%Y-%m-%dT%H:%M:%SZ"), trust + draw.randint(-40, 40)])
        for _ in range(draw.randint(6, 20)):
            at = start + timedelta(seconds=draw.randint(0, 1400 * 3600))
            bad = is_stolen and at > stolen_at and draw.random() < 0.8
            amount = round(math.exp(draw.gauss(4.9 if bad else 3.4, 0.9)), 2)
            kinds = [2, 4, 5, 1] if bad else [8, 4, 2, 3]
            kind = draw.choices(["food", "travel", "electronics", "services"], kinds)[0]
            abroad = draw.random() < (0.5 if bad else 0.07)
            hour = at.hour if not bad or draw.random() < 0.5 else draw.randint(0, 5)
            at = at.replace(hour=hour)
            refunded = bad and draw.random() < 0.9
            payments.append([name, at, amount, kind, abroad, refunded, bad])
    payments.sort(key=lambda row: (row[1], row[0]))
    rows = [
        [f"P{i:06}", card, at.strftime("%Y-%m-%dT%H:%M:%SZ"), amount, kind, at.hour, yes(abroad), yes(refunded), yes(bad)]
        for i, (card, at, amount, kind, abroad, refunded, bad) in enumerate(payments)
    ]
    write("fraud/data/payments.csv", ["payment", "card", "at", "amount", "kind", "hour", "abroad", "refunded", "fraud"], rows)
    write("fraud/data/ratings.csv", ["card", "received", "trust"], sorted(ratings, key=lambda row: (row[1], row[0])))


def yes(flag):
    return "true" if flag else "false"


def image():
    """Pictures of metal parts, 8 x 8 grey points; some parts have a scratch. Several pictures show the same part."""
    draw = random.Random(14)
    rows = []
    for part in range(240):
        scratched = draw.random() < 0.4
        light = draw.uniform(110, 170)
        across, down, steep = draw.uniform(1, 6), draw.uniform(1, 6), draw.uniform(-1.2, 1.2)
        for shot in range(3):
            grain = [[draw.gauss(light, 9) for _ in range(8)] for _ in range(8)]
            if scratched:
                shift_x, shift_y = draw.uniform(-0.7, 0.7), draw.uniform(-0.7, 0.7)
                for y in range(8):
                    x = across + shift_x + steep * (y - down - shift_y)
                    for column in range(8):
                        near = math.exp(-((column - x) ** 2) / 0.5)
                        grain[y][column] += 38 * near
            points = [max(0, min(255, round(value))) for line in grain for value in line]
            rows.append([f"{part:03}-{shot}", f"part{part:03}", "yes" if scratched else "no", *points])
    head = ["picture", "part", "scratched"] + [f"p{y}{x}" for y in range(8) for x in range(8)]
    write("image/data/pictures.csv", head, rows)


if __name__ == "__main__":
    churn()
    demand()
    fraud()
    image()
