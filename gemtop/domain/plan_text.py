"""A plan of memory in lines of text: what `gemtop plan` prints, and the Models screen shows."""

from __future__ import annotations

from gemtop.domain.plan import MIB, Plan, gib, verdict
from gemtop.domain.text import one_line

_USES = {
    "weights": "weights_bytes",
    "KV global": "kv_global_bytes",
    "KV sliding window": "kv_swa_bytes",
    "compute": "compute_bytes",
    "output": "output_bytes",
}
"""Rows of the ledger, and the fields of MemoryUse they show."""


def plan_lines(plan: Plan) -> list[str]:
    """The plan as lines of text: the model, the settings, the ledger in MiB, what was searched for, the verdict."""
    model, settings = plan.model, plan.settings
    caches = {settings["type_k"], settings["type_v"]}
    cache = f"{settings['type_k']} cache" if len(caches) == 1 else "K {type_k}, V {type_v} cache".format(**settings)
    words = [
        f"{settings['n_ctx']:,} tokens",
        cache + (" with the whole context in every layer" if settings["swa_full"] else ""),
        f"flash attention {settings['flash_attn']}",
        f"micro-batch {settings['n_ubatch']:,}",
    ]
    if plan.devices:
        words.append(f"{settings['n_gpu_layers']} of {model['n_layers']} layers offloaded")
    return [
        f"{one_line(model['name'])}, {model['variant']}, {gib(model['size_bytes'])}",
        ", ".join(words),
        "",
        *_table(plan),
        "",
        *_searched(plan),
        one_line(verdict(plan)),
    ]


def _table(plan: Plan) -> list[str]:
    """A column for each device and the host, right-aligned."""
    columns = [["MiB", "memory", *_USES, "reserve", "free"]]
    columns += [
        [
            one_line(ledger.memory.name),
            _mib(ledger.memory.total_bytes),
            *(_mib(getattr(ledger.use, field)) for field in _USES.values()),
            _mib(ledger.memory.reserve_bytes),
            _mib(ledger.free_bytes),
        ]
        for ledger in plan.ledgers
    ]
    if any(ledger.use.reclaimable_bytes for ledger in plan.ledgers):
        for column, ledger in zip(columns, (None, *plan.ledgers), strict=True):
            column.insert(3, "  reclaimable" if ledger is None else _mib(ledger.use.reclaimable_bytes))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for label, *values in zip(*columns, strict=True):
        cells = (f"{value:>{width}}" for value, width in zip(values, widths[1:], strict=True))
        lines.append(f"{label:<{widths[0]}}   {'   '.join(cells)}")
    return lines


def _searched(plan: Plan) -> list[str]:
    """The longest contexts and the most layers; nothing where they were not searched for."""
    lines = []
    if plan.max_n_ctx:
        found = (f"{kind} {_tokens(longest)}" for kind, longest in plan.max_n_ctx.items())
        lines.append(f"longest context   {'   '.join(found)}")
    if plan.max_n_ctx and plan.devices:
        most = plan.max_n_gpu_layers
        words = "none" if most is None else f"{most} of {plan.model['n_layers']}"
        lines.append(f"most layers       {words}")
    return [*lines, ""] if lines else []


def _tokens(longest: int | None) -> str:
    if longest is None:
        return "refused"
    return f"{longest:,}" if longest else "none"


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / MIB:,.0f}"
