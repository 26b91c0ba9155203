"""Charts as SVG paths with HTML around them. May import numpy, core, units and simulator.

A plot is stretched to whatever width there is; its lines keep their thickness, and the words of the axes are HTML
beside it. So one page fits a wide screen, a telephone and paper.
"""

import numpy as np
from numpy.typing import NDArray

from pdscaler.simulator.report.markup import Markup, element, joined
from pdscaler.simulator.report.panels import Curve, Panel, Shape
from pdscaler.simulator.report.scales import Scale, Tick

Reals = NDArray[np.float64]

WIDTH, HEIGHT = 1000.0, 200.0
"""Units of a plot; pixels are the page's matter."""


def chart(panel: Panel, time: Scale, counted_from_s: float) -> Markup:
    """Return one chart.

    Parameters
    ----------
    panel
        What it shows.
    time
        The horizontal axis.
    counted_from_s
        What lies before is marked as not counted, seconds of the trace.
    """
    plot = element(
        "div",
        _y_axis(panel.scale),
        element("div", _svg(panel, time, counted_from_s), element("div", class_="cursor", hidden=True), class_="plot"),
        _x_axis(time),
        class_="grid",
    )
    heading = element("h3", panel.title, id=f"{panel.key}-title")
    caption = element("figcaption", heading, _legend(panel), element("p", panel.summary, class_="summary"))
    return element("figure", caption, plot, class_="chart", aria_labelledby=f"{panel.key}-title")


def _svg(panel: Panel, time: Scale, counted_from_s: float) -> Markup:
    parts = [element("title", panel.title), element("desc", panel.summary)]
    ruled = [f"M0 {_y(tick.place)}H{WIDTH:g}" for tick in panel.scale.ticks]
    ruled += [f"M{_x(tick.place)} 0V{HEIGHT:g}" for tick in time.ticks]
    parts.append(element("path", d="".join(ruled), class_="ruled"))
    counted = float(time.place(np.array([counted_from_s]))[0])
    level = None if panel.level is None else float(panel.scale.place(np.array([panel.level.value]))[0])
    parts += [_curve(curve, panel.scale, time, level) for curve in panel.curves]
    if level is not None:
        parts.append(element("path", d=f"M0 {_y(level)}H{WIDTH:g}", class_="level"))
    if counted > 0:
        parts.append(element("path", d=f"M0 0H{_x(counted)}V{HEIGHT:g}H0z", class_="not-counted"))
    return element(
        "svg", *parts, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", preserveAspectRatio="none", role="img", focusable="false"
    )


def _curve(curve: Curve, scale: Scale, time: Scale, level: float | None) -> Markup:
    x, y = time.place(curve.at_s), scale.place(curve.values)
    if curve.shape is Shape.LINE:
        return element("path", d=_line(x, y), class_=f"line {curve.key}")
    runs = _runs(x, y)
    outline = element("path", d="".join(_steps(*run) for run in runs), class_=f"line {curve.key}")
    if curve.shape is Shape.AREA:
        return joined((element("path", d="".join(_below(*run) for run in runs), class_=f"area {curve.key}"), outline))
    if curve.shape is Shape.SHORTFALL and level is not None:
        short = "".join(_rectangles(*run, level) for run in runs)
        return joined((element("path", d=short, class_="shortfall"), outline))
    return outline


def _x(place: float) -> str:
    return f"{WIDTH * place:.1f}".rstrip("0").rstrip(".")


def _y(place: float) -> str:
    return f"{HEIGHT * (1 - place):.1f}".rstrip("0").rstrip(".")


def _line(x: Reals, y: Reals) -> str:
    """Return a line through points, broken at NaN; a point alone is a short dash."""
    known = ~np.isnan(y)
    apart = float(np.diff(x).min()) if len(x) > 1 else 1.0
    written, drawing = [], False
    for place in np.flatnonzero(known).tolist():
        alone = not drawing and (place + 1 == len(y) or not known[place + 1])
        if alone:
            begin, end = max(0.0, x[place] - apart / 2), min(1.0, x[place] + apart / 2)
            written.append(f"M{_x(begin)} {_y(y[place])}H{_x(end)}")
        else:
            written.append(f"{'L' if drawing else 'M'}{_x(x[place])} {_y(y[place])}")
        drawing = not alone and place + 1 < len(y) and bool(known[place + 1])
    return "".join(written)


def _runs(x: Reals, y: Reals) -> list[tuple[Reals, Reals]]:
    """Return the pieces between gaps: their edges, one more than values."""
    edges = np.append(x, 1.0)
    pieces, begin = [], None
    for place, unknown in enumerate([*np.isnan(y).tolist(), True]):
        if unknown and begin is not None:
            pieces.append((edges[begin : place + 1], y[begin:place]))
            begin = None
        elif not unknown and begin is None:
            begin = place
    return pieces


def _steps(edges: Reals, y: Reals) -> str:
    changes = (np.flatnonzero(np.diff(y)) + 1).tolist()
    steps = "".join(f"H{_x(edges[place])}V{_y(y[place])}" for place in changes)
    return f"M{_x(edges[0])} {_y(y[0])}{steps}H{_x(edges[-1])}"


def _below(edges: Reals, y: Reals) -> str:
    return f"{_steps(edges, y)}V{HEIGHT:g}H{_x(edges[0])}z"


def _rectangles(edges: Reals, y: Reals, level: float) -> str:
    return "".join(
        f"M{_x(edges[place])} {_y(level)}H{_x(edges[place + 1])}V{_y(y[place])}H{_x(edges[place])}z"
        for place in np.flatnonzero(y < level).tolist()
    )


def _y_axis(scale: Scale) -> Markup:
    labels = (element("span", tick.text, style=f"bottom:{100 * tick.place:.2f}%") for tick in scale.ticks)
    return element("div", *labels, class_="y-axis", aria_hidden="true")


def _x_axis(time: Scale) -> Markup:
    def label(number: int, tick: Tick) -> Markup:
        return element("span", tick.text, style=f"left:{100 * tick.place:.2f}%", class_="odd" if number % 2 else None)

    labels = (label(number, tick) for number, tick in enumerate(time.ticks))
    return element("div", *labels, class_="x-axis", aria_hidden="true")


def _legend(panel: Panel) -> Markup:
    entries = [
        element("li", _swatch(curve), curve.label, " ", element("output", data_series=curve.key))
        for curve in reversed(panel.curves)
    ]
    if panel.level is not None:
        swatch = element("path", d="M0 5H24", class_="level")
        entries.append(element("li", _swatch_svg(swatch), panel.level.label))
    return element("ul", *entries, class_="legend")


def _swatch(curve: Curve) -> Markup:
    parts = [element("path", d="M0 5H24", class_=f"line {curve.key}")]
    if curve.shape is Shape.AREA:
        parts.insert(0, element("path", d="M0 5H24V10H0z", class_=f"area {curve.key}"))
    return _swatch_svg(*parts)


def _swatch_svg(*parts: Markup) -> Markup:
    return element("svg", *parts, viewBox="0 0 24 10", class_="swatch", aria_hidden="true", focusable="false")
