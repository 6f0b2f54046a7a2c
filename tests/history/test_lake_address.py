"""Addresses of fleets."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemtop.domain.errors import BadInputError
from gemtop.history import lake


def test_an_address_is_shown_without_its_password() -> None:
    where = lake.address("postgresql://me:hush@db.example:5433/fleet?sslmode=require")
    assert where.shown == "postgresql://me:***@db.example:5433/fleet"
    assert where.conninfo.startswith("postgresql://me:hush@db.example:5433/fleet?")
    assert "sslmode=require" in where.conninfo
    assert "connect_timeout=10" in where.conninfo
    assert where.data is None


def test_what_the_user_says_of_the_connection_holds() -> None:
    assert "connect_timeout=3&" in lake.address("postgresql://h/d?connect_timeout=3").conninfo


def test_duckdbs_own_spelling() -> None:
    where = lake.address("ducklake:postgres:dbname=fleet host=db password=hush user=me")
    assert where.conninfo.startswith("dbname=fleet host=db password=hush user=me connect_timeout=10")
    assert where.shown == "dbname=fleet host=db password=*** user=me"
    assert lake.address("ducklake:postgres://me@db/fleet").shown == "postgres://me@db/fleet"
    assert lake.address("ducklake:postgres:postgresql://me@db/fleet").shown == "postgresql://me@db/fleet"


def test_the_datas_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert lake.address("postgresql://db/fleet", "lake").data == f"{tmp_path}/lake/"
    assert lake.address("postgresql://db/fleet?data=s3://bucket/gemtop").data == "s3://bucket/gemtop/"
    assert "data" not in lake.address("postgresql://db/fleet?data=s3://bucket/gemtop").conninfo


@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("fleet", None), ("mysql://db/fleet", None), ("postgresql://db", None), ("postgresql://db/", None), ("", None),
        ("postgresql://db:port/fleet", None), ("/some/folder", None), ("postgresql://db/fleet", "ftp://x"),
        ("postgresql://db/fleet", " "), ("postgresql://db/fleet?data=/a", "/b"), ("postgresql://db/fleet?x", None),
    ],
)  # fmt: skip
def test_what_is_no_address(text: str, data: str | None) -> None:
    with pytest.raises(BadInputError) as caught:
        lake.address(text, data)
    assert "\n" not in str(caught.value)


def test_a_wrong_address_is_shown_without_its_password() -> None:
    with pytest.raises(BadInputError) as caught:
        lake.address("http://me:hush@db/fleet")
    assert "hush" not in str(caught.value)


def test_no_fleet_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GEMTOP_FLEET", raising=False)
    with pytest.raises(BadInputError, match="no fleet is named: set GEMTOP_FLEET"):
        lake.configured()
    monkeypatch.setenv("GEMTOP_FLEET", "postgresql://db/fleet")
    assert lake.configured().shown == "postgresql://db/fleet"


def test_the_fleet_of_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[history]\nfleet = "postgresql://db/ours"\n')
    monkeypatch.setenv("GEMTOP_CONFIG", str(file))
    monkeypatch.delenv("GEMTOP_FLEET", raising=False)
    assert lake.configured().shown == "postgresql://db/ours"
    file.write_text("[history]\nfleet = 3\n")
    with pytest.raises(BadInputError, match=r"line 2: fleet is an address"):
        lake.configured()
