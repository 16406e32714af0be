"""Pictures of the results of `fan_out`: curves for the performance page, and a bar chart for the README."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def draw(results: Path, picture: Path) -> str:
    """Draw the figures in `results` into `picture` (SVG).

    Returns:
        Message for the operator: the name of the picture, or the reason why there is none.
    """
    try:
        import matplotlib as mpl
    except ImportError:
        return "no plot: `pip install -e '.[bench]'` brings matplotlib"
    mpl.use("svg")
    from matplotlib import pyplot

    mpl.rcParams["svg.hashsalt"] = "presenced"  # the same figures, the same file
    churns = json.loads(results.read_text())["figures"]["churns"]
    figure, (rate, delay) = pyplot.subplots(1, 2, figsize=(10, 4))
    for name in dict.fromkeys(churn["server"] for churn in churns):
        best: dict[int, dict[str, Any]] = {}
        for churn in (churn for churn in churns if churn["server"] == name):
            if churn["per_second"] > best.get(churn["watchers"], churn)["per_second"] or churn["watchers"] not in best:
                best[churn["watchers"]] = churn
        watchers = sorted(best)
        rate.plot(watchers, [best[n]["per_second"] for n in watchers], marker="o", label=name)
        delay.plot(watchers, [best[n]["p99_s"] * 1e3 for n in watchers], marker="o", label=name)
    for axes, title in ((rate, "deliveries per second, one core"), (delay, "p99 of the delay at that rate, ms")):
        axes.set(xscale="log", yscale="log", xlabel="watchers", title=title)
        axes.grid(visible=True, which="both", alpha=0.3)
    rate.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(picture, metadata={"Date": None})
    return f"drawn: {picture.name}"


BARS = ("presenced", "Bun", "Node ws")
"""Servers in the bar chart."""
BAR_WATCHERS = 1_000
LABEL_PX, BAR_PX, ROW_PX, HEAD_PX = 100, 480, 36, 34


def draw_bars(results: Path, picture: Path) -> None:
    """Draw the best deliveries per second of each server with 1,000 watchers as bars (SVG).

    The picture is legible on a light and on a dark background.
    """
    churns = json.loads(results.read_text())["figures"]["churns"]
    best = {
        name: max(c["per_second"] for c in churns if c["server"] == name and c["watchers"] == BAR_WATCHERS)
        for name in BARS
        if any(c["server"] == name for c in churns)
    }
    most = max(best.values())
    rows = []
    for row, (name, rate) in enumerate(best.items()):
        top, width = HEAD_PX + row * ROW_PX, max(2, round(BAR_PX * rate / most))
        fill = "#1a9e6b" if name == "presenced" else "#8a8f98"
        rows += [
            f'<text x="{LABEL_PX - 10}" y="{top + 18}" text-anchor="end">{name}</text>',
            f'<rect x="{LABEL_PX}" y="{top}" width="{width}" height="26" rx="3" fill="{fill}"/>',
            f'<text x="{LABEL_PX + width + 8}" y="{top + 18}">{rate / 1e6:.2g} million</text>',
        ]
    height = HEAD_PX + len(best) * ROW_PX
    described = ", ".join(f"{name} {rate / 1e6:.2g} million" for name, rate in best.items())
    picture.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}" width="700" height="{height}" role="img" '
        f'aria-label="Deliveries per second on one core: {described}" '
        'font-family="system-ui, sans-serif" font-size="15" fill="#6e7681">\n'
        f'<text x="{LABEL_PX}" y="18" font-weight="600">Messages delivered per second on one core, '
        f"{BAR_WATCHERS:,} connected users</text>\n" + "\n".join(rows) + "\n</svg>\n",
        "utf-8",
    )
