"""Two runs of the history with the same prompt, to be held side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from gemtop.comparison.pairs import RECORDED, Pair, Side
from gemtop.domain.comparison import part_at
from gemtop.domain.errors import BadInputError

if TYPE_CHECKING:
    from gemtop.history.workbench import Workbench

_SQL = """SELECT r.run_id, r.variant, r.training, r.quantization, r.status, s.prompt, s.output,
    (SELECT list(token_id ORDER BY "index") FROM tokens WHERE run_id = r.run_id AND phase = 'decode') AS tokens
FROM runs r JOIN store.runs s ON s.run_id = r.run_id
WHERE r.run_id IN ($left, $right)"""


def read_pair(bench: Workbench, left: str, right: str, on_wait: Callable[[str], None]) -> Pair:
    """Raises BadInputError where they cannot be held side by side, HistoryError, QueryStoppedError."""
    result = bench.run(_SQL, {"left": left, "right": right}, on_wait=on_wait)
    try:
        names = [column.name for column in result.columns]
        rows = {row[0]: dict(zip(names, row, strict=True)) for row in result.rows(0, 2)}
    finally:
        result.drop()
    return recorded_pair(rows.get(left), rows.get(right))


def recorded_pair(left: Mapping[str, Any] | None, right: Mapping[str, Any] | None) -> Pair:
    """Of two rows. Raises BadInputError with what stands in the way."""
    if left is None or right is None:
        raise BadInputError("one of the runs is not in the history any more")
    for row in (left, right):
        if row["prompt"] is None or row["output"] is None:
            raise BadInputError(f"run {row['run_id']} has no text: it was left out, or the run was none of a prompt")
    if left["prompt"] != right["prompt"]:
        raise BadInputError("the two runs have different prompts; d on another run of the same prompt")
    side = partial(_side, same_variant=left["variant"] == right["variant"])
    ours, theirs = side(left), side(right)
    at = part_at(ours.tokens, theirs.tokens) if ours.tokens and theirs.tokens else None
    return Pair(f"{left['run_id']} | {right['run_id']}", left["prompt"], ours, theirs, at, reason=RECORDED)


def _side(row: Mapping[str, Any], *, same_variant: bool) -> Side:
    ids = row["tokens"] or ()
    label = f"{row['variant']} ({row['run_id']})" if same_variant else row["variant"]
    known = all(token is not None for token in ids)
    return Side(label, row["training"], row["quantization"], row["output"], tuple(ids) if known else ())
