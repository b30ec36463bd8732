"""A replay as a picture: the evidence about each feature over time, alarms, recoveries, known changes.

Plain SVG, one lane for each feature; HTML holds the same picture with a list of what was reported. Neither
needs anything but a browser. PNG is drawn from the SVG by the extra `plot`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from edge_mlops_monitor.axis import row_ticks, time_ticks
from edge_mlops_monitor.errors import DataError, MissingExtraError
from edge_mlops_monitor.replay import Replay
from edge_mlops_monitor.trace import Point

KINDS = (".html", ".svg", ".png")
WIDTH, LEFT, RIGHT = 1080, 190, 20  # of the picture, in pixels, and what is beside the lanes
TOP, LANE, GAP = 78, 64, 14
LABEL = 140  # pixels that an alarm's label may take
LANES, OTHERS, LEAST_OTHERS = 20, 6, 2  # most lanes, and those of features without an alarm
LOWEST, HIGHEST_FLOOR = 1e-6, 1e-2  # of the evidence that is drawn
INK, MUTED, RULE = "#111827", "#6b7280", "#d1d5db"
EVIDENCE, AREA, ALARM, ALARMED, BACK, CHANGE = (
    "#2563eb",
    "#dbeafe",
    "#dc2626",
    "#fee2e2",
    "#15803d",
    "#7c3aed",
)
FONT = "font-family=\"'DejaVu Sans', 'Liberation Sans', Arial, sans-serif\""


class Lane(NamedTuple):
    """What is drawn about one feature."""

    name: str
    points: Sequence[Point]
    alarms: list[dict[str, Any]]
    recoveries: list[dict[str, Any]]


def check(path: Path) -> None:
    """Raise where no picture can be written to `path`, before anything is computed for it."""
    if path.suffix.lower() not in KINDS:
        raise DataError(f"{path}: is no picture that can be drawn; name it .html, .svg or .png")
    if not path.parent.is_dir():
        raise DataError(f"{path}: there is no folder {path.parent}; make it first")
    if path.suffix.lower() == ".png":
        _renderer(path)


def draw(path: Path, found: Replay, title: str, told: str = "") -> None:
    """Write the picture as `.html`, `.svg` or `.png`; HTML holds also what was `told` as text."""
    picture = svg(found, title)
    if path.suffix.lower() == ".png":
        path.write_bytes(_png(path, picture))
    elif path.suffix.lower() == ".svg":
        path.write_text(picture, encoding="utf-8")
    else:
        path.write_text(_page(picture, title, told), encoding="utf-8")


def svg(found: Replay, title: str) -> str:
    """The picture as SVG."""
    return _Drawing(found, title).text()


class _Drawing:
    def __init__(self, found: Replay, title: str) -> None:
        self.found, self.title = found, title
        self.in_time = found.first_ts is not None and (found.last_ts or 0.0) > found.first_ts
        self.first = float(found.first_ts or 0.0) if self.in_time else 0.0
        self.last = float(found.last_ts or 0.0) if self.in_time else float(max(found.predictions - 1, 1))
        self.lanes, self.left_out = _lanes(found)
        self.bottom = TOP + len(self.lanes) * (LANE + GAP)
        self.floor = _floor(self.lanes)
        self.parts: list[str] = []

    def text(self) -> str:
        """The whole picture."""
        self._head()
        for place in range(len(self.lanes)):
            self._bands(place)
        self._changes()
        self._axis()
        for place in range(len(self.lanes)):
            self._lane(place)
        self._legend()
        height = self.bottom + 54
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
                f'height="{height}" {FONT} font-size="12" fill="{INK}">',
                f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
                *self.parts,
                "</svg>\n",
            ]
        )

    def _x(self, row: float, ts: float | None) -> float:
        place = (ts if self.in_time and ts is not None else row) - self.first
        share = place / ((self.last - self.first) or 1.0)
        return round(LEFT + min(max(share, 0.0), 1.0) * (WIDTH - LEFT - RIGHT), 1)

    def _top(self, lane: int) -> int:
        return TOP + lane * (LANE + GAP)

    def _y(self, lane: int, level: float) -> float:
        share = 1 - math.log(min(max(level, self.floor), 1.0)) / math.log(self.floor)
        return round(self._top(lane) + LANE * (1 - share), 1)

    def _line(self, x1: float, y1: float, x2: float, y2: float, colour: str, more: str = "") -> None:
        self.parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}" {more}/>')

    def _say(self, x: float, y: float, words: str, more: str = "") -> None:
        self.parts.append(f'<text x="{x}" y="{y}" {more}>{escape(words)}</text>')

    def _head(self) -> None:
        self._say(20, 26, self.title, 'font-size="16" font-weight="bold"')
        count = len(self.found.alarms)
        words = f"{count} alarm{'' if count == 1 else 's'}" if count else "no alarm"
        others = f"; {self.left_out} features without an alarm are not shown" if self.left_out else ""
        self._say(
            20, 46, f"{words} in {self.found.predictions:,} predictions{others}".replace(",", " "), _muted()
        )

    def _bands(self, place: int) -> None:
        """The lane's ground, red where it is in alarm."""
        top = self._top(place)
        self.parts.append(
            f'<rect x="{LEFT}" y="{top}" width="{WIDTH - LEFT - RIGHT}" height="{LANE}" fill="#f9fafb"/>'
        )
        for start, end in _alarmed(self.lanes[place]):
            begin = self._x(start["index"], start["ts"])
            stop = self._x(self.last, self.last) if end is None else self._x(end["index"], end["ts"])
            self.parts.append(
                f'<rect x="{begin}" y="{top}" width="{max(stop - begin, 1):.1f}" height="{LANE}" '
                f'fill="{ALARMED}"/>'
            )

    def _changes(self) -> None:
        """What is known to have happened, over all lanes."""
        for change in (self.found.truth or {"changes": []})["changes"][:100]:
            x = self._x(change["index"], change["ts"])
            named = f"change of {change['feature']}" if change["feature"] else "change"
            self._line(x, TOP - 8, x, self.bottom - GAP, CHANGE, 'stroke-dasharray="5 4" stroke-width="1.5"')
            anchor = "end" if x > WIDTH - 200 else "start"
            self._say(x + (-4 if anchor == "end" else 4), TOP - 12, named, _muted(CHANGE, anchor))
            if change["until"] < self.found.predictions:
                end = self._x(change["until"], change["until_ts"])
                width = f'width="{max(end - x, 1):.1f}" height="{self.bottom - GAP - TOP}"'
                self.parts.append(f'<rect x="{x}" y="{TOP}" {width} fill="{CHANGE}" fill-opacity="0.08"/>')

    def _axis(self) -> None:
        ticks = time_ticks(self.first, self.last) if self.in_time else row_ticks(int(self.last))
        y = self.bottom - GAP
        for value, words in ticks:
            x = self._x(value, value)
            self._line(x, TOP, x, y + 5, RULE, 'stroke-width="0.7"')
            self._say(x, y + 20, words, _muted(anchor="middle"))
        self._line(LEFT, y, WIDTH - RIGHT, y, MUTED)

    def _lane(self, place: int) -> None:
        lane, top = self.lanes[place], self._top(place)
        self._say(LEFT - 12, top + LANE / 2 - 2, _short(lane.name, 24), 'text-anchor="end"')
        strongest = max((point[2] for point in lane.points), default=0.0)
        is_open = any(end is None for _, end in _alarmed(lane))
        count = f"{len(lane.alarms)} alarm{'' if len(lane.alarms) == 1 else 's'}"
        words = (
            "in alarm at the end"
            if is_open
            else count
            if lane.alarms
            else f"evidence at most {strongest:.2g}"
        )
        self._say(LEFT - 12, top + LANE / 2 + 14, words, _muted(ALARM if lane.alarms else MUTED, "end"))
        self._curve(place)
        self._line(LEFT, top, WIDTH - RIGHT, top, ALARM, 'stroke-dasharray="2 3" stroke-width="0.8"')
        for recovery in lane.recoveries:
            self._mark(place, recovery, BACK, "")
        labelled = -math.inf
        for alarm in lane.alarms:
            x = self._x(alarm["index"], alarm["ts"])
            is_free = x - labelled > LABEL
            labelled = x if is_free else labelled
            self._mark(place, alarm, ALARM, _size(alarm) if is_free else "")

    def _curve(self, place: int) -> None:
        """The evidence, interrupted while the feature is in alarm."""
        for stretch in _stretches(self.lanes[place]):
            xy = [f"{self._x(row, ts)},{self._y(place, level)}" for row, ts, level in stretch]
            ground = self._y(place, self.floor)
            first, last = (self._x(point[0], point[1]) for point in (stretch[0], stretch[-1]))
            area = f"{first},{ground} {' '.join(xy)} {last},{ground}"
            self.parts.append(f'<polygon points="{area}" fill="{AREA}"/>')
            self.parts.append(
                f'<polyline points="{" ".join(xy)}" fill="none" stroke="{EVIDENCE}" stroke-width="1.3"/>'
            )

    def _mark(self, place: int, finding: dict[str, Any], colour: str, words: str) -> None:
        x, top = self._x(finding["index"], finding["ts"]), self._top(place)
        anchor = "end" if x > WIDTH - 180 else "start"
        self.parts.append(f"<g><title>{escape(finding['message'])}</title>")
        self._line(x, top, x, top + LANE, colour, 'stroke-width="2"')
        self.parts.append(f'<circle cx="{x}" cy="{top}" r="4" fill="{colour}"/>')
        more = f'text-anchor="{anchor}" font-size="11" font-weight="bold" fill="{colour}"'
        self._say(x + (-7 if anchor == "end" else 7), top + 15, words, more)
        self.parts.append("</g>")

    def _legend(self) -> None:
        x, y = LEFT, self.bottom + 36
        self._say(20, y, "times in UTC" if self.in_time else "rows, from 0", _muted())
        entries = [
            (EVIDENCE, f"evidence, {self.floor:g} to 1, where an alarm is due"),
            (ALARM, "alarm"),
            (BACK, "over"),
        ]
        entries += [(CHANGE, "known change")] * bool(self.found.truth and self.found.truth["changes"])
        for colour, words in entries:
            self._line(x, y - 4, x + 18, y - 4, colour, 'stroke-width="3"')
            self._say(x + 24, y, words, _muted())
            x += 48 + round(6.4 * len(words))


def _lanes(found: Replay) -> tuple[list[Lane], int]:
    """Features in alarm in the order of their alarms, then those nearest to one; how many are left out."""
    points = found.trace.points if found.trace is not None else {}
    alarmed = list(dict.fromkeys((alarm["source"], alarm["feature"]) for alarm in found.alarms))
    others = [key for key in points if key not in alarmed]
    others.sort(key=lambda key: -max(point[2] for point in points[key]))
    chosen = alarmed[:LANES] + others[: max(OTHERS - len(alarmed), LEAST_OTHERS)]
    lanes = []
    for key in chosen:
        alarms, recoveries = (
            [one for one in findings if (one["source"], one["feature"]) == key]
            for findings in (found.alarms, found.recoveries)
        )
        lanes.append(Lane(" ".join(filter(None, key)), points.get(key, []), alarms, recoveries))
    return lanes, len(alarmed) + len(others) - len(chosen)


def _floor(lanes: Iterable[Lane]) -> float:
    """The power of ten below nearly all evidence, which healthy data seldom leave far behind."""
    levels = sorted(point[2] for lane in lanes for point in lane.points)
    usual = levels[len(levels) // 20] if levels else LOWEST
    return float(min(max(10.0 ** math.floor(math.log10(usual)), LOWEST), HIGHEST_FLOOR))


def _alarmed(lane: Lane) -> Iterable[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each alarm with the finding that ends it; None where it is open at the end."""
    for alarm in lane.alarms:
        later = (
            one for one in lane.recoveries if one["index"] > alarm["index"] and one["of"] == alarm["type"]
        )
        yield alarm, next(later, None)


def _stretches(lane: Lane) -> Iterable[list[Point]]:
    """The points outside of alarms; those before an alarm end in it."""
    begin = -1
    for alarm, end in _alarmed(lane):
        inside = [point for point in lane.points if begin < point[0] < alarm["index"]]
        yield [*inside, (alarm["index"], alarm["ts"], 1.0)]
        begin = max(begin, alarm["index"] if end is None else end["index"])
        if end is None:
            return
    rest = [point for point in lane.points if point[0] > begin]
    if rest:
        yield rest


def _size(alarm: dict[str, Any]) -> str:
    """The size of a change in a few words."""
    effect, unit = alarm.get("effect"), alarm.get("effect_unit") or ""
    if effect is None or alarm["type"] != "drift":
        return str(alarm["type"]).replace("_", " ")
    if unit.startswith("share"):
        return f"{effect:+.0%} {unit.partition(' ')[2]}"
    if unit == "times reference sd":
        return f"sd × {effect:.2f}"
    if unit.startswith("reference"):
        return f"{effect:+.2f} {unit.partition(' ')[2]}"
    return f"{effect:.2f} {unit}"


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def _muted(colour: str = MUTED, anchor: str = "start") -> str:
    return f'font-size="11" fill="{colour}" text-anchor="{anchor}"'


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font-family: 'DejaVu Sans', Arial, sans-serif; margin: 2rem auto; max-width: 1120px; padding: 0 1rem;
  background: #f3f4f6; color: #111827; }}
figure {{ margin: 0; background: #fff; border-radius: 8px; padding: 8px; overflow-x: auto; }}
figure svg {{ width: 100%; height: auto; min-width: 720px; }}
pre {{ background: #fff; border-radius: 8px; padding: 1rem 1.25rem; overflow-x: auto; line-height: 1.45; }}
</style></head><body>
<figure>
{picture}</figure>
<pre>{told}</pre>
</body></html>
"""


def _page(picture: str, title: str, told: str) -> str:
    return PAGE.format(title=escape(title), picture=picture, told=escape(told))


def _renderer(path: Path) -> Any:
    try:
        return import_module("resvg_py")
    except ImportError:
        command = "pip install 'edge-mlops-monitor[plot]'"
        raise MissingExtraError(
            f"{path}: PNG needs resvg_py; run: {command}, or name it .svg or .html"
        ) from None


def _png(path: Path, picture: str) -> bytes:
    render = _renderer(path).svg_to_bytes
    letter = '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">{}</svg>'
    text = f'<text y="15" {FONT}>M</text>'
    if bytes(render(svg_string=letter.format(text))) == bytes(render(svg_string=letter.format(""))):
        raise DataError(
            f"{path}: this machine has no font to draw with; install one, or name it .svg or .html"
        )
    return bytes(render(svg_string=picture, zoom=2))
