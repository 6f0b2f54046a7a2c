from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemtop.domain.errors import BadInputError
from gemtop.domain.playback import SPEEDS, Playback, moment_of, moment_text, speed_of

S = 1_000_000_000


def test_it_goes_on_at_its_speed_until_the_end() -> None:
    clock = Playback(10 * S, 100, speed=4.0)
    assert [clock.position(100 + n * S) for n in (0, 1, 2, 3)] == [0, 4 * S, 8 * S, 10 * S]
    assert clock.at_end(100 + 3 * S)
    clock.play(100 + 3 * S)
    assert clock.position(100 + 4 * S) == 4 * S, "from the beginning"


def test_a_pause_a_wait_and_a_change_of_speed_lose_no_time() -> None:
    clock = Playback(100 * S, 0)
    clock.pause(3 * S)
    clock.faster(1, 5 * S)
    clock.play(8 * S)
    clock.wait(9 * S, True)
    assert clock.position(50 * S) == 5 * S
    clock.seek(20 * S, 50 * S)
    assert clock.position(51 * S) == 20 * S, "it waits still"
    clock.wait(60 * S, False)
    assert clock.position(61 * S) == 22 * S


@given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 60), st.integers(-5, 60), st.sampled_from("pqswf"))))
def test_a_position_is_never_outside(duration_s: int, steps: list[tuple[int, int, str]]) -> None:
    clock, now = Playback(duration_s * S, 0), 0
    for passed, number, what in steps:
        now += passed * S
        {
            "p": lambda: clock.pause(now),  # noqa: B023
            "q": lambda: clock.play(now),  # noqa: B023
            "s": lambda: clock.seek(number * S, now),  # noqa: B023
            "w": lambda: clock.wait(now, number % 2 == 0),  # noqa: B023
            "f": lambda: clock.faster(number, now),  # noqa: B023
        }[what]()
        assert 0 <= clock.position(now) <= duration_s * S
        assert clock.speed in SPEEDS


@pytest.mark.parametrize(
    ("text", "speed"), [("4x", 4), ("4", 4), (" 0.5X ", 0.5), (".25", 0.25), ("64×", 64), ("3", 3)]
)
def test_speeds(text: str, speed: float) -> None:
    assert speed_of(text) == speed


def test_faster_and_slower_go_through_the_steps_from_any_speed() -> None:
    clock = Playback(S, 0, speed=3.0)
    clock.faster(1, 0)
    assert clock.speed == 4
    clock.speed = 3.0
    clock.faster(-1, 0)
    assert clock.speed == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1:30", 90), ("2:01:30.5", 7290.5), ("0", 0), ("75:00", 4500)]
)
def test_moments(text: str, seconds: float) -> None:
    assert moment_of(text) == seconds * S


@pytest.mark.parametrize("text", ["", "x", "-1", "1:-3", "1:2:3:4", "nan"])
def test_no_moments_and_no_speeds(text: str) -> None:
    with pytest.raises(BadInputError, match="is no moment"):
        moment_of(text)
    with pytest.raises(BadInputError, match="is no speed"):
        speed_of(text)


def test_moments_as_text() -> None:
    assert [moment_text(n * S) for n in (0, 65, 599, 3600 + 65)] == ["0:00", "1:05", "9:59", "1:01:05"]
