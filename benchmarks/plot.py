"""Plot of the results of `fan_out`: deliveries per second, and their delay, against the number of watchers."""

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
