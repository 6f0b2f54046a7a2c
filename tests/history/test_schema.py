"""The contract of the views, migrations, and what is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from gemtop import config
from gemtop.config import Paths
from gemtop.domain.errors import HistoryError
from gemtop.domain.records import RUN_FIELDS
from gemtop.history import VIEWS, schema
from gemtop.history.database import Database
from gemtop.history.document import tables
from gemtop.history.lines import SAMPLE_COLUMNS
from gemtop.history.recorder import check_history, prepare_folders
from tests.history.rows import ask, put_in, whole_session

SAMPLES = (
    "session_id t_s device gpu_util_pct vram_used_bytes power_w energy_j temperature_c clock_sm_mhz clock_mem_mhz"
    " host_cpu_pct ram_used_bytes mem_util_pct vram_free_bytes vram_process_bytes power_average_w power_instant_w"
    " throttle_reasons pstate fan_pct pcie_gen pcie_width pcie_rx_bytes_per_s pcie_tx_bytes_per_s ecc_corrected"
    " ecc_uncorrected other_processes ram_total_bytes process_cpu_pct process_rss_bytes"
    " package_energy_j package_power_w cpu_temperature_c"
    " cpu_by_core_pct swap_in_bytes swap_out_bytes"
)
RUNS = (
    "session_id run_id started_at kind status stop_reason host gemtop_version llama_build gpu_name driver_version"
    " model_name model_path model_fingerprint architecture parameters quantization training variant size_bytes n_ctx"
    " n_gpu_layers type_k type_v flash_attn n_batch n_ubatch n_threads swa_full prompt_tokens generated_tokens load_s"
    " ttft_s prefill_tokens_per_s decode_tokens_per_s itl_p50_ms itl_p95_ms itl_p99_ms vram_peak_bytes ram_peak_bytes"
    " power_mean_w energy_j prefill_j_per_token decode_j_per_token valid invalid_reason power_mean_error_w"
    " energy_error_j prefill_j_per_token_error decode_j_per_token_error energy_source energy_counter_j"
    " energy_counter_error_j energy_integral_j energy_integral_error_j idle_power_w idle_power_error_w energy_net_j"
    " energy_net_error_j prefill_net_j_per_token prefill_net_j_per_token_error decode_net_j_per_token"
    " decode_net_j_per_token_error throttled_s throttle_reasons bytes_per_token roof_tokens_per_s roof_share"
)
LAST = schema.MIGRATIONS[-1].version
NEXT = LAST + 1
MORE = (*schema.MIGRATIONS, schema.Migration(NEXT, "a test", ("ALTER TABLE store.sessions ADD COLUMN mood VARCHAR",)))


@pytest.mark.parametrize(
    ("view", "columns"), [("runs", RUNS), ("samples", SAMPLES), ("tokens", "run_id index t_s token_id phase")]
)
def test_the_views_have_exactly_these_columns(paths: Paths, view: str, columns: str) -> None:
    expected = columns.split()
    assert [row[0] for row in ask(paths, f"DESCRIBE {view}")] == expected
    put_in(paths, whole_session())
    assert [row[0] for row in ask(paths, f"DESCRIBE {view}")] == expected
    if view == "runs":
        assert tuple(expected) == RUN_FIELDS


def test_all_views_are_named(paths: Paths) -> None:
    found = {row[0] for row in ask(paths, "SELECT view_name FROM duckdb_views() WHERE NOT internal")}
    assert found == set(VIEWS)


def test_types_fit(paths: Paths) -> None:
    types = {row[0]: row[1] for row in ask(paths, "DESCRIBE runs")}
    assert types["started_at"] == "TIMESTAMP WITH TIME ZONE"
    assert types["vram_peak_bytes"] == types["size_bytes"] == "BIGINT"
    assert types["status"] == "ENUM('finished', 'cancelled', 'failed', 'crashed')"


def test_everything_has_a_comment(paths: Paths) -> None:
    put_in(paths, whole_session())
    bare = """
        SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL
        UNION ALL SELECT table_name, NULL FROM duckdb_tables() WHERE NOT internal AND comment IS NULL
        UNION ALL SELECT view_name, NULL FROM duckdb_views() WHERE NOT internal AND comment IS NULL
    """
    assert ask(paths, bare) == []


def test_no_view_holds_what_the_oldest_duckdb_cannot_read(paths: Paths) -> None:
    """A newer one keeps if() as it is; 1.5 reads it only where it parsed it itself."""
    assert (
        ask(paths, r"SELECT view_name FROM duckdb_views() WHERE regexp_matches(sql, '\bif\W*\(') AND NOT internal")
        == []
    )


def test_the_guide_documents_the_schema() -> None:
    guide = Path(__file__).parents[2] / "docs" / "history.md"
    assert tables() in guide.read_text(encoding="utf-8")


def test_another_duckdb_sees_the_views_under_any_name(paths: Paths) -> None:
    put_in(paths, whole_session())
    code = (
        "import duckdb, sys\ncon = duckdb.connect()\n"
        "con.execute(f\"ATTACH '{sys.argv[1]}' AS mine (READ_ONLY)\")\n"
        "print(con.execute('SELECT count(*) FROM mine.tokens').fetchone()[0],"
        " con.execute('SELECT host FROM mine.runs').fetchone()[0])"
    )
    seen = subprocess.run([sys.executable, "-c", code, str(paths.history)], capture_output=True, text=True, check=True)
    assert seen.stdout == "15 box\n"


def test_a_migration_keeps_a_copy_and_every_row(paths: Paths) -> None:
    put_in(paths, whole_session())
    with Database(paths.history, MORE).open() as con:
        assert con.execute("SELECT count(mood), count(*) FROM store.sessions").fetchone() == (0, 1)
        assert con.execute("SELECT version, what FROM store.migrations ORDER BY 1").fetchall()[LAST] == (NEXT, "a test")
    copy = config.paths(str(paths.history.with_name(f"history.duckdb.v{LAST}.bak")))
    assert ask(copy, "SELECT count(*) FROM tokens") == [(15,)]
    assert len(list(paths.history.parent.glob("*.bak*"))) == 1


def test_a_migration_that_fails_leaves_the_version_before(paths: Paths) -> None:
    put_in(paths, whole_session())
    broken = (*schema.MIGRATIONS, schema.Migration(NEXT, "broken", ("CREATE TABLE store.x (a INT)", "SELECT nonsense")))
    with pytest.raises(HistoryError), Database(paths.history, broken).open():
        pass
    assert ask(paths, "SELECT count(*) FROM tokens") == [(15,)]
    with Database(paths.history).open() as con:
        assert schema.version(con) == LAST
        assert con.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'x'").fetchone() is None


def test_a_newer_history_is_refused_politely(paths: Paths) -> None:
    put_in(paths, whole_session())
    with Database(paths.history, MORE).open():
        pass
    before = paths.history.read_bytes()
    for use in (lambda: check_history(paths), lambda: ask(paths, "FROM runs")):
        with pytest.raises(HistoryError, match=r"written by a newer gemtop.*--db PATH") as caught:
            use()
        assert caught.value.exit_code == 2
        assert "\n" not in str(caught.value)
    assert paths.history.read_bytes() == before


def test_a_database_of_someone_else_is_kept_as_it_was_beside_it(paths: Paths) -> None:
    paths.history.parent.mkdir(parents=True)
    with duckdb.connect(str(paths.history)) as con:
        con.execute("CREATE TABLE mine AS SELECT 42 AS answer")
    put_in(paths, whole_session())
    assert ask(paths, "SELECT answer FROM mine") == [(42,)]
    assert paths.history.with_name("history.duckdb.v0.bak").exists()
    shutil.rmtree(paths.history.parent)


def test_readings_of_cards_and_of_the_machine_part_and_the_views_show_them_as_before(paths: Paths) -> None:
    """Schema 6, with every column filled."""
    prepare_folders(paths)
    with Database(paths.history, schema.MIGRATIONS[:5]).open() as con:
        columns = con.execute("DESCRIBE store.samples").fetchall()
        for device, mine in (("0", set(SAMPLE_COLUMNS["devices"])), ("host", set(SAMPLE_COLUMNS["hosts"]))):
            values = {"session_id": "'s'", "device": f"'{device}'"} | {
                name: f"[{number}]::{kind}" if kind.endswith("[]") else str(number)
                for number, (name, kind, *_) in enumerate(columns)
                if name in mine - {"device"}
            }
            con.execute(f"INSERT INTO store.samples ({', '.join(values)}) VALUES ({', '.join(values.values())})")
        names = ", ".join(name for name, *_ in columns)
        asked = [f"SELECT {names} FROM store.samples", "FROM samples", "FROM process_samples"]
        before = [sorted(map(repr, con.execute(sql).fetchall())) for sql in asked]
        types = [[row[:2] for row in con.execute(f"DESCRIBE {sql}").fetchall()] for sql in asked]
    assert [sorted(map(repr, ask(paths, sql))) for sql in asked] == before
    assert [[row[:2] for row in ask(paths, f"DESCRIBE {sql}")] for sql in asked] == types
    counts = "SELECT (SELECT count(*) FROM store.device_samples), (SELECT count(*) FROM store.host_samples)"
    assert ask(paths, counts) == [(1, 1)]
