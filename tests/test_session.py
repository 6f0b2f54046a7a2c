"""The session: what it records, in which order, and what it tells. The engine is the fake one, its clock real."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from queue import Empty, SimpleQueue
from typing import TypeVar

import pytest

from gemtop.assembly import make_session
from gemtop.config import Paths
from gemtop.domain.events import (
    BenchFinished,
    EngineCrashed,
    GenerateRequest,
    LoadFailed,
    LogLine,
    ModelLoaded,
    RunFinished,
    RunStarted,
    SettingsRefused,
    TokenGenerated,
)
from gemtop.domain.model import BackendDevice, DeviceMemory, LoadedModel
from gemtop.domain.plan import MemoryUse
from gemtop.domain.records import RUN_FIELDS, DeviceRow, RunBegin, RunEnd, SessionEnd, TokenRow
from gemtop.domain.roofline import Bandwidth
from gemtop.domain.settings import ContextSettings, EngineSettings, SamplingSettings
from gemtop.domain.telemetry import DeviceInfo, DeviceSample, HostSample, Sample, TelemetryStatus
from gemtop.engine.protocol import BenchRequest
from gemtop.history.reader import Reader
from gemtop.run import decode_roof
from gemtop.session import Session, begin_session
from gemtop.view import RunRecorded, SessionEvent
from tests.engines import DEADLINE_S, FakeEngine, fake_model
from tests.fakes import CARD_0, CARD_1, VRAM_BYTES, WATTS, FakeSampler, ListRecorder

Event = TypeVar("Event")
GREEDY = SamplingSettings(temperature=0)


class Sitting:
    """A session over fakes, and what it told."""

    def __init__(
        self,
        model: LoadedModel | None = None,
        devices: tuple[DeviceInfo, ...] = (),
        gate: threading.Semaphore | None = None,
    ) -> None:
        self.recorder = ListRecorder()
        self.told: list[SessionEvent] = []
        self._queue: SimpleQueue[SessionEvent] = SimpleQueue()
        self.samplers: list[FakeSampler] = []

        def make_sampler(emit: Callable[[Sample], None], on_status: Callable[[TelemetryStatus], None]) -> FakeSampler:
            self.samplers.append(FakeSampler(emit, on_status, devices))
            return self.samplers[-1]

        self.session = Session(
            begin_session("run"),
            lambda emit: FakeEngine(emit, model, gate),
            make_sampler,
            self.recorder,
            self._queue.put,
        )
        self.session.start()

    def wait_for(self, *kinds: type[Event]) -> Event:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                event = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"no {kinds}; had {self.told[-5:]}") from None
            self.told.append(event)
            if isinstance(event, kinds):
                return event

    def open(self) -> None:
        self.session.open("fake.gguf", EngineSettings())
        self.wait_for(ModelLoaded)

    def run(self, prompt: str, n_predict: int = 3, **more: bool) -> RunRecorded:
        self.session.generate(GenerateRequest(prompt, n_predict, GREEDY, **more))
        return self.wait_for(RunRecorded)


@pytest.fixture
def sitting() -> Iterator[Sitting]:
    """With a base model."""
    found = Sitting(fake_model(chat_template=False))
    found.open()
    yield found
    found.session.close()


@pytest.fixture
def chat() -> Iterator[Sitting]:
    """With a model that has a chat template."""
    found = Sitting(fake_model())
    found.open()
    yield found
    found.session.close()


# What is recorded


def test_records_of_a_run_are_in_order(sitting: Sitting) -> None:
    sitting.run("one two three", 4)
    sitting.session.close()
    kinds = [type(r).__name__ for r in sitting.recorder.records if not isinstance(r, DeviceSample | HostSample)]
    assert kinds == ["RunBegin", *["TokenRow"] * 7, "RunEnd", "SessionEnd"]
    stamps = [r.t_ns for r in sitting.recorder.of(TokenRow)]
    assert stamps == sorted(stamps)
    assert sitting.recorder.of(SessionEnd) == [replace(sitting.recorder.of(SessionEnd)[0], reason=None, crashed=False)]


def test_tokens_are_counted_through_prompt_and_text(sitting: Sitting) -> None:
    sitting.run("one two three", 2)
    rows = sitting.recorder.of(TokenRow)
    assert [(r.index, r.phase) for r in rows] == [
        (0, "prefill"), (1, "prefill"), (2, "prefill"), (3, "decode"), (4, "decode"),
    ]  # fmt: skip
    assert [r.token_id for r in rows] == [0, 1, 2, 0, 1]
    begin, end = sitting.recorder.of(RunBegin)[0], sitting.recorder.of(RunEnd)[0]
    assert {r.run_id for r in rows} == {begin.run_id, end.run_id}
    assert begin.start_ns <= rows[0].t_ns <= rows[-1].t_ns <= end.end_ns


def test_runs_are_counted_from_one(sitting: Sitting) -> None:
    for _ in range(3):
        sitting.run("one two")
    session_id = sitting.session.session_id
    assert [r.run_id for r in sitting.recorder.of(RunBegin)] == [f"{session_id}.{n}" for n in (1, 2, 3)]
    assert [r.run_id for r in sitting.recorder.of(RunEnd)] == [f"{session_id}.{n}" for n in (1, 2, 3)]
    assert [view.number for view in sitting.session.view().runs] == [1, 2, 3]


def test_the_row_that_is_told_is_the_one_that_is_recorded(sitting: Sitting) -> None:
    recorded = sitting.run("one two three", 8)
    begin, end = sitting.recorder.of(RunBegin)[0], sitting.recorder.of(RunEnd)[0]
    assert tuple(recorded.row) == RUN_FIELDS
    for name, value in recorded.row.items():
        for record in (end, begin):
            if hasattr(record, name):
                assert value == getattr(record, name), name
                break
    assert (recorded.prompt, recorded.output) == ("one two three", " one two three one two three one two")
    assert (begin.prompt, end.output) == (recorded.prompt, recorded.output)
    assert recorded.row["variant"] == "QAT Q4_0"
    assert recorded.row["status"] == "finished"
    assert recorded.row["stop_reason"] == "length"


def test_figures_follow_from_the_tokens_that_were_recorded(sitting: Sitting) -> None:
    recorded = sitting.run("one two three", 20)
    begin = sitting.recorder.of(RunBegin)[0]
    prefill = [r.t_ns for r in sitting.recorder.of(TokenRow) if r.phase == "prefill"]
    decode = [r.t_ns for r in sitting.recorder.of(TokenRow) if r.phase == "decode"]
    row = recorded.row
    assert (row["prompt_tokens"], row["generated_tokens"]) == (3, 20)
    assert row["ttft_s"] == pytest.approx((decode[0] - begin.start_ns) / 1e9)
    assert row["prefill_tokens_per_s"] == pytest.approx(3e9 / (prefill[-1] - begin.start_ns))
    assert row["decode_tokens_per_s"] == pytest.approx(19e9 / (decode[-1] - decode[0]))
    gaps = sorted((b - a) / 1e6 for a, b in pairwise(decode))
    assert row["itl_p50_ms"] == pytest.approx(gaps[9])
    assert row["itl_p99_ms"] <= gaps[-1]
    assert sitting.session.view().runs[0].timing.decode_tokens_per_s == row["decode_tokens_per_s"]


def test_text_is_left_out_where_it_is_not_wanted() -> None:
    recorder, events = ListRecorder(), SimpleQueue[SessionEvent]()
    session = Session(
        begin_session("run"),
        lambda emit: FakeEngine(emit, fake_model()),
        FakeSampler,
        recorder,
        events.put,
        record_text=False,
    )
    session.open("fake.gguf", EngineSettings())
    session.generate(GenerateRequest("secret words", 3, GREEDY))
    while not isinstance(event := events.get(timeout=DEADLINE_S), RunRecorded):
        pass
    session.close()
    assert event.output == " secret words secret"
    assert recorder.of(RunBegin)[0].prompt is None
    assert recorder.of(RunEnd)[0].output is None


def test_what_is_refused_leaves_no_record(sitting: Sitting) -> None:
    sitting.session.generate(GenerateRequest("  ", 3, GREEDY))
    assert sitting.session.busy
    finished = sitting.wait_for(RunFinished)
    assert finished.status == "failed"
    assert not sitting.session.busy
    sitting.run("one two", 1)
    sitting.session.generate(GenerateRequest("word " * 5000, 3, GREEDY))
    assert "too long" in (sitting.wait_for(RunFinished).message or "")
    assert not sitting.session.busy
    assert len(sitting.recorder.of(RunBegin)) == len(sitting.recorder.of(RunEnd)) == 1
    assert sitting.session.run_number == 1


def test_a_stopped_run_is_recorded_as_cancelled() -> None:
    gate = threading.Semaphore(0)
    sitting = Sitting(fake_model(), gate=gate)
    sitting.open()
    sitting.session.generate(GenerateRequest("one two", -1, GREEDY))
    for _ in range(2):
        gate.release()
        sitting.wait_for(TokenGenerated)
    sitting.session.stop()
    recorded = sitting.wait_for(RunRecorded)
    sitting.session.close()
    assert (recorded.row["status"], recorded.row["stop_reason"]) == ("cancelled", "cancelled")
    assert recorded.row["generated_tokens"] == 2
    assert recorded.output == " one two"


def test_a_run_that_goes_on_when_the_session_is_closed_is_recorded() -> None:
    gate = threading.Semaphore(0)
    sitting = Sitting(fake_model(), gate=gate)
    sitting.open()
    sitting.session.generate(GenerateRequest("one two", -1, GREEDY))
    gate.release()
    sitting.wait_for(TokenGenerated)
    assert sitting.session.close("ended by SIGTERM")
    assert sitting.recorder.of(RunEnd)[0].status == "cancelled"
    assert sitting.recorder.of(SessionEnd)[0].reason == "ended by SIGTERM"
    assert isinstance(sitting.recorder.records[-1], SessionEnd), "nothing comes after the end"
    assert sitting.samplers[0].stopped


def test_a_crash_ends_the_run_as_crashed(chat: Sitting) -> None:
    chat.run("one two", 2)
    chat.session.generate(GenerateRequest("crash", 3, GREEDY))
    recorded = chat.wait_for(RunRecorded)
    chat.wait_for(EngineCrashed)
    assert (recorded.row["status"], recorded.row["stop_reason"]) == ("crashed", "crashed")
    assert "GGML_ASSERT" in (recorded.message or "")
    assert chat.recorder.of(RunEnd)[-1].message == recorded.message
    assert not chat.session.ready
    assert not chat.session.busy
    view = chat.session.view()
    assert view.crashed == recorded.message
    assert view.run is not None
    assert view.run.status == "crashed"
    chat.session.close()
    end = chat.recorder.of(SessionEnd)[0]
    assert end.crashed
    assert end.reason == recorded.message


def test_a_crash_between_runs_makes_no_run_of_it(sitting: Sitting) -> None:
    sitting.run("one two", 2)
    sitting.session._on_event(EngineCrashed(time.monotonic_ns(), "GGML_ASSERT(x) failed"))
    sitting.wait_for(EngineCrashed)
    assert [r.status for r in sitting.recorder.of(RunEnd)] == ["finished"]
    assert sitting.session.crashed == "GGML_ASSERT(x) failed"


def test_repetitions_of_a_test_are_runs(sitting: Sitting) -> None:
    sitting.session.bench(BenchRequest(n_prompt=0, n_gen=5, n_depth=7, repetitions=3))
    assert sitting.wait_for(BenchFinished).status == "finished"
    rows = [e.row for e in sitting.told if isinstance(e, RunRecorded)]
    assert [row["kind"] for row in rows] == ["tg"] * 3
    assert {row["decode_tokens_per_s"] for row in rows} == {1e6}, "the fake takes a microsecond a token"
    assert [b.cached_tokens for b in sitting.recorder.of(RunBegin)] == [7] * 3
    assert sitting.recorder.of(RunBegin)[0].prompt is None
    sitting.session.bench(BenchRequest(n_prompt=9, n_gen=0, n_depth=0, repetitions=1))
    sitting.wait_for(BenchFinished)
    pp = [e.row for e in sitting.told if isinstance(e, RunRecorded)][-1]
    assert (pp["kind"], pp["prompt_tokens"], pp["prefill_tokens_per_s"]) == ("pp", 9, 9000.0)
    assert pp["decode_tokens_per_s"] is pp["ttft_s"] is None


# Conversations


def test_a_chat_model_sees_the_turns_before(chat: Sitting) -> None:
    chat.run("one", 2)
    chat.run("two", 1)
    assert chat.session.last_request is not None
    assert chat.session.last_request.history == (("one", " one one"),)
    assert chat.session.conversation == [("one", " one one"), ("two", " two")]
    chat.session.new_conversation()
    chat.run("three", 1)
    assert chat.session.last_request.history == ()


def test_running_again_drops_the_turns_after_it(chat: Sitting) -> None:
    chat.run("one", 1)
    chat.run("two", 1)
    before = chat.session.last_request
    chat.session.generate_again(2, SamplingSettings(temperature=1.0, seed=3))
    chat.wait_for(RunRecorded)
    again = chat.session.last_request
    assert before is not None
    assert again is not None
    assert (again.prompt, again.history) == (before.prompt, before.history)
    assert (again.n_predict, again.sampling.seed) == (2, 3)
    assert chat.session.conversation == [("one", " one"), ("two", " two two")], "and not three turns"
    assert chat.recorder.of(RunBegin)[-1].seed == 3


def test_raw_prompts_and_base_models_have_no_turns(chat: Sitting, sitting: Sitting) -> None:
    chat.run("one", 1, raw=True)
    assert chat.session.conversation == []
    sitting.run("one", 1)
    sitting.run("two", 1)
    assert sitting.session.conversation == []
    assert sitting.session.last_request is not None
    assert sitting.session.last_request.history == ()


def test_another_model_begins_anew(chat: Sitting) -> None:
    chat.run("one", 1)
    chat.open()
    assert chat.session.conversation == []


def test_nothing_to_run_again_is_no_error(sitting: Sitting) -> None:
    sitting.session.generate_again(3, GREEDY)
    assert not sitting.session.busy


# Settings that change under a conversation


def with_n_ctx(n_ctx: int) -> EngineSettings:
    return EngineSettings(context=ContextSettings(n_ctx=n_ctx))


def test_a_change_is_a_run_of_its_own_and_a_mark(sitting: Sitting) -> None:
    sitting.run("one two three", 2)
    sitting.session.apply(with_n_ctx(2048))
    recorded = sitting.wait_for(RunRecorded)
    assert (recorded.row["kind"], recorded.row["status"], recorded.row["n_ctx"]) == ("apply", "finished", 2048)
    assert (recorded.row["prompt_tokens"], recorded.row["generated_tokens"], recorded.row["load_s"]) == (5, 0, 0.01)
    view = sitting.session.view()
    assert [mark.label for mark in view.marks] == ["ctx 4096→2048"]
    assert view.settings == with_n_ctx(2048) and not view.applying and not sitting.session.busy


def test_what_a_change_interrupts_goes_on_after_it() -> None:
    gate = threading.Semaphore(3)
    sitting = Sitting(fake_model(), gate=gate)
    sitting.open()
    sitting.session.generate(GenerateRequest("a b c d", 9, GREEDY))
    for _ in range(3):
        sitting.wait_for(TokenGenerated)
    sitting.session.apply(with_n_ctx(2048))
    assert sitting.wait_for(RunRecorded).row["status"] == "cancelled"
    assert sitting.wait_for(RunRecorded).row["kind"] == "apply"
    for _ in range(9):
        gate.release()
    resumed = sitting.wait_for(RunRecorded)
    texts = [event.text for event in sitting.told if isinstance(event, TokenGenerated)]
    assert "".join(texts) == " a b c d a b c d a"
    assert (resumed.row["status"], resumed.row["stop_reason"]) == ("finished", "length")
    assert sitting.session.conversation == [("a b c d", " a b c d a b c d a")]
    sitting.session.close()


def test_a_change_that_is_refused_leaves_everything_and_the_run_goes_on() -> None:
    gate = threading.Semaphore(2)
    sitting = Sitting(fake_model(), gate=gate)
    sitting.open()
    sitting.session.generate(GenerateRequest("a b c d", 4, GREEDY))
    for _ in range(2):
        sitting.wait_for(TokenGenerated)
    sitting.session.apply(with_n_ctx(5))
    assert "too small" in sitting.wait_for(SettingsRefused).message
    for _ in range(4):
        gate.release()
    while sitting.wait_for(RunRecorded).row["status"] != "finished":
        pass
    assert sitting.session.conversation == [("a b c d", " a b c d")]
    assert sitting.session.settings == EngineSettings() and not sitting.session.applying
    sitting.session.close()


def test_stopping_in_a_change_resumes_nothing() -> None:
    sitting = Sitting(fake_model(), gate=threading.Semaphore(1))
    sitting.open()
    sitting.session.generate(GenerateRequest("a b", 50, GREEDY))
    sitting.wait_for(TokenGenerated)
    sitting.session.apply(with_n_ctx(2048))
    sitting.session.stop()
    while sitting.wait_for(RunRecorded).row["kind"] != "apply":
        pass
    assert not sitting.session.busy
    sitting.session.close()


def test_no_change_without_a_model() -> None:
    sitting = Sitting()
    sitting.session.apply(with_n_ctx(2048))
    assert not sitting.session.applying
    sitting.session.close()


# What a front end sees


def test_busy_and_ready() -> None:
    gate = threading.Semaphore(0)
    sitting = Sitting(fake_model(), gate=gate)
    assert not sitting.session.ready
    sitting.open()
    assert sitting.session.ready
    assert not sitting.session.busy
    sitting.session.generate(GenerateRequest("one", 1, GREEDY))
    assert sitting.session.busy
    sitting.wait_for(RunStarted)
    view = sitting.session.view()
    assert view.run is not None
    assert view.run.status is None
    assert view.runs == ()
    gate.release()
    sitting.wait_for(RunRecorded)
    assert not sitting.session.busy
    sitting.session.close()


def test_a_failed_load_is_kept_for_the_screen() -> None:
    sitting = Sitting()
    sitting.session.open("/nowhere/x.gguf", EngineSettings())
    assert "does not exist" in sitting.wait_for(LoadFailed).message
    view = sitting.session.view()
    assert "does not exist" in (view.load_error or "")
    assert view.loading is None
    assert view.model is None
    assert not sitting.session.ready
    sitting.session.close()


def test_text_in_pieces(sitting: Sitting) -> None:
    assert sitting.session.text_since(1, 0) == (0, 0, "")
    recorded = sitting.run("one two", 3)
    session = sitting.session
    assert session.text_since(1, 0) == (1, 3, recorded.output)
    assert session.text_since(1, 2) == (1, 3, " one")
    assert session.text_since(1, 3) == (1, 3, "")
    sitting.run("three", 1)
    assert session.text_since(1, 3) == (2, 3, ""), "another run goes on"
    assert session.text_since(2, 0) == (2, 1, " three")


def test_text_while_it_is_generated_comes_once() -> None:
    gate = threading.Semaphore(0)
    sitting = Sitting(fake_model(), gate=gate)
    sitting.open()
    sitting.session.generate(GenerateRequest("a b c", 9, GREEDY))
    text, count = "", 0
    for _ in range(9):
        gate.release()
        sitting.wait_for(TokenGenerated)
        _, count, more = sitting.session.text_since(1, count)
        text += more
    recorded = sitting.wait_for(RunRecorded)
    sitting.session.close()
    assert text == recorded.output


def test_log_lines_come_once_and_the_oldest_go() -> None:
    sitting = Sitting(fake_model())
    session = sitting.session
    assert session.log_since(0) == (0, [])
    for i in range(5):
        session._on_event(LogLine(i, "info", f"line {i}"))
    count, lines = session.log_since(0)
    assert (count, [line.text for line in lines]) == (5, [f"line {i}" for i in range(5)])
    assert session.log_since(5) == (5, [])
    assert [line.text for line in session.log_since(3)[1]] == ["line 3", "line 4"]
    for i in range(5, 3000):
        session._on_event(LogLine(i, "info", f"line {i}"))
    count, lines = session.log_since(5)
    assert count == 3000
    assert (len(lines), lines[0].text, lines[-1].text) == (2000, "line 1000", "line 2999")
    session.close()


def test_speed_over_time_has_both_phases(sitting: Sitting) -> None:
    sitting.run("one two three", 50)
    view = sitting.session.view()
    assert any(p.tokens_per_s for p in view.decode_rate)
    assert view.host_samples
    assert view.session_id == sitting.session.session_id
    assert view.run is not None
    assert view.run.context_used == 53


# Energy


def on_card(*bus_ids: str | None) -> LoadedModel:
    """A model of which parts lie on the cards with these bus ids."""
    held = tuple(
        BackendDevice(f"CUDA{i}", f"Card {i}", "gpu", "CUDA", 2**34, 2**33, bus_id) for i, bus_id in enumerate(bus_ids)
    )
    return replace(fake_model(), devices=held, n_gpu_layers=63)


@pytest.mark.parametrize(
    ("model", "used"),
    [
        (on_card("0000:65:00.0"), ("0",)),
        (on_card("0000:b3:00.0"), ("1",)),
        (on_card("0000:b3:00.0", "0000:65:00.0"), ("0", "1")),
        (on_card("0000:17:00.0"), ()),
        (on_card(None), ()),
        (fake_model(), ()),
    ],
)
def test_cards_are_matched_by_their_pci_bus(model: LoadedModel, used: tuple[str, ...]) -> None:
    sitting = Sitting(model, (CARD_0, CARD_1))
    assert sitting.session.view().used_devices == (), "no model is loaded"
    sitting.open()
    assert sitting.session.view().used_devices == used
    recorded = sitting.run("one two three", 10)
    sitting.session.close()
    row = recorded.row
    assert sitting.recorder.of(RunBegin)[0].devices == used
    assert row["driver_version"] == "570.00"
    if not used:
        assert row["energy_j"] is row["power_mean_w"] is row["vram_peak_bytes"] is None
        why = "CUDA0 cannot be read" if model.devices else "no part of the model is on a GPU"
        assert why in recorded.reasons["energy_j"]
        return
    begin, end = sitting.recorder.of(RunBegin)[0], sitting.recorder.of(RunEnd)[0]
    watts = sum(WATTS[index] for index in used)
    assert row["power_mean_w"] == pytest.approx(watts)
    assert row["energy_j"] == pytest.approx(watts * (end.end_ns - begin.start_ns) / 1e9)
    assert row["vram_peak_bytes"] == sum(VRAM_BYTES[index] for index in used)
    decode = [r.t_ns for r in sitting.recorder.of(TokenRow) if r.phase == "decode"]
    assert row["prefill_j_per_token"] == pytest.approx(watts * (decode[0] - begin.start_ns) / 1e9 / 3)
    assert row["decode_j_per_token"] == pytest.approx(watts * (end.end_ns - decode[0]) / 1e9 / 9)


def test_the_verdict_and_its_reasons_are_in_the_row() -> None:
    sitting = Sitting(on_card("0000:65:00.0"), (CARD_0,))
    sitting.open()
    clean = sitting.run("one two three", 40).row
    assert (clean["valid"], clean["invalid_reason"], clean["throttled_s"]) == (True, None, None)
    sitting.samplers[0].changes = {"throttle_reasons": ("SwPowerCap", "GpuIdle"), "other_processes": 1}
    spoilt = sitting.run("one two three", 40).row
    sitting.session.close()
    assert spoilt["valid"] is False
    assert spoilt["invalid_reason"].startswith("power throttling of GPU 0 (SwPowerCap) for ")
    assert spoilt["invalid_reason"].endswith("; another process used GPU 0")
    assert spoilt["throttle_reasons"] == ("SwPowerCap",) and spoilt["throttled_s"] > 0
    assert sitting.session.view().runs[1].verdict is not None


def test_a_device_without_sensors_leaves_the_verdict_open() -> None:
    sitting = Sitting(on_card("0000:65:00.0", None), (CARD_0,))
    sitting.open()
    row = sitting.run("one two three", 40).row
    sitting.session.close()
    assert (row["valid"], row["invalid_reason"]) == (None, "not judged: CUDA1 cannot be read")


def test_the_quietest_second_before_a_run_is_its_idle_power() -> None:
    sitting = Sitting(on_card("0000:65:00.0"), (CARD_0,))
    now_ns = time.monotonic_ns()
    sitting.samplers[0].changes = {"gpu_util_pct": 0.0}
    for i in range(25):
        sitting.samplers[0].sample(now_ns + i * 10**8)
    sitting.open()
    row = sitting.run("one two three", 10).row
    sitting.session.close()
    assert row["idle_power_w"] == pytest.approx(WATTS["0"])
    assert "energy_net_j" in row


def test_the_cards_of_a_session_are_recorded_once() -> None:
    sitting = Sitting(None, (CARD_0, replace(CARD_1, reasons={"uuid": "no permission", "ecc_enabled": "none"})))
    sitting.session.close()
    first, second = sitting.recorder.of(DeviceRow)
    assert (first.device, first.name, first.power_limit_w, first.driver_version) == ("0", CARD_0.name, 450.0, "570.00")
    assert second.reasons == "uuid: no permission\necc_enabled: none"


def test_the_roof_is_that_of_each_device_and_of_all_in_turn() -> None:
    model = on_card("0000:65:00.0")
    memory = tuple(
        DeviceMemory(name, name, MemoryUse(weights_bytes=size, kv_global_bytes=size), None, None, "unplanned")
        for name, size in (("CUDA0", 10**9), ("CPU", 10**9))
    )
    card = replace(CARD_0, memory_bus_bits=384, clock_mem_max_mhz=9751.0)
    loaded = ModelLoaded(model, EngineSettings(), memory=memory, bandwidths={"CPU": 5e10})
    gpu, cpu = decode_roof(loaded, {"CUDA0": card}).at(100)
    assert gpu.bandwidth == Bandwidth(384 / 8 * 9751e6 * 2, "nvml")
    assert cpu.bandwidth == Bandwidth(5e10, "measured")
    on_request = replace(loaded, bandwidths={"CUDA0": 8e11})
    gpu, cpu = decode_roof(on_request, {"CUDA0": card}).at(100)
    assert gpu.bandwidth == Bandwidth(8e11, "measured"), "what was measured goes before the data sheet"
    assert cpu.bandwidth is None and cpu.reason


def test_samples_are_recorded_and_kept_by_device() -> None:
    sitting = Sitting(on_card("0000:65:00.0"), (CARD_0, CARD_1))
    sitting.open()
    sitting.run("one", 1)
    sitting.session.close()
    assert {s.device for s in sitting.recorder.of(DeviceSample)} == {"0", "1"}
    assert sitting.recorder.of(HostSample)
    assert any(isinstance(e, TelemetryStatus) for e in sitting.told)


# The real parts


def test_the_row_that_is_told_is_the_row_of_the_view(folders: Paths, model_path: str) -> None:
    """llama.cpp, the sampler and DuckDB: every field and every token, as they come out of the history."""
    events: SimpleQueue[SessionEvent] = SimpleQueue()
    told: list[SessionEvent] = []
    session = make_session("run", folders, events.put)
    session.start()
    try:
        session.open(model_path, EngineSettings(context=ContextSettings(n_ctx=512, n_threads=1)))
        for prompt, n_predict in (("The capital of France is", 12), ("Repeat: 🦙🦙🦙", 5)):
            while not isinstance(told[-1] if told else None, ModelLoaded | RunRecorded):
                told.append(events.get(timeout=DEADLINE_S))
            session.generate(GenerateRequest(prompt, n_predict, SamplingSettings(temperature=0.7, seed=5)))
            told.append(events.get(timeout=DEADLINE_S))
        while not isinstance(told[-1], RunRecorded):
            told.append(events.get(timeout=DEADLINE_S))
    finally:
        assert session.close()
    assert session.problem is None
    runs = [e for e in told if isinstance(e, RunRecorded)]
    with Reader.open(folders) as reader:
        result = reader.run_sql("SELECT * FROM runs ORDER BY run_id", {})
        names = [column.name for column in result.columns]
        found = [dict(zip(names, row, strict=True)) for row in result.rows()]
        tokens = list(
            reader.run_sql('SELECT run_id, "index", token_id, phase, t_s FROM tokens ORDER BY ALL', {}).rows()
        )
        texts = list(reader.run_sql("SELECT prompt, output, seed FROM store.runs ORDER BY run_id", {}).rows())
    assert [list(row) for row in found] == [list(RUN_FIELDS)] * 2
    for row, run in zip(found, runs, strict=True):
        started = row["started_at"]
        assert started.timestamp() * 1000 == pytest.approx(_ms(run.row["started_at"]), abs=0.5)
        assert row | {"started_at": None} == run.row | {"started_at": None}
    assert texts == [(run.prompt, run.output, 5) for run in runs]
    expected = []
    number, index = 0, 0
    for event in told:
        if isinstance(event, RunStarted):
            number, index = number + 1, len(event.prompt_tokens)
            run_id = f"{session.session_id}.{number}"
            expected += [(run_id, i, token, "prefill") for i, token in enumerate(event.prompt_tokens)]
        elif isinstance(event, TokenGenerated):
            expected.append((run_id, index, event.token_id, "decode"))
            index += 1
    assert [row[:4] for row in tokens] == sorted(expected)
    stamps = {(row[0], row[1]): row[4] for row in tokens}
    streamed = [e.t_ns for e in told if isinstance(e, TokenGenerated)]
    recorded = [stamps[run_id, i] for run_id, i, _, phase in expected if phase == "decode"]
    assert recorded == pytest.approx([(t_ns - session.started_ns) / 1e9 for t_ns in streamed], abs=1e-6)


def _ms(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp() * 1000
