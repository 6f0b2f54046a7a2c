"""Answers the scripts that `gemtop completion` prints: what may stand where the cursor is.

    gemtop __complete bash LINE BREAKS        candidates as bash has to put them in, behind `space` or `nospace`
    gemtop __complete fish WORD ... CURRENT   value and explanation with a tab between them
    gemtop __complete zsh WORD ... CURRENT    the same behind `word` or `open`, and whether files go there

The words are held against the parsers of the commands, so that nothing is listed twice.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from gemtop.cli.main import COMMANDS, build_parser
from gemtop.cli.offers import Files, Found, Offer, in_folder, of_action

_LONGEST_HELP = 60
_SPECIAL = set(" \t\"'\\$`!&|;()<>*?[]{}#~^")
"""Characters that bash takes for more than themselves."""


def main(arguments: Sequence[str]) -> int:
    """Print the answer. Whatever is wrong with the line or on this machine, there are fewer offers, never words."""
    try:
        if arguments[0] == "bash":
            text = for_bash(arguments[1], arguments[2])
        elif arguments[0] == "fish":
            found = with_files(arguments[-1], *offers(arguments[1:-1], arguments[-1]))
            text = "".join(f"{offer.value}\t{offer.says}\n" for offer in found)
        else:
            text = for_zsh(*offers(arguments[1:-1], arguments[-1]))
    except (Exception, SystemExit):
        import logging

        from gemtop import logs
        from gemtop.config import places

        logs.start_log(places(None), verbose=False)
        logging.getLogger("gemtop.cli").warning("completion of %r", arguments, exc_info=True)
        text = ""
    sys.stdout.write(text)
    sys.stdout.flush()
    os._exit(0)  # a thread may wait for a folder that does not answer


def with_files(current: str, found: list[Offer], files: Files | None) -> list[Offer]:
    """The offers, and files where they go there."""
    if files is None:
        return found
    before, equals, path = current.partition("=") if current.startswith("--") else ("", "", current)
    names = {offer.value for offer in found}
    more = [Offer(f"{before}{equals}{one.value}", open=one.open) for one in in_folder(path, files)]
    return found + [offer for offer in more if offer.value not in names]


def for_zsh(found: list[Offer], files: Files | None) -> str:
    """The answer for zsh, which knows best how files are offered."""
    lines = [f"{'open' if offer.open else 'word'}\t{offer.value}\t{offer.says}" for offer in found]
    if files is not None:
        lines.append("folders\t\t" if files.folders_only else f"files\t{files.ending}\t")
    return "".join(f"{line}\n" for line in lines)


def for_bash(line: str, breaks: str) -> str:
    """The answer for a line up to the cursor; `breaks` are the characters at which bash parts words by itself."""
    words, raw, quote = split(line)
    current = plain(raw)
    found = with_files(current, *offers(words[1:], current))
    kept = 0 if quote else _replaced_from(raw, breaks)
    values = [offer.value[kept:] if quote else _escaped(offer.value[kept:]) for offer in found]
    open_end = any(offer.open for offer in found)
    return "".join(f"{text}\n" for text in ["nospace" if open_end and len(found) == 1 else "space", *values])


def _escaped(value: str) -> str:
    home = value.startswith("~/")  # a home folder that is quoted is none
    return ("~" if home else "") + "".join(f"\\{c}" if c in _SPECIAL else c for c in value[home:])


def _replaced_from(raw: str, breaks: str) -> int:
    """How many characters of the word bash keeps, since it takes what is behind a break for a word of its own."""
    kept = length = at = 0
    while at < len(raw):
        escaped = raw[at] == "\\" and at + 1 < len(raw)
        at += 1 + escaped
        length += 1
        if not escaped and raw[at - 1] in breaks:
            kept = length
    return kept


def split(line: str) -> tuple[list[str], str, str]:
    """Words of a command line as the shell has them, the last one as it was typed, and the quote it is in.

    The last word is empty where the line ends with a blank; its opening quote is left out.
    """
    words, raw, quote, in_word, at = [], "", "", False, 0
    typed = ""
    while at < len(line):
        c = line[at]
        if c == "\\" and quote != "'" and at + 1 < len(line):
            typed += line[at : at + 2]
            raw += line[at + 1] if quote != '"' or line[at + 1] in '"\\$`' else line[at : at + 2]
            in_word, at = True, at + 1
        elif c == quote:
            quote = ""
        elif not quote and c in "\"'":
            quote, in_word = c, True
        elif not quote and c in " \t\n":
            if in_word:
                words.append(raw)
            raw, typed, in_word = "", "", False
        else:
            raw, typed, in_word = raw + c, typed + c, True
        at += 1
    return words, typed, quote


def plain(typed: str) -> str:
    """A word as the shell has it, from how it was typed without its quotes."""
    found, at = "", 0
    while at < len(typed):
        at += typed[at] == "\\" and at + 1 < len(typed)
        found += typed[at]
        at += 1
    return found


def offers(words: Sequence[str], current: str) -> Found:
    """What may stand behind these words, in the place of one that begins with `current`."""
    command = words[0] if words and words[0] in COMMANDS else None
    parser: argparse.ArgumentParser = build_parser(command)
    line = _Line(parser)
    for word in words:
        line.take(word)
    found, files = line.offers(current)
    if not words and not current.startswith("-"):
        found = [*(Offer(name, text) for name, text in COMMANDS.items()), *found]
    return [offer for offer in found if offer.value.startswith(current)], files


class _Line:
    """A command line that is read word by word, as argparse would read it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._given: dict[str, list[str]] = {}
        self._begin(parser)

    def _begin(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser
        self._options = {text: action for action in parser._actions for text in action.option_strings}
        self._positionals = [action for action in parser._actions if not action.option_strings]
        self._filled: set[argparse.Action] = set()
        self._used: set[str] = set()
        self._waiting: argparse.Action | None = None
        """The option whose value comes next."""
        self._more = False
        """That may come, and need not."""
        self._positionals_alone = False

    def take(self, word: str) -> None:
        if self._waiting is not None and not (self._more and word.startswith("-")):
            self._put(self._waiting, word)
            self._more = self._waiting.nargs in ("*", "+")
            self._waiting = self._waiting if self._more else None
        elif word == "--" and not self._positionals_alone:
            self._waiting, self._positionals_alone = None, True
        elif word.startswith("-") and word != "-" and not self._positionals_alone:
            self._option(word)
        else:
            self._positional(word)

    def _option(self, word: str) -> None:
        name, equals, value = word.partition("=")
        action = self._options.get(name)
        self._waiting = None
        if action is None:
            return
        self._used.update(action.option_strings if not _repeats(action) else ())
        if equals:
            self._put(action, value)
        elif action.nargs != 0:
            self._waiting, self._more = action, action.nargs in ("?", "*")

    def _positional(self, word: str) -> None:
        action = self._next_positional()
        if action is None:
            return
        self._put(action, word)
        if isinstance(action, argparse._SubParsersAction) and word in action.choices:
            self._begin(action.choices[word])

    def _next_positional(self) -> argparse.Action | None:
        for action in self._positionals:
            many = action.nargs in ("*", "+", argparse.REMAINDER)
            if many or action not in self._filled:
                return action
        return None

    def _put(self, action: argparse.Action, word: str) -> None:
        self._given.setdefault(action.dest, []).append(word)
        self._filled.add(action)

    def offers(self, current: str) -> Found:
        if self._waiting is not None and not (self._more and current.startswith("-")):
            found, files = of_action(self._waiting, current, self._given)
            if not self._more:
                return found, files
            more, other = self._words(current)
            return [*found, *more], files or other
        name, equals, value = current.partition("=")
        if equals and name in self._options and not self._positionals_alone:
            found, files = of_action(self._options[name], value, self._given)
            return [Offer(f"{name}={offer.value}", offer.says, offer.open) for offer in found], files
        return self._words(current)

    def _words(self, current: str) -> Found:
        if current.startswith("-") and not self._positionals_alone:
            return self._flags(), None
        action = self._next_positional()
        if action is None:
            return [], None
        if isinstance(action, argparse._SubParsersAction):
            return [Offer(each.dest, each.help or "") for each in action._choices_actions], None
        return of_action(action, current, self._given)

    def _flags(self) -> list[Offer]:
        found = []
        for action in self._parser._actions:
            if action.help == argparse.SUPPRESS or self._used.intersection(action.option_strings):
                continue
            says = self._help(action)
            found += [Offer(text, says) for text in action.option_strings]
        return found

    def _help(self, action: argparse.Action) -> str:
        text = " ".join(((action.help or "") % {**vars(action), "prog": self._parser.prog}).split())
        return text if len(text) <= _LONGEST_HELP else f"{text[: _LONGEST_HELP - 1].rstrip()}…"


def _repeats(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction | argparse._ExtendAction)
