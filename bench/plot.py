"""Line plots as SVG, without a library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 400, 80, 40, 30, 60
_COLOURS = ("#1f5fa8", "#c2571a", "#3a8a3f")

Points = Sequence[tuple[float, float]]


def line_plot(title: str, x_label: str, y_label: str, series: Mapping[str, Points]) -> str:
    """Return a plot with axes that begin at 0.

    Args:
        series: points by name; at least one point in all.
    """
    every = [point for points in series.values() for point in points]
    x_end, y_end = _round_up(max(x for x, _ in every)), _round_up(max(y for _, y in every))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + x / x_end * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - y / y_end * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_WIDTH / 2, 20, title, anchor="middle", size=15),
        _text(_WIDTH / 2, _HEIGHT - 12, x_label, anchor="middle"),
        f'<text x="16" y="{_HEIGHT / 2}" text-anchor="middle" '
        f'transform="rotate(-90 16 {_HEIGHT / 2})">{y_label}</text>',
    ]
    for step in range(6):
        x, _ = place(x_end * step / 5, 0)
        _, y = place(0, y_end * step / 5)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ddd"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{y_end * step / 5:g}", anchor="end"))
        parts.append(_text(x, _HEIGHT - _BOTTOM + 18, f"{x_end * step / 5:g}", anchor="middle"))
    for number, (name, points) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        placed = [place(x, y) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        parts.append(_text(_LEFT + 12, _TOP + 14 + 16 * number, name, colour=colour))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, colour: str = "black") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{text}</text>'


def _round_up(value: float) -> float:
    """Return the next larger value of 1, 2, 2.5 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= value * 0.999))
