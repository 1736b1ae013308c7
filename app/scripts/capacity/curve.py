"""Draw the plans for up to a million streams as SVG: cores, memory, and the time of a change.

Both axes are logarithmic. The colors have enough contrast on white and on black, and the dashes
tell the lines apart without colors.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from app.scripts.capacity.measured import Measured
from app.scripts.capacity.model import Load, Plan, plan
from app.scripts.capacity.spread import simulate

STREAMS = tuple(round(10 ** (3 + step / 10)) for step in range(31))
_CHANGES = ((1.0, "1 change/s", ""), (0.1, "0.1", "7 4"), (0.01, "0.01", "2 4"))
_COLORS = ("#c2662d", "#2f81d0", "#3f9358")
_GRAY = "#7d8590"
_WIDTH, _HEIGHT = 250, 210
_LEFT, _TOP, _GAP = 62, 58, 88


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """A diagram. The axis has one line for each power of ten from `least` to `most`."""

    title: str
    least: int
    most: int
    value: Callable[[Plan], float]


def load_of(streams: int, changes: float) -> Load:
    """Return the load of a point: the other numbers are the same in the whole picture."""
    return Load(requests=1_000, streams=streams, flags=100, changes=changes)


def draw(measured: Measured) -> str:
    """Return the picture."""
    panels = (
        _Panel(title="cores busy", least=-2, most=3, value=lambda p: p.cores),
        _Panel(title="memory, GiB", least=-1, most=2, value=lambda p: p.memory_mib / 1024),
        _Panel(
            title="ms until 99 % have a change",
            least=1,
            most=4,
            value=lambda p: simulate(p, measured).p99_ms,
        ),
    )
    plans = [
        [plan(load_of(streams, changes), measured) for streams in STREAMS]
        for changes, _, _ in _CHANGES
    ]
    width = _LEFT + len(panels) * (_WIDTH + _GAP) - 36
    height = _TOP + _HEIGHT + 74
    load = load_of(STREAMS[-1], 1)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'font-family="system-ui, sans-serif" font-size="14">'
    )
    title = (
        "<title>Cores, memory and the time until 99 % of the clients have a change, for 1,000 to "
        f"1,000,000 streams: {_words(plans[0][-1])} with one change per second.</title>"
    )
    conditions = (
        f"Streams. {load.requests:,.0f} requests/s, {load.flags} flags, at most {load.fan_out:,} "
        "streams per process; each client evaluates all flags after a change."
    )
    lines = [head, title]
    for number, panel in enumerate(panels):
        lines.append(f'<g transform="translate({_LEFT + number * (_WIDTH + _GAP)} {_TOP})">')
        lines += _axes(panel)
        lines += _curves(panel, plans)
        lines.append("</g>")
    lines += [_text(_LEFT, height - 10, conditions, "start"), "</svg>"]
    return "\n".join(lines) + "\n"


def _words(last: Plan) -> str:
    return f"{last.cores:,.0f} cores and {last.memory_mib / 1024:,.0f} GiB"


def _axes(panel: _Panel) -> Iterator[str]:
    yield f'<text x="0" y="-34" fill="{_GRAY}" font-weight="600">{panel.title}</text>'
    for power in range(panel.least, panel.most + 1):
        y = _y(panel, 10**power)
        yield f'<path d="M0 {y:g}H{_WIDTH}" stroke="{_GRAY}" stroke-opacity="0.35"/>'
        yield _text(-8, y + 5, f"{10.0**power:,g}", "end")
    for power in range(3, 7):
        x = _x(10**power)
        yield f'<path d="M{x:g} {_HEIGHT}v5" stroke="{_GRAY}"/>'
        label = f"{10 ** (power - 3):g} k" if power < 6 else "1 M"
        yield _text(x, _HEIGHT + 22, label, "middle")


def _curves(panel: _Panel, plans: Sequence[Sequence[Plan]]) -> Iterator[str]:
    x = 0.0
    for color, (_, name, dash), line in zip(_COLORS, _CHANGES, plans, strict=True):
        points = " ".join(
            f"{_x(streams):.1f},{_y(panel, panel.value(of)):.1f}"
            for streams, of in zip(STREAMS, line, strict=True)
        )
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        yield (
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2.5"{dashes}/>'
        )
        # The legend is above the lines, because they may lie on each other.
        yield f'<path d="M{x:g} -15h22" stroke="{color}" stroke-width="2.5"{dashes}/>'
        yield f'<text x="{x + 27:g}" y="-10" fill="{color}">{name}</text>'
        x += 40 + 7.5 * len(name)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{_GRAY}">{text}</text>'


def _x(streams: float) -> float:
    return _WIDTH * (math.log10(streams) - 3) / 3


def _y(panel: _Panel, value: float) -> float:
    share = (math.log10(value) - panel.least) / (panel.most - panel.least)
    return round(_HEIGHT * (1 - share), 1)
