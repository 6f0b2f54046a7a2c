"""One key set in the configuration file, with everything else in it left as it was."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import pytest

from gemtop.config import load_config
from gemtop.config.writing import save_setting
from gemtop.domain.errors import BadInputError


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", '[screen]\ntheme = "nord"\n'),
        ("# mine", '# mine\n[screen]\ntheme = "nord"\n'),
        ('[screen]\ntheme   =  "dracula"   # dark\n', '[screen]\ntheme   =  "nord"   # dark\n'),
        (
            '# top\n[screen] # mine\n# theme = "x"\nthrift = true   # slow\n\n# about keys\n[keys]\nlive.stop = "x"\n',
            '# top\n[screen] # mine\n# theme = "x"\nthrift = true   # slow\ntheme = "nord"\n\n'
            '# about keys\n[keys]\nlive.stop = "x"\n',
        ),
        ('[screen]\n# theme = "x"\n\n[keys]\n', '[screen]\ntheme = "nord"\n# theme = "x"\n\n[keys]\n'),
        ("screen.thrift = true # a\n\n# end\n", 'screen.thrift = true # a\nscreen.theme = "nord"\n\n# end\n'),
        ("screen = { thrift = true } # c\n", 'screen = { thrift = true, theme = "nord"} # c\n'),
        ("[screen]\r\nthrift = true\r\n", '[screen]\r\nthrift = true\r\ntheme = "nord"\n'),
        ("[screen]", '[screen]\ntheme = "nord"\n'),
    ],
)
def test_comments_order_and_layout_stay(file: Path, before: str, after: str) -> None:
    file.write_bytes(before.encode())
    assert save_setting("screen", "theme", "nord") == file
    written = file.read_bytes().decode()
    assert written == after
    save_setting("screen", "theme", "nord")
    assert file.read_bytes().decode() == after
    assert tomllib.loads(written.replace("\r\n", "\n"))["screen"]["theme"] == "nord"


def test_values_of_every_kind_into_a_file_that_is_not_there(file: Path) -> None:
    file.parent.rmdir()
    save_setting("screen", "thrift", True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    save_setting("screen", "span_s", 300)
    save_setting("models", "folders", ["~/gguf", '"odd"'])
    save_setting("keys", "live.stop", "ctrl+x")
    config = load_config()
    assert (config.screen_thrift, config.screen_span_s, config.keys) == (True, 300, {"live.stop": "ctrl+x"})
    assert config.models_folders[1].endswith('/"odd"')
    file.write_text('[keys]\nlive.tune = "T" # mine\n')
    save_setting("keys", "live.stop", "ctrl+x")
    save_setting("keys", "live.tune", "ctrl+t")
    assert file.read_text() == '[keys]\nlive.tune = "ctrl+t" # mine\nlive.stop = "ctrl+x"\n'


def test_a_link_stays_a_link_and_a_mode_stays(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "gemtop.toml"
    real.parent.mkdir()
    real.write_text("[screen]\n")
    real.chmod(0o644)
    file.symlink_to("../../dotfiles/gemtop.toml")
    save_setting("screen", "theme", "nord")
    assert file.is_symlink()
    assert real.read_text() == '[screen]\ntheme = "nord"\n'
    assert stat.S_IMODE(real.stat().st_mode) == 0o644
    real.unlink()
    save_setting("screen", "theme", "nord")
    assert file.is_symlink()
    assert load_config().screen_theme == "nord"
    assert [path.name for path in real.parent.iterdir()] == ["gemtop.toml"], "nothing is left beside it"


@pytest.mark.parametrize(
    ("before", "given", "words"),
    [
        ("[screen", ("screen", "theme", "nord"), "config.toml: [screen] theme could not be set there, since it is not"),
        ("screen = 3", ("screen", "theme", "nord"), "since screen is no table"),
        ("[[screen]]", ("screen", "theme", "nord"), "since screen is no table"),
        ("", ("screen", "theme", "nor"), 'theme is the name of a theme, not "nor"; did you mean "nord"?'),
        ("", ("screen", "thrifty", True), "there is no key thrifty under [screen]"),
        ("", ("keys", "live.stob", "x"), "there is no action live.stob; did you mean live.stop?"),
        ("\udcff", ("screen", "theme", "nord"), "it is not UTF-8"),
    ],
)
def test_what_cannot_be_set_changes_nothing(
    file: Path, before: str, given: tuple[str, str, str | bool], words: str
) -> None:
    file.write_bytes(before.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInputError) as error:
        save_setting(*given)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert file.read_bytes() == before.encode("utf-8", "surrogateescape")


def test_a_place_that_cannot_be_written(file: Path) -> None:
    file.parent.rmdir()
    file.parent.write_text("in the way")
    with pytest.raises(BadInputError, match=r"config\.toml cannot be written: File exists"):
        save_setting("screen", "theme", "nord")
    file.parent.unlink()
    file.mkdir(parents=True)
    with pytest.raises(BadInputError, match=r"config\.toml cannot be written: Is a directory"):
        save_setting("screen", "theme", "nord")
