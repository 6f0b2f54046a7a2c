"""The figures of a report: each is drawn from what its SQL gives, and that SQL stands beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from gemtop.charts import pictures
from gemtop.charts.pictures import Bar, Box, Curve, Frame, Point, Span
from gemtop.comparison.outcome import Outcome
from gemtop.comparison.report.document import Figure
from gemtop.domain.plan import gib
from gemtop.history.dataset import Dataset

Row = Mapping[str, Any]
_Z = "1.959964"
_MEMORY = (
    ("vram_peak_bytes", "peak VRAM of the cards"),
    ("ram_peak_bytes", "peak RAM of the process"),
    ("size_bytes", "size of the file: no run says more"),
)


def figures(data: Dataset, found: Outcome, no_latencies: str | None) -> list[Figure]:
    """All of them; where the data have nothing to draw, with the reason. `no_latencies` is why tokens have none."""
    return [
        _memory_perplexity(data, found),
        _memory_kl(data, found),
        _speed(data, found),
        _boxes(data, found, no_latencies),
        _curves(data, found, no_latencies),
        _energy(data, found),
        _throttling(data, found),
        _along(data, found),
    ]


def _interval(name: str) -> str:
    return f"{name}, {name}_ci95, {name}_n"


# Memory against quality


def _memory(data: Dataset) -> tuple[str, str]:
    """The column that says how much memory: the first that every variant with a perplexity has."""
    for name, words in _MEMORY:
        sql = f"SELECT count(*) AS n, count({name}) AS known FROM 'data/variants.parquet' WHERE perplexity IS NOT NULL"
        row = data.ask(sql)[0]
        if row["n"] and row["n"] == row["known"]:
            return name, words
    return _MEMORY[-1]


def _memory_perplexity(data: Dataset, found: Outcome) -> Figure:
    memory, words = _memory(data)
    sql = f"""SELECT number, label, {memory} AS memory_bytes,
    100 * (exp(ln_perplexity_ratio) - 1) AS change_pct,
    100 * (exp(ln_perplexity_ratio - {_Z} * ln_perplexity_ratio_se) - 1) AS low_pct,
    100 * (exp(ln_perplexity_ratio + {_Z} * ln_perplexity_ratio_se) - 1) AS high_pct
FROM 'data/variants.parquet'
WHERE ln_perplexity_ratio IS NOT NULL AND {memory} IS NOT NULL
UNION ALL BY NAME
SELECT number, label, {memory} AS memory_bytes, 0.0 AS change_pct
FROM 'data/variants.parquet'
WHERE is_baseline AND perplexity IS NOT NULL AND {memory} IS NOT NULL
ORDER BY number"""

    def point(row: Row) -> Point:
        span = Span(row["change_pct"], row["low_pct"], row["high_pct"])
        shown = _percent(span) if row["number"] != found.job.baseline else "the baseline"
        return Point(
            row["mark"], _named(row, found), f"{gib(row['memory_bytes'])}, {shown}", x=row["memory_bytes"] / 2**30,
            y=span,
        )  # fmt: skip

    return _figure(
        data, found, "memory-perplexity", "Memory against perplexity",
        f"Change of the perplexity from the baseline's, with its 95 % interval over tokens, against the {words}. Lower"
        " is better, and further left is smaller.",
        sql, lambda rows: pictures.scatter(
            Frame("memory-perplexity", "Memory against perplexity", "memory, GiB", "perplexity, % from the baseline's"),
            [point(row) for row in rows], at_zero=True,
        ),
        least=2, reason="no variant was held against the baseline's predictions of a text",
    )  # fmt: skip


def _percent(span: Span) -> str:
    if span.low is None or span.high is None:
        return f"{_signed(span.value)} %, too few tokens for an interval"
    return f"{_signed(span.value)} % ({_signed(span.low)} to {_signed(span.high)})"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "\u2212")


def _memory_kl(data: Dataset, found: Outcome) -> Figure:
    memory, words = _memory(data)
    sql = f"""SELECT number, label, false AS of_checkpoint, {memory} AS memory_bytes, kl_mean, kl_mean_se
FROM 'data/variants.parquet'
WHERE kl_mean IS NOT NULL AND {memory} IS NOT NULL
UNION ALL
SELECT number, label, true, {memory}, checkpoint_kl_mean, checkpoint_kl_mean_se
FROM 'data/variants.parquet'
WHERE checkpoint_kl_mean IS NOT NULL AND {memory} IS NOT NULL
ORDER BY number, of_checkpoint"""

    def point(row: Row) -> Point:
        value, se = row["kl_mean"], row["kl_mean_se"]
        # On a logarithmic axis an interval that reaches 0 ends at a tenth of its value.
        span = Span(value) if se is None else Span(value, max(value / 10, value - 1.959964 * se), value + 1.959964 * se)
        label = row["label"] + (" from its own checkpoint" if row["of_checkpoint"] else "")
        shown = f"{gib(row['memory_bytes'])}, KL {estimate(value, se)}"
        return Point(row["mark"], label, shown, row["of_checkpoint"], row["memory_bytes"] / 2**30, span)

    return _figure(
        data, found, "memory-kl", "Memory against KL divergence",
        f"Mean KL divergence from the baseline, in nats a token, against the {words}. The line is the 95 % interval"
        " over tokens; behind ± stands one standard error. Hollow marks are held against a variant's own unquantised"
        " checkpoint instead.",
        sql, lambda rows: pictures.scatter(
            Frame("memory-kl", "Memory against KL divergence", "memory, GiB", "mean KL divergence, nats"),
            [point(row) for row in rows if row["kl_mean"] > 0], log_y=True,
        ) if any(row["kl_mean"] > 0 for row in rows) else None,
        reason="no variant was held against the baseline's predictions of a text, or none differs from them",
    )  # fmt: skip


def estimate(value: float, error: float | None) -> str:
    """A figure and its error, to two digits of the error: 0.0123 ± 0.0004."""
    if not error:
        return f"{value:.3g}"
    places = max(0, min(12, 1 - math.floor(math.log10(error))))
    return f"{value:,.{places}f} ± {error:.{places}f}"


# Speed and latency


def _speed(data: Dataset, found: Outcome) -> Figure:
    sql = f"""SELECT number, label, {_interval("decode_tokens_per_s")}
FROM 'data/variants.parquet'
WHERE decode_tokens_per_s IS NOT NULL
ORDER BY number"""
    return _figure(
        data, found, "speed", "Decode speed",
        "Tokens a second after the first, mean and 95 % interval. Higher is better.",
        sql, lambda rows: pictures.bars(
            Frame("speed", "Decode speed", "tokens/s"), [_bar(row, "decode_tokens_per_s", "tokens/s") for row in rows]
        ),
        reason="no run was fit for it, with 32 tokens or more",
    )  # fmt: skip


def _bar(row: Row, name: str, unit: str) -> Bar:
    mean, reach = row[name], row[f"{name}_ci95"]
    if reach is None:
        return Bar(row["mark"], row["label"], f"{mean:.4g} {unit}, one value: no interval", span=Span(mean))
    words = f"{estimate(mean, reach)} {unit}, n = {row[f'{name}_n']}"
    return Bar(row["mark"], row["label"], words, span=Span(mean, mean - reach, mean + reach))


def _boxes(data: Dataset, found: Outcome, no_latencies: str | None) -> Figure:
    sql = """SELECT l.number, l.label, count(*) AS tokens,
    quantile_cont(l.itl_ms, [0.05, 0.25, 0.5, 0.75, 0.95, 0.99]) AS quantiles_ms,
    any_value(v.itl_p50_ms) AS p50, any_value(v.itl_p50_ms_ci95) AS p50_ci95,
    any_value(v.itl_p99_ms) AS p99, any_value(v.itl_p99_ms_ci95) AS p99_ci95
FROM 'data/latencies.parquet' AS l JOIN 'data/variants.parquet' AS v USING (number)
GROUP BY l.number, l.label
ORDER BY l.number"""

    def box(row: Row) -> Box:
        words = f"p50 {estimate(row['p50'], row['p50_ci95'])}, p99 {estimate(row['p99'], row['p99_ci95'])} ms"
        return Box(row["mark"], row["label"], words, quantiles=tuple(row["quantiles_ms"]))

    return _figure(
        data, found, "latency", "Latency between tokens",
        "Of all gaps between generated tokens: the middle half with the median, a line from the 5th to the 95th"
        " percentile, a hollow mark at the 99th. The figures are means of the runs' own percentiles with their 95 %"
        " intervals.",
        sql, lambda rows: pictures.boxes(
            Frame("latency", "Latency between tokens", "inter-token latency, ms"), [box(row) for row in rows]
        ),
        reason=no_latencies or "",
    )  # fmt: skip


def _curves(data: Dataset, found: Outcome, no_latencies: str | None) -> Figure:
    sql = """SELECT number, label, count(*) AS tokens,
    list_transform(range(1, 100), lambda i: i / 100) AS shares,
    quantile_cont(itl_ms, list_transform(range(1, 100), lambda i: i / 100)) AS quantiles_ms
FROM 'data/latencies.parquet'
GROUP BY number, label
ORDER BY number"""
    return _figure(
        data, found, "latency-shares", "Latency, share by share",
        "Share of the gaps between tokens that are no longer than this, from 1 to 99 %. Further left is better; a long"
        " tail leans right at the top.",
        sql, lambda rows: pictures.curves(
            Frame("latency-shares", "Latency, share by share", "inter-token latency, ms", "share of the gaps"),
            [
                Curve(row["mark"], row["label"], f"{row['tokens']:,} gaps",
                      points=tuple(zip(row["quantiles_ms"], row["shares"], strict=True)))
                for row in rows
            ],
        ),
        reason=no_latencies or "",
    )  # fmt: skip


# Energy and throttling


def _energy(data: Dataset, found: Outcome) -> Figure:
    sql = f"""SELECT number, label, {_interval("decode_j_per_token")}
FROM 'data/variants.parquet'
WHERE decode_j_per_token IS NOT NULL
ORDER BY number"""
    reasons = {one.reasons.get("decode_j_per_token", "") for one in found.variants} - {""}
    return _figure(
        data, found, "energy", "Energy for a token",
        "Joules for each generated token after the first, mean and 95 % interval: of the cards that hold a part of the"
        " model, else of the processor packages. Lower is better.",
        sql, lambda rows: pictures.bars(
            Frame("energy", "Energy for a token", "J/token"), [_bar(row, "decode_j_per_token", "J") for row in rows]
        ),
        reason="; ".join(sorted(reasons)) or "no run was measured",
    )  # fmt: skip


def _throttling(data: Dataset, found: Outcome) -> Figure:
    sql = """SELECT number, label, sum(throttled_s) AS throttled_s,
    count(*) FILTER (WHERE throttled_s > 0) AS throttled_runs, count(throttled_s) AS runs,
    list_sort(list_distinct(flatten(list(throttle_reasons) FILTER (WHERE throttle_reasons IS NOT NULL)))) AS reasons
FROM 'data/runs.parquet'
WHERE throttled_s IS NOT NULL
GROUP BY number, label
ORDER BY number"""

    def bar(row: Row) -> Bar:
        why = f" ({', '.join(row['reasons'])})" if row["reasons"] else ""
        words = f"{row['throttled_s']:.3g} s in {row['throttled_runs']} of {row['runs']} runs{why}"
        return Bar(row["mark"], row["label"], words, span=Span(row["throttled_s"]))

    def draw(rows: list[Row]) -> str | None:
        if not any(row["throttled_s"] for row in rows):
            return None
        return pictures.bars(Frame("throttling", "Throttling", "seconds"), [bar(row) for row in rows])

    rows = data.ask(sql)
    runs = sum(row["runs"] for row in rows)
    return _figure(
        data, found, "throttling", "Throttling",
        "Seconds in which a card that holds a part of the model was throttled, all runs together, and by what. Each"
        " span is right to one sampling period at either end. Runs throttled for more than 1 % of their decode are in"
        " no speed.",
        sql, draw,
        reason=f"no card was throttled in any of {runs} runs" if runs
        else "no card that says whether it was throttled held a part of the model",
    )  # fmt: skip


# Along the text


def _along(data: Dataset, found: Outcome) -> Figure:
    sql = """SELECT a.number, a.label, a.part, a.parts, a.kl, v.kl_mean, v.kl_mean_se
FROM 'data/along.parquet' AS a JOIN 'data/variants.parquet' AS v USING (number)
WHERE a.kl IS NOT NULL
ORDER BY a.number, a.part"""

    def draw(rows: list[Row]) -> str | None:
        curves = []
        for number in dict.fromkeys(row["number"] for row in rows):
            mine = [row for row in rows if row["number"] == number]
            if not any(row["kl"] > 0 for row in mine):
                continue
            points = tuple((100 * (row["part"] - 0.5) / row["parts"], row["kl"]) for row in mine)
            words = f"mean {estimate(mine[0]['kl_mean'], mine[0]['kl_mean_se'])}"
            curves.append(Curve(mine[0]["mark"], mine[0]["label"], words, points=points, level=mine[0]["kl_mean"]))
        frame = Frame("along", "Divergence along the text", "way through the text, %", "")
        return pictures.strips(frame, curves) if curves else None

    parts = max((len(curve.get("kl", ())) for curve in found.along.values()), default=0)
    return _figure(
        data, found, "along", "Divergence along the text",
        f"KL divergence from the baseline in nats, means of {parts} equal stretches of the text; the broken line is the"
        " mean of all, with one standard error. All strips have the same scale.",
        sql, draw, reason="no variant was held against the baseline's predictions of a text, or none differs from them",
    )  # fmt: skip


def _named(row: Row, found: Outcome) -> str:
    return str(row["label"]) + (" (baseline)" if row["number"] == found.job.baseline else "")


def _figure(
    data: Dataset, found: Outcome, name: str, title: str, caption: str, sql: str,
    draw: Callable[[list[Row]], str | None], *, reason: str, least: int = 1,
) -> Figure:  # fmt: skip
    """Ask, and draw what comes of it; less than `least` rows are nothing to draw."""
    marks = found.marks
    rows: list[Row] = [{**row, "mark": marks[row["number"]]} for row in data.ask(sql)]
    picture = draw(rows) if len(rows) >= least else None
    return Figure(name, title, caption, sql, picture, "" if picture else reason)
