"""One session out of the history, in the types it was recorded in, for showing it again.

What there is little of, runs, loads, devices and reasons, is read at once. Samples are read by stretches of time,
tokens and outputs by runs, as they are asked for: a day at ten readings a second is two million rows, of which a
screen shows a minute. The file is open only while something is read, so that others can write to it.

All moments are on the monotonic clock of the process that recorded, as they were when they were put down.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from gemtop.domain.errors import BadInputError
from gemtop.domain.records import LedgerRow, RoofRow, RunBegin, RunEnd
from gemtop.domain.telemetry import CostSample, DeviceInfo, DeviceSample, HostSample, TelemetryStatus
from gemtop.history.lines import SAMPLE_COLUMNS
from gemtop.history.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from gemtop.config import Paths

_Kind = TypeVar("_Kind")

_UNKNOWN = {
    "str": "",
    "int": 0,
    "float": 0.0,
    "bool": False,
    "tuple[str, ...]": (),
    "RunKind": "generate",
    "StopReason": "error",
}
"""What stands for a NULL where the type of a record's field has no None: histories of other programs have them."""
_NO_GPU = "no GPU was read in this session"
_NOT_KEPT = "the version of gemtop that recorded this session did not keep it"


@dataclass(frozen=True, slots=True)
class SessionRow:
    """What the history says of the session itself."""

    session_id: str
    started_at_ms: int
    started_ns: int
    end_ns: int | None
    status: str | None
    """finished or crashed; None while it is going on."""
    end_reason: str | None
    command: str | None
    host: str | None
    gemtop_version: str | None
    imported_from: str | None


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run as it was put down."""

    number: int
    begin: RunBegin
    end: RunEnd | None
    """None while it is going on. Without the output, which is asked for by itself."""
    roofs: tuple[RoofRow, ...] = ()
    has_output: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything of a session but its samples, tokens and outputs."""

    session: SessionRow
    runs: tuple[RecordedRun, ...]
    """In the order they began."""
    ledger: tuple[LedgerRow, ...]
    """In the order of the loads."""
    status: TelemetryStatus
    last_ns: int
    """Its end, or the last moment that something is known of."""
    has_samples: bool
    has_tokens: bool


@dataclass(frozen=True, slots=True)
class RunTokens:
    """When each token of a run was done, those of the prompt apart, in order."""

    prompt_ns: Sequence[int] = ()
    prompt_ids: Sequence[int] = ()
    generated_ns: Sequence[int] = ()
    generated_ids: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class SampleStretch:
    """The readings of a stretch of time, in the order they were taken."""

    devices: tuple[DeviceSample, ...] = ()
    hosts: tuple[HostSample, ...] = ()
    costs: tuple[CostSample, ...] = ()


@dataclass(slots=True)
class _Reasons:
    """Why readings of one source were missing: each change of it, from when on."""

    since_ns: list[int] = field(default_factory=list)
    reasons: list[dict[str, str]] = field(default_factory=list)

    def at(self, t_ns: int) -> Mapping[str, str]:
        number = bisect_right(self.since_ns, t_ns)
        return self.reasons[number - 1] if number else {}


_SESSION = """
    SELECT session_id, epoch_ms(started_at) AS started_at_ms, started_ns, end_ns + started_ns AS end_ns, status,
        end_reason, command, host, gemtop_version, imported_from
    FROM store.sessions WHERE session_id = $session
"""
_BEGIN = [f.name for f in fields(RunBegin) if f.name not in ("started_at_ms", "start_ns")]
_END = [f.name for f in fields(RunEnd) if f.name not in ("run_id", "end_ns", "output")]
_RUNS = f"""
    SELECT epoch_ms(started_at) AS started_at_ms, start_ns + $zero AS start_ns, end_ns + $zero AS end_ns,
        {", ".join(_BEGIN + _END)}, NULL AS output, run_id IN (
            SELECT run_id FROM store.runs WHERE session_id = $session AND output IS NOT NULL) AS has_output
    FROM store.runs WHERE session_id = $session ORDER BY runs.start_ns, runs.started_at, run_id
"""
# By rowid, and above by a filter: else DuckDB takes every text out of its compression only to leave it aside.
_OUTPUTS = """
    SELECT run_id, output FROM store.runs
    WHERE rowid IN (SELECT rowid FROM store.runs WHERE run_id IN (SELECT unnest($runs::VARCHAR[])))
"""
_ROOFS = f"""
    SELECT {", ".join(f.name for f in fields(RoofRow))} FROM store.roofs
    WHERE run_id IN (SELECT run_id FROM store.runs WHERE session_id = $session) ORDER BY rowid
"""
_LEDGER = f"""
    SELECT t_ns + $zero AS t_ns, {", ".join(f.name for f in fields(LedgerRow) if f.name != "t_ns")}
    FROM store.ledger WHERE session_id = $session ORDER BY load_number, rowid
"""
_INFO = [f.name for f in fields(DeviceInfo) if f.name not in ("index", "reasons")]
_GPUS = f"""
    SELECT device, driver_version, cuda_version, reasons, {", ".join(_INFO)}
    FROM store.devices WHERE session_id = $session ORDER BY TRY_CAST(device AS BIGINT), device
"""
_GPUS_OF_SAMPLES = """
    SELECT DISTINCT device FROM store.device_samples WHERE session_id = $session ORDER BY device
"""
_REASONS = """
    SELECT t_ns + $zero AS t_ns, device, field, reason FROM store.reasons
    WHERE session_id = $session ORDER BY store.reasons.t_ns, rowid
"""
_LAST = """
    SELECT max(t_ns) + $zero AS last_ns FROM (
        SELECT max(t_ns) AS t_ns FROM store.samples WHERE session_id = $session
        UNION ALL SELECT max(greatest(start_ns, end_ns)) FROM store.runs WHERE session_id = $session
        UNION ALL SELECT max(t_ns) FROM store.ledger WHERE session_id = $session
        UNION ALL SELECT max(t_ns) FROM store.tokens WHERE run_id IN (
            SELECT run_id FROM store.runs WHERE session_id = $session AND status IS NULL)
        UNION ALL SELECT 0)
"""
_HAS = """
    SELECT EXISTS (FROM store.samples WHERE session_id = $session) AS samples,
        EXISTS (FROM store.tokens WHERE run_id IN (SELECT run_id FROM store.runs WHERE session_id = $session))
            AS tokens
"""
_TOKENS = """
    SELECT run_id, t_ns + $zero AS t_ns, coalesce(token_id, 0) AS token_id, phase = 'prefill' AS prompt
    FROM store.tokens WHERE run_id IN (SELECT unnest($runs::VARCHAR[])) AND t_ns BETWEEN $first AND $last
    ORDER BY run_id, "index"
"""


def _samples_sql(kind: str, table: str) -> str:
    columns = ", ".join(name for name in SAMPLE_COLUMNS[kind] if name != "t_ns")
    return f"""
        SELECT t_ns + $zero AS t_ns, {columns} FROM {table}
        WHERE session_id = $session AND {table}.t_ns >= $first AND {table}.t_ns < $last
        ORDER BY {table}.t_ns, rowid
    """


_DEVICE_SAMPLES = _samples_sql("devices", "store.device_samples")
_HOST_SAMPLES = _samples_sql("hosts", "store.host_samples")
_COST_SAMPLES = _samples_sql("costs", "store.costs")


def _rows(reader: Reader, sql: str, **values: Any) -> list[dict[str, Any]]:
    """Rows by their columns' names, lists as tuples; of the values those that the SQL asks for are bound."""
    result = reader.run_sql(sql, {name: value for name, value in values.items() if f"${name}" in sql})
    names = [column.name for column in result.columns]
    return [
        dict(zip(names, (tuple(v) if isinstance(v, list) else v for v in row), strict=True)) for row in result.rows()
    ]


def _known(of: Field[Any], value: Any) -> Any:
    """A value as the field's type has it: for a NULL its default, or what stands for it."""
    if value is not None or "None" in str(of.type):
        return value
    return _UNKNOWN.get(str(of.type)) if of.default is MISSING else of.default


def _record(kind: type[_Kind], row: Mapping[str, Any]) -> _Kind:
    """A record out of a row that has its fields, and perhaps others."""
    return kind(**{of.name: _known(of, row[of.name]) for of in fields(kind)})  # type: ignore[arg-type]


class SessionReader:
    """Reads one session. The history is open only within a call; any thread may make it.

    Every call waits up to `wait_s` seconds for others that write, and raises HistoryError.
    """

    def __init__(
        self, paths: Paths, session_id: str, wait_s: float = 5.0, on_wait: Callable[[str], None] | None = None
    ) -> None:
        self._paths = paths
        self._session_id = session_id
        self._wait_s = wait_s
        self._on_wait = on_wait
        self._zero_ns = 0
        self._reasons: dict[str, _Reasons] = {}

    def _open(self) -> Reader:
        return Reader.open(self._paths, wait_s=self._wait_s, on_wait=self._on_wait)

    def _ask(self, reader: Reader, sql: str, **more: Any) -> list[dict[str, Any]]:
        return _rows(reader, sql, session=self._session_id, zero=self._zero_ns, **more)

    def recording(self) -> Recording:
        """Everything but samples, tokens and outputs; to be called first. Raises BadInputError for no session."""
        with self._open() as reader:
            found = self._ask(reader, _SESSION)
            if not found:
                raise BadInputError(f"the history holds no session {self._session_id}")
            session = SessionRow(**found[0])
            self._zero_ns = session.started_ns
            self._reasons = self._all_reasons(reader)
            last_ns = self._ask(reader, _LAST)[0]["last_ns"] if session.end_ns is None else session.end_ns
            has = self._ask(reader, _HAS)[0]
            return Recording(
                session=session,
                runs=self._runs(reader),
                ledger=tuple(_record(LedgerRow, row) for row in self._ask(reader, _LEDGER)),
                status=self._status(reader),
                last_ns=max(last_ns, session.started_ns),
                has_samples=has["samples"],
                has_tokens=has["tokens"],
            )

    def _runs(self, reader: Reader) -> tuple[RecordedRun, ...]:
        roofs: dict[str, list[RoofRow]] = {}
        for row in self._ask(reader, _ROOFS):
            roofs.setdefault(row["run_id"], []).append(_record(RoofRow, row))
        runs = []
        for place, row in enumerate(self._ask(reader, _RUNS), start=1):
            begin = _record(RunBegin, row)
            if row["end_ns"] is None and row["status"] is not None:
                row["end_ns"] = begin.start_ns  # some other program's, that knows no moments
            end = None if row["status"] is None else _record(RunEnd, row)
            counter = begin.run_id.rpartition(".")[2]
            number = int(counter) if counter.isdecimal() else place
            runs.append(RecordedRun(number, begin, end, tuple(roofs.get(begin.run_id, ())), row["has_output"]))
        return tuple(runs)

    def _status(self, reader: Reader) -> TelemetryStatus:
        """What the driver had said of the cards, each as it was last described."""
        rows = self._ask(reader, _GPUS)
        infos = {row["device"]: _device_info(row) for row in rows}
        if not rows:  # recorded before devices were
            for row in self._ask(reader, _GPUS_OF_SAMPLES):
                infos[row["device"]] = DeviceInfo(
                    row["device"], f"GPU {row['device']}", None, None, None, None, dict.fromkeys(_INFO[1:], _NOT_KEPT)
                )
        last = rows[-1] if rows else {}
        return TelemetryStatus(
            devices=tuple(infos.values()),
            driver_version=last.get("driver_version"),
            gpu_reason=None if infos else _NO_GPU,
            cuda_version=last.get("cuda_version"),
        )

    def _all_reasons(self, reader: Reader) -> dict[str, _Reasons]:
        found: dict[str, _Reasons] = {}
        for row in self._ask(reader, _REASONS):
            of = found.setdefault(row["device"], _Reasons())
            if not of.since_ns or of.since_ns[-1] != row["t_ns"]:
                of.since_ns.append(row["t_ns"])
                of.reasons.append({})
            if row["field"] is not None:
                of.reasons[-1][row["field"]] = row["reason"]
        return found

    def samples(self, start_ns: int, end_ns: int) -> SampleStretch:
        """The readings from `start_ns` until before `end_ns`."""
        window = {"first": start_ns - self._zero_ns, "last": end_ns - self._zero_ns}
        with self._open() as reader:
            devices, hosts, costs = (
                self._ask(reader, sql, **window) for sql in (_DEVICE_SAMPLES, _HOST_SAMPLES, _COST_SAMPLES)
            )
        return SampleStretch(
            tuple(DeviceSample(reasons=self._why(row["device"], row["t_ns"]), **row) for row in devices),
            tuple(HostSample(reasons=self._why("host", row["t_ns"]), **row) for row in hosts),
            tuple(CostSample(reasons=self._why("gemtop", row["t_ns"]), **row) for row in costs),
        )

    def _why(self, source: str, t_ns: int) -> Mapping[str, str]:
        of = self._reasons.get(source)
        return of.at(t_ns) if of else {}

    def tokens(self, runs: Sequence[RecordedRun]) -> dict[str, RunTokens]:
        """The tokens of these runs by the runs' ids; a run without any is there too."""
        if not runs:
            return {}
        first = min(run.begin.start_ns for run in runs) - self._zero_ns
        ends = [run.end.end_ns if run.end else None for run in runs]
        last = max(end for end in ends if end is not None) - self._zero_ns if None not in ends else 2**62
        ids = [run.begin.run_id for run in runs]
        found = {run_id: RunTokens(array("q"), array("i"), array("q"), array("i")) for run_id in ids}
        sql_values = {"zero": self._zero_ns, "runs": ids, "first": first, "last": last}
        with self._open() as reader:
            for run_id, t_ns, token_id, prompt in reader.run_sql(_TOKENS, sql_values).rows():
                of = found[run_id]
                stamps, names = (of.prompt_ns, of.prompt_ids) if prompt else (of.generated_ns, of.generated_ids)
                stamps.append(t_ns)  # type: ignore[attr-defined]
                names.append(token_id)  # type: ignore[attr-defined]
        return found

    def outputs(self, runs: Sequence[RecordedRun]) -> dict[str, str]:
        """What these runs generated, by their ids; nothing for those whose text was not kept."""
        if not runs:
            return {}
        with self._open() as reader:
            rows = reader.run_sql(_OUTPUTS, {"runs": [run.begin.run_id for run in runs]}).rows()
            return {run_id: output for run_id, output in rows if output is not None}


def _device_info(row: Mapping[str, Any]) -> DeviceInfo:
    lines = (line.partition(": ") for line in (row["reasons"] or "").splitlines())
    known = {name: row[name] for name in _INFO} | {"name": row["name"] or f"GPU {row['device']}"}
    return DeviceInfo(index=row["device"], reasons={name: why for name, _, why in lines if why}, **known)
