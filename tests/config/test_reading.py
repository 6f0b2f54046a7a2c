"""The configuration file and the environment: what is taken from them, and what is said of what cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemtop.config import fleet_address, load_config, paths
from gemtop.config.reading import Source, read_config
from gemtop.config.schema import KEYS, Config
from gemtop.domain.errors import BadInputError
from gemtop.domain.themes import TEXTUAL_THEMES


def refusal() -> str:
    with pytest.raises(BadInputError) as error:
        load_config()
    assert "\n" not in str(error.value)
    assert "\x1b" not in str(error.value)
    return str(error.value)


def test_without_a_file_there_are_defaults(file: Path) -> None:
    assert load_config() == Config()
    assert not read_config().exists
    file.write_text("[models]\nfolders = []\n[keys]\n")
    assert load_config() == Config()
    assert read_config().exists


def test_every_key_from_the_file(file: Path, tmp_path: Path) -> None:
    file.write_text(
        '# mine\nversion = 1\n[models]\nfolders = ["~/gguf", "/srv/models", "beside"]\n'
        '[history]\nfile = "h.duckdb"\ntext = false\nfleet = "postgresql://db/fleet"\n'
        '[screen]\ntheme = "nord"\nthrift = true\nascii = "on"\nspan_s = 900\nkeep_running = true\n'
        '[keys]\n"live.stop" = "Ctrl-X, f12"\nlive.tune = "T"\n'
    )  # fmt: skip
    config = load_config()
    assert config == Config(
        models_folders=(str(tmp_path / "home" / "gguf"), "/srv/models", str(file.parent / "beside")),
        history_file=str(file.parent / "h.duckdb"),
        history_text=False,
        history_fleet="postgresql://db/fleet",
        screen_theme="nord",
        screen_thrift=True,
        screen_ascii="on",
        screen_span_s=900,
        screen_keep_running=True,
        keys={"live.stop": "ctrl+x,f12", "live.tune": "T"},
    )
    sources = read_config().sources
    assert sources["models.folders"] == Source("file", line=4)
    assert sources["keys.live.tune"] == Source("file", line=17)
    assert paths().history == file.parent / "h.duckdb"
    assert paths("other.duckdb").history == Path.cwd() / "other.duckdb"
    assert fleet_address() == "postgresql://db/fleet"


def test_the_environment_goes_before_the_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        '[history]\nfile = "/a"\ntext = true\n[screen]\nspan_s = 30\n[keys]\n"live.stop" = "f11"\nlive.new="N"'
    )
    given = {
        "GEMTOP_MODELS_FOLDERS": "~/gguf:here:",
        "GEMTOP_DB": "h.duckdb",
        "GEMTOP_HISTORY_TEXT": "No",
        "GEMTOP_FLEET": "postgresql://db/other",
        "GEMTOP_SCREEN_THEME": "gemtop-light",
        "GEMTOP_SCREEN_THRIFT": "1",
        "GEMTOP_SCREEN_ASCII": "off",
        "GEMTOP_SCREEN_SPAN_S": "300",
        "GEMTOP_SCREEN_KEEP_RUNNING": "on",
        "GEMTOP_KEYS": "live.stop=f12; live.charts = x",
    }
    assert set(given) == {key.variable for key in KEYS}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert load_config() == Config(
        models_folders=(str(tmp_path / "home" / "gguf"), str(Path.cwd() / "here")),
        history_file=str(Path.cwd() / "h.duckdb"),
        history_text=False,
        history_fleet="postgresql://db/other",
        screen_theme="gemtop-light",
        screen_thrift=True,
        screen_ascii="off",
        screen_span_s=300,
        screen_keep_running=True,
        keys={"live.stop": "f12", "live.new": "N", "live.charts": "x"},
    )
    sources = read_config().sources
    assert sources["history.file"] == Source("environment", variable="GEMTOP_DB")
    assert sources["keys.live.new"] == Source("file", line=8)
    assert paths().history == Path.cwd() / "h.duckdb"
    for name in given:
        monkeypatch.setenv(name, "")
    assert load_config().history_file == "/a", "a variable that is empty says nothing"


def test_the_environment_names_another_file(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.toml"
    monkeypatch.setenv("GEMTOP_CONFIG", str(other))
    assert refusal() == f"GEMTOP_CONFIG: {other} does not exist; gemtop config edit makes it"
    other.write_bytes(b'\xef\xbb\xbfmodels.folders = ["/a"]\r\n')
    assert load_config().models_folders == ("/a",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models\n", ", line 1, column 8: Expected ']' at the end of a table declaration"),
        ("a = [\n1\n", ", line 3: "),
        ("a = " + "[" * 5000, "too deep"),
        ("\n[models]\nfolder = []\n", ", line 3: [models] has no key folder; did you mean folders?"),
        ("[models]\n\nfolders = 'x'\n", ', line 3: folders is a list of paths, not "x": folders = ["~/gguf", '),
        ("[models]\nfolders = [1]\n", ", line 2: folders is a list of paths, and 1 is none"),
        ("[models]\nfolders = ['']\n", ', line 2: folders is a list of paths, and "" is none'),
        ("models = 3\n", ", line 1: models is a table: [models]"),
        ("[[models]]\n", ", line 1: models is a table: [models]"),
        ("[history]\ntext = 'no'\n", ', line 2: text is true or false, not "no": text = false'),
        ("[history]\ntext = 1979-05-27\n", ", line 2: text is true or false, not 1979-05-27"),
        ("[history]\nfleet = ' '\n", ', line 2: fleet is an address, not " "'),
        ("[history]\nfile = []\n", ", line 2: file is the path of a file, not []"),
        ("[history]\ntexts = true\n", ", line 2: [history] has no key texts; did you mean text?"),
        ("[history]\nqwxz = true\n", ", line 2: [history] has no key qwxz; it has file, text, fleet"),
        ("[models]\ntheme = 'nord'\n", ", line 2: [models] has no key theme; it belongs under [screen]"),
        ("theme = 'nord'\n", ", line 1: there is no key theme outside of a table; it belongs under [screen]"),
        ("[modles]\n", ", line 1: there is no table [modles]; did you mean [models]?"),
        ("[qwxz]\n", ", line 1: there is no table [qwxz]; there are [models], [history], [screen], [keys]"),
        ('"a\\u001b[2J" = 1\n', ", line 1: there is no key a␛[2J outside of a table; keys stand under [models]"),
        ("[screen]\ntheme = 'Draculla'", ', line 2: theme is the name of a theme, not "Draculla"; did you mean "drac'),
        ("[screen]\nascii = true", ', line 2: ascii is one of auto, on, off, not true; did you mean "on"?'),
        ("[screen]\nspan_s = 100", ", line 2: span_s is one of 30, 60, 300, 900, not 100; did you mean 60?"),
        ("[screen]\nspan_s = 60.0", ", line 2: span_s is one of 30, 60, 300, 900, not 60.0; did you mean 60?"),
        ("[screen]\nspan_s = true", ", line 2: span_s is one of 30, 60, 300, 900, not true"),
        ("[screen]\nthrift.x = true", ", line 2: thrift is true or false, not a table"),
        ("[keys]\n'live.stob' = 'x'", ", line 2: there is no action live.stob; did you mean live.stop?"),
        ("[keys]\nqwxz = 'x'", ", line 2: there is no action qwxz; gemtop config show keys lists them"),
        ("[keys]\nlive.stop = 'bogus-key'", ", line 2: live.stop: 'bogus-key' is no key"),
        ("[keys]\nlive.stop = ''", ", line 2: live.stop: no key is given"),
        ("[keys]\nlive.stop = 1", ", line 2: the keys of live.stop are a text, not 1"),
        ("[keys]\nlive.stop = 'x'", ", line 2: x is given to both live.stop and live.charts"),
        ("version = 0", ", line 1: version is a number from 1, not 0: version = 1"),
        ("version = '2'", ', line 1: version is a number from 1, not "2"'),
        # The line of the key that is meant, whatever else has its name.
        ("# text = 1\n[screen]\nx='''\ntext = 2\n'''\n[history]\ntext = 3", ", line 3: [screen] has no key x"),
        ("# text = 1\n[history] # text\nfile = '''\ntext'''\n\"text\" = 3", ", line 5: text is true or false"),
        ("screen.thrift = true\nhistory = { file = '/a', text = 3 }", ", line 2: text is true or false"),
        ("[keys]\n'live.new' = 'N'\n[history]\n'text' = 3", ", line 4: text is true or false"),
        ("[models]\nfolders = [\n  'a',\n  2,\n]", ", line 2: folders is a list of paths, and 2 is none"),
    ],
)
def test_what_is_wrong_is_said_with_file_line_and_the_nearest(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    said = refusal()
    assert said.startswith(str(file))
    assert words in said


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("GEMTOP_SCREEN_SPAN_S", "abc", 'it is one of 30, 60, 300, 900, not "abc"'),
        ("GEMTOP_SCREEN_SPAN_S", "61", "it is one of 30, 60, 300, 900, not 61; did you mean 60?"),
        ("GEMTOP_SCREEN_THRIFT", "maybe\x1b[2J", 'it is true or false, not "maybe\\u001b[2J"'),
        ("GEMTOP_FLEET", " ", "it is an address"),
        ("GEMTOP_KEYS", "live.stop", 'it is ACTION=KEYS;ACTION=KEYS, and "live.stop" is none'),
        ("GEMTOP_KEYS", "live.stob=x", "there is no action live.stob; did you mean live.stop?"),
        ("GEMTOP_KEYS", "live.stop=x", "x is given to both live.stop and live.charts"),
    ],
)
def test_a_wrong_variable_is_named(
    file: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, words: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert refusal().startswith(f"{variable}: {words}")


def test_of_several_the_first_is_said_and_how_to_see_the_rest(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[history]\ntext = 1\n[screen]\nthem = 'x'\n")
    assert refusal().endswith("text = false (and 1 more: gemtop config shows it)")
    assert [problem.where for problem in read_config().problems] == [f"{file}, line 2", f"{file}, line 4"]


def test_a_file_of_a_newer_version_is_used_as_far_as_it_is_known(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(
        "version = 2\nfont = 3\n[sound]\nbell = true\n[screen]\nthrift = true\nglow = 1\n"
        "theme = 'amber'\n[keys]\n'live.sing' = 's'\n"
    )
    config = load_config()
    assert (config.screen_thrift, config.screen_theme, config.keys) == (True, "gemtop-dark", {})
    assert [line.partition(";")[0] for line in config.warnings] == [
        f"{file}, line 2: there is no key font outside of a table",
        f"{file}, line 3: there is no table [sound]",
        f"{file}, line 7: [screen] has no key glow",
        f'{file}, line 8: theme is the name of a theme, not "amber"',
        f"{file}, line 10: there is no action live.sing",
    ]
    assert all(
        line.endswith("it is left out, since the file is of a newer gemtop (version = 2, this one knows 1)")
        for line in config.warnings
    )
    file.write_text("version = 2\n[history]\ntext = 'never'\n")
    assert "text is true or false" in refusal(), "a value is not guessed: it may be about what is recorded"
    file.write_text("version = 2\n")
    monkeypatch.setenv("GEMTOP_SCREEN_THEME", "amber")
    assert refusal().startswith("GEMTOP_SCREEN_THEME: "), "the environment is of this machine"


def test_a_file_that_is_no_text_or_a_folder(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    assert refusal() == f"{file}: it cannot be read: it is not UTF-8"
    file.unlink()
    file.mkdir()
    assert refusal() == f"{file}: it cannot be read: Is a directory"


def test_the_themes_are_textuals() -> None:
    from textual.theme import BUILTIN_THEMES

    assert set(TEXTUAL_THEMES) == set(BUILTIN_THEMES)
