"""The configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemtop.config import Config, config_file, load_config
from gemtop.domain.errors import BadInputError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the configuration lies by default; it is not there yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "conf"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GEMTOP_CONFIG", raising=False)
    (tmp_path / "conf" / "gemtop").mkdir(parents=True)
    assert config_file() == tmp_path / "conf" / "gemtop" / "config.toml"
    return config_file()


def refusal() -> str:
    with pytest.raises(BadInputError) as error:
        load_config()
    assert "\n" not in str(error.value)
    return str(error.value)


def test_without_a_file_there_are_defaults(file: Path) -> None:
    assert load_config() == Config(models_folders=())


def test_folders(file: Path, tmp_path: Path) -> None:
    file.write_text('# mine\n[models]\nfolders = ["~/gguf", "/srv/models", "beside"]\n')
    assert load_config().models_folders == (
        str(tmp_path / "home" / "gguf"), "/srv/models", str(file.parent / "beside"),
    )  # fmt: skip
    for empty in ("", "[models]\n", "[models]\nfolders = []\n"):
        file.write_text(empty)
        assert load_config() == Config()


def test_text_is_kept_unless_it_says_otherwise(file: Path) -> None:
    for text, kept in (("", True), ("[history]\ntext = true\n", True), ("[history]\ntext = false\n", False)):
        file.write_text(text)
        assert load_config().record_text is kept


def test_the_environment_names_another_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.toml"
    monkeypatch.setenv("GEMTOP_CONFIG", str(other))
    assert "other.toml, which does not exist" in refusal()
    other.write_text('models.folders = ["/a"]')
    assert load_config().models_folders == ("/a",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models\n", "at line 1"),
        ("\n[models]\nfolder = []\n", "line 3: [models] has no setting folder; it has folders"),
        ("[models]\n\nfolders = 'x'\n", "line 3: folders is a list of paths"),
        ("[models]\nfolders = [1]\n", "line 2: folders is a list of paths"),
        ("[models]\nfolders = ['']\n", "line 2: folders is a list of paths"),
        ("models = 3\n", "line 1: models is a table"),
        ("[history]\ntext = 'no'\n", "line 2: text is true or false"),
        ("[history]\ntexts = true\n", "line 2: [history] has no setting texts; it has text"),
        ("[modles]\n", "line 1: there is no setting modles"),
        ('"a\\u001b[2J" = 1\n', "there is no setting a␛[2J"),
    ],
)
def test_errors_name_file_line_and_key(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    said = refusal()
    assert str(file) in said
    assert words in said
    assert "\x1b" not in said


def test_a_file_that_is_no_text_or_a_folder(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    assert "cannot be read" in refusal()
    file.unlink()
    file.mkdir()
    assert "cannot be read" in refusal()
