"""What bench_detection.py found, as the tables of docs/detection.md."""

from __future__ import annotations

from typing import Any

from detection_methods import STREAMING
from detection_streams import CHANGES, FEATURES, HEALTHY
from workload import figure

OURS, ORACLE, KS = "e_detector", "oracle", "KS windows"
PEERS = (KS, *STREAMING)
RATIO, POOLED, WORST = 1.5, 1.3, 1.5  # goals
EVERY = 50_000  # predictions between the alarms of periodic


def tables(found: dict[str, Any]) -> str:
    """All tables, as Markdown."""
    parts = []
    if "healthy" in found:
        parts += healthy(found["healthy"])
    if "changed" in found:
        parts += changed(found["changed"]["delays"], found["changed"]["runs"])
        parts += thresholds(found["changed"]["thresholds"])
    if found.get("series"):
        parts += nab(found["series"]["nab"]) + tcpd(found["series"]["tcpd"])
    return "\n\n".join(parts)


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def healthy(found: dict[str, Any]) -> list[str]:
    """False alarms by case."""
    rows = []
    for name, one in {**found["cases"], **found["longer"]}.items():
        judged = name in HEALTHY and HEALTHY[name].judged
        kinds = ", ".join(f"{count} {kind}" for kind, count in one["kinds"].items())
        alarms = f"{one['alarms']}{f' ({kinds})' if kinds else ''}"
        rows.append(
            [
                name if judged else f"({name})",
                alarms,
                f"{one['exposure']} of {one['budgets']}",
                f"{one['silent']:.0%}",
            ]
        )
    words = (
        f"The nine cases together: {found['alarms']} alarms in {found['exposure']} budgets, at most "
        f"{found['upper']:.2f} times the budget (95 %; goal {POOLED}); the worst case has "
        f"{found['worst']:.2f} times its budget (goal {WORST})."
    )
    return [
        "**Alarms on healthy data**",
        table(["", "alarms", "budgets with an answer", "not enough reference"], rows),
        words,
    ]


def changed(found: dict[str, Any], runs: int) -> list[str]:
    """Mean delays by change and method."""
    rows = []
    for change, by in found.items():
        ours, oracle = by[OURS], by[ORACLE]
        cells = [_delay(by[method]) for method in (ORACLE, OURS, *PEERS)]
        rows.append([change, *cells, f"{ours['mean'] / oracle['mean']:.2f}"])
    medians = [
        [change, *(f"{by[m]['median']:.0f} / {by[m]['90 %']:.0f}" for m in (ORACLE, OURS, *PEERS))]
        for change, by in found.items()
    ]
    return [
        f"**Mean delay in predictions**, {runs} runs of each change (in brackets the share missed)",
        table(["", ORACLE, OURS, *PEERS, "e_detector by oracle"], rows),
        f"Never: all missed. Always: 1, at {EVERY // FEATURES} times the false alarms. Periodic, at the same "
        f"rate of alarms: 80 % missed, 9000 in the mean.",
        "**Median delay / 90 % of the delays**",
        table(["", ORACLE, OURS, *PEERS], medians),
    ]


def _delay(one: dict[str, Any]) -> str:
    missed = f" ({one['missed']:.0%})" if one["missed"] else ""
    return f"{one['mean']:.0f}{missed}"


def thresholds(found: dict[str, Any]) -> list[str]:
    """The thresholds found, and how near to the wanted rate of alarms they are."""
    rows = [
        [kind, name, f"{one['number']:.4g}", f"{one['alarms_by_wanted']:.2f}"]
        for kind, by in found.items()
        for name, one in by.items()
    ]
    return [
        "**Thresholds** that bring every method to one alarm in 5000 healthy predictions (ADWIN, KSWIN: "
        "minus the log of `delta`, `alpha`; e_detector: the log of its nominal run length; oracle: the log-"
        "likelihood ratio)",
        table(["data", "method", "threshold", "alarms by alarms wanted"], rows),
    ]


def nab(found: dict[str, Any]) -> list[str]:
    """Scores on NAB's visible series."""
    boards = found["profiles"]
    names = list(next(iter(boards.values()))["published"])
    rows = [
        ["e_detector, 5000 predictions (chosen beforehand)"]
        + [f"{b['beforehand']:.1f}" for b in boards.values()],
        ["e_detector, best budget"]
        + [f"{b['best']:.1f} ({b['best_run_length']:.0f})" for b in boards.values()],
        *([name] + [f"{b['published'][name]:.1f}" for b in boards.values()] for name in names),
    ]
    return [
        f"**NAB**, {found['files']} visible series, others as published for the same files; not enough "
        f"reference in {found['silent']} of them",
        table(["", *boards], rows),
    ]


def tcpd(found: list[dict[str, Any]]) -> list[str]:
    """Hits, false alarms and delays on the quality-control series."""
    rows = [
        [
            str(one["series"]),
            "none" if one["change"] is None else str(one["change"]),
            "not enough reference"
            if one["silent"] and not one["alarms"]
            else ", ".join(
                f"{row} (since {since})" for row, since in zip(one["alarms"], one["since"], strict=True)
            )
            or "none",
            "" if one["delay"] is None else str(one["delay"]),
            str(one["false"]),
        ]
        for one in found
    ]
    return ["**TCPD**, quality control", table(["series", "change", "alarms", "delay", "false"], rows)]


def figures(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What is held to goals, and the scores, as lines of docs/benchmarks.md."""
    lines = []
    if "healthy" in found:
        one = found["healthy"]
        note = f"{one['alarms']} alarms in {one['exposure']} budgets"
        lines += [
            figure(
                "upper limit of the false-alarm rate, healthy data",
                one["upper"],
                "budgets",
                goal=POOLED,
                note=note,
            ),
            figure("false alarms of the worst healthy case", one["worst"], "budgets", goal=WORST),
        ]
    for change, by in found.get("changed", {}).get("delays", {}).items():
        shift = CHANGES[change.removesuffix(", gradual")].shift
        best = ORACLE if shift else min(PEERS, key=lambda peer: by[peer]["mean"])
        missed = f"{by[OURS]['missed']:.0%} missed" if by[OURS]["missed"] else ""
        lines.append(
            figure(
                f"mean delay of the alarm, {change}",
                by[OURS]["mean"],
                "predictions",
                beside=by[best]["mean"],
                beside_is=best if shift else f"{best}, the best other",
                ratio_goal=RATIO if shift else 1.0,
                note=missed,
            )
        )
    if found.get("series"):
        lines += series_figures(found["series"])
    return lines


def series_figures(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Scores on the published series."""
    standard, tcpd = found["nab"]["profiles"]["standard"], found["tcpd"]
    best = max(standard["published"], key=lambda name: standard["published"][name])
    beside, is_of = standard["published"][best], f"{best}, the best published for these files"
    designed = sum(one["change"] is not None for one in tcpd)
    return [
        figure(
            "NAB, standard, budget chosen beforehand",
            standard["beforehand"],
            "of 100",
            beside=beside,
            beside_is=is_of,
        ),
        figure("NAB, standard, best budget", standard["best"], "of 100", beside=beside, beside_is=is_of),
        figure(
            "TCPD quality control, changes found",
            sum(one["delay"] is not None for one in tcpd),
            f"of {designed}",
        ),
        figure("TCPD quality control, false alarms", sum(one["false"] for one in tcpd), "alarms"),
    ]
