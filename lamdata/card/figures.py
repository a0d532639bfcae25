"""Plain data -> pictures: histograms, points, curves, pairs of elements; each with the words and the table that say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from .page import Picture
from .periodic import by_number

SCALE = [[0.0, "rgba(127,127,127,0.08)"], [1.0, "#1f5fbf"]]  # to be read on black and on white


def label(said: str) -> str:
    """A text as plotly shows it, which takes some tags of HTML as such."""
    return escape(said, quote=False)


def histogram_picture(name: str, found: Mapping[str, Any], *, logarithmic: bool = False, of: str = "") -> Picture:
    """Of `card.sample.histogram`."""
    edges, counts, unit = found["edges"], found["counts"], found["unit"]
    middles = [(a + b) / 2 for a, b in zip(edges, edges[1:])]
    widths = [b - a for a, b in zip(edges, edges[1:])]
    axis = f"{name} ({unit})" if unit else name
    outside = found["below"] + found["above"]
    said = f"{found['values']:,} values{of}: mean {found['mean']:.4g}, standard deviation {found['std']:.4g}, from {found['low']:.4g} to {found['high']:.4g} {unit}".rstrip()
    said += f"; {outside:,} lie outside of the bins" if outside else ""
    traces = [{"type": "bar", "x": middles, "y": counts, "width": widths, "hovertemplate": "%{x:.5g}: %{y:,}<extra></extra>"}]
    upright: dict[str, Any] = {"title": {"text": "number"}, "type": "log" if logarithmic else "linear"}
    layout = {"title": {"text": label(name)}, "xaxis": {"title": {"text": label(axis)}}, "yaxis": upright, "showlegend": False}
    rows = [[a, b, count] for a, b, count in zip(edges, edges[1:], counts)]
    return Picture(title=name, said=said, traces=traces, layout=layout, columns=(f"from {unit}".rstrip(), "to", "number"), rows=rows)


def points_picture(
    title: str, said: str, groups: Mapping[str, Sequence[Sequence[Any]]], *, x: str, y: str, columns: Sequence[str], shade: str = ""
) -> Picture:
    """Groups of rows (x, y, text, ...) as points; `columns` name the cells of a row. With `shade`, the name of the fourth, by its value."""
    traces: list[dict[str, Any]] = []
    for name, rows in groups.items():
        marker: dict[str, Any] = {"size": 7, "opacity": 0.75}
        if shade and len({row[3] for row in rows}) > 1:
            bar = {"title": {"text": label(shade), "side": "right"}}
            marker |= {"color": [row[3] for row in rows], "colorscale": "Viridis", "showscale": True, "colorbar": bar}
        said_of = [label(str(row[2])) for row in rows]
        one = {"type": "scatter", "mode": "markers", "name": label(name), "x": [row[0] for row in rows], "y": [row[1] for row in rows]}
        traces.append(one | {"text": said_of, "marker": marker, "hovertemplate": "%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>"})
    layout = {"title": {"text": label(title)}, "xaxis": {"title": {"text": label(x)}}, "yaxis": {"title": {"text": label(y)}}}
    rows = [row for some in groups.values() for row in some]
    return Picture(
        title=title, said=said, traces=traces, layout=layout | {"showlegend": len(groups) > 1}, columns=columns, rows=rows, height=420
    )


def curves_picture(
    title: str, said: str, curves: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str, logarithmic: bool = True
) -> Picture:
    """Named lines through (x, y)."""
    traces = [
        {"type": "scatter", "mode": "lines+markers", "name": label(name), "x": [a for a, _ in line], "y": [b for _, b in line], "marker": {"size": 4}}
        for name, line in curves.items()
    ]  # fmt: skip
    upright: dict[str, Any] = {"title": {"text": label(y)}, "type": "log" if logarithmic else "linear"}
    beside = {"orientation": "v", "x": 1.02, "y": 1.0}
    layout = {
        "title": {"text": label(title)},
        "xaxis": {"title": {"text": label(x)}},
        "yaxis": upright,
        "showlegend": len(curves) > 1,
        "legend": beside,
    }
    rows = [[name, a, b] for name, line in curves.items() for a, b in line]
    return Picture(
        title=title, said=said, traces=traces, layout=layout, columns=("curve", x, y), rows=rows, height=max(320, 120 + 20 * len(curves))
    )


def bars_picture(title: str, said: str, groups: Mapping[str, Mapping[str, float]], *, y: str) -> Picture:
    """A bar for each name, beside each other where there are several groups."""
    traces = [
        {"type": "bar", "name": label(group), "x": [label(name) for name in bars], "y": list(bars.values()), "hovertemplate": "%{x}: %{y:.4g}<extra></extra>"}
        for group, bars in groups.items()
    ]  # fmt: skip
    sideways: dict[str, Any] = {"type": "category"}
    layout = {
        "title": {"text": label(title)},
        "xaxis": sideways,
        "yaxis": {"title": {"text": label(y)}},
        "bargap": 0.2,
        "showlegend": len(groups) > 1,
    }
    rows = [[*([group] if len(groups) > 1 else []), name, value] for group, bars in groups.items() for name, value in bars.items()]
    columns = (*(["of"] if len(groups) > 1 else []), "", y)
    return Picture(title=title, said=said, traces=traces, layout=layout, columns=columns, rows=rows)


def pairs_picture(title: str, said: str, counts: Mapping[tuple[str, str], int], *, unit: str) -> Picture:
    """Pairs of elements as a map, symmetric, by the logarithm of their counts."""
    symbols = by_number({symbol: 0 for pair in counts for symbol in pair})
    grid = [[counts.get((a, b), counts.get((b, a), 0)) for b in symbols] for a in symbols]
    shade = [[float(f"{1 + np.log10(n):.4g}") if n else None for n in row] for row in grid]
    traces = [
        {"type": "heatmap", "x": symbols, "y": symbols, "z": shade, "customdata": grid, "colorscale": SCALE, "zmin": 0, "showscale": False, "xgap": 1, "ygap": 1,
         "hovertemplate": "%{y}, %{x}: %{customdata:,}<extra></extra>"}
    ]  # fmt: skip
    turned = {"autorange": "reversed", "type": "category"}
    layout = {"title": {"text": label(title)}, "xaxis": {"type": "category"}, "yaxis": turned}
    rows = [[a, b, n] for (a, b), n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n]
    return Picture(
        title=title,
        said=said,
        traces=traces,
        layout=layout,
        columns=("element", "element", unit),
        rows=rows,
        height=min(900, 200 + 16 * len(symbols) + 120),
    )


def composition_map(compositions: Sequence[Mapping[str, Any]]) -> tuple[str, str, list[tuple[float, float]]] | None:
    """Names of two axes, and where each composition lies on them: the share of one element and the energy of two, else the principal axes of the shares.

    `None` where there is one element, or nothing to lay out. Of equal compositions the axes are equal, their signs too.
    """
    symbols = by_number({symbol: 0 for one in compositions for symbol in one["counts"]})
    if len(symbols) < 2:
        return None
    share = np.array([[one["counts"].get(symbol, 0) for symbol in symbols] for one in compositions], np.float64)
    share /= share.sum(axis=1, keepdims=True)
    if len(symbols) == 2:
        if any(one["energy"] is None for one in compositions):
            return None
        return (
            f"share of {symbols[1]}",
            "mean energy, eV/atom",
            [(float(f"{s:.5g}"), one["energy"]) for s, one in zip(share[:, 1], compositions)],
        )
    weight = np.array([one["frames"] for one in compositions], np.float64)
    apart = share - np.average(share, axis=0, weights=weight)
    _, vectors = np.linalg.eigh((apart * weight[:, None]).T @ apart)
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.argmax(np.abs(axes), axis=0), [0, 1]])
    names = [_axis(symbols, axis) for axis in axes.T]
    return names[0], names[1], [(round(float(a), 5) + 0.0, round(float(b), 5) + 0.0) for a, b in apart @ axes]


def _axis(symbols: Sequence[str], axis: np.ndarray) -> str:
    """A principal axis by the elements that it is most of."""
    first = sorted(range(len(symbols)), key=lambda i: (-round(abs(float(axis[i])), 6), i))[:3]
    return " ".join(f"{'+' if axis[i] > 0 else '−'}{abs(axis[i]):.2f} {symbols[i]}" for i in first if abs(axis[i]) > 0.05)
