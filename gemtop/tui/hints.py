"""The keys each screen shows in its last line. Textual is not needed to know them."""

from __future__ import annotations

from gemtop.keymap import KeyHint, hint

Hints = tuple[KeyHint, ...]

SCREENS = hint("app.live app.log", "Screens", fixed="1-5", run="next_screen")
_KEYS = hint("program.keys", "Keys", stays=True)
_QUIT = hint("live.quit", "Quit", stays=True)

LIVE_KEYS: Hints = (
    hint("live.type", "Prompt"),
    hint("live.stop", "Stop"),
    hint("live.tune", "Tune"),
    hint("live.again", "Again"),
    SCREENS,
    hint("live.prompts", "Prompts"),
    hint("live.runs", "Runs"),
    hint("live.sampling", "Sampling"),
    hint("live.charts", "Charts"),
    hint("live.longer live.shorter", "Span"),
    hint("live.copy", "Copy"),
    hint("live.zoom", "Zoom"),
    _KEYS,
    _QUIT,
)
PROMPT_KEYS: Hints = (
    hint("prompt.submit", "Run"),
    hint("prompt.new_line", "New line"),
    hint("prompt.leave", "Stop, leave the prompt"),
    hint("prompt.search", "Search"),
    hint("prompt.save", "Save"),
    hint("prompt.pick", "Saved ones"),
)
TOP_KEYS: Hints = (
    hint("top.pause", "Pause"),
    hint("top.up top.down", "Scroll"),
    hint("top.theme", "Theme"),
    _KEYS,
    hint("top.quit", "Quit", stays=True),
)
REPLAY_KEYS: Hints = (
    hint("replay.pause", "Pause"),
    hint("replay.back replay.forward", "5 s"),
    hint("replay.run_before replay.run_after", "Run"),
    hint("replay.slower replay.faster", "Speed"),
    hint("replay.minute_back replay.minute_forward", "1 min"),
    hint("replay.copy", "Copy"),
    hint("replay.theme", "Theme"),
    _KEYS,
    hint("replay.quit", "Quit", stays=True),
)
_TO_ANOTHER_FIELD = hint("", "Next", fixed="Tab", run="app.focus_next")
_SQL_BACK = hint("history.back", "Back", stays=True)
SQL_KEYS: Hints = (
    hint("history.run", "Run"),
    hint("history.mark", "Mark"),
    hint("history.plot", "Plot"),
    hint("history.sort", "Sort"),
    hint("history.outputs", "Outputs"),
    hint("history.save", "Save"),
    hint("history.copy", "Copy"),
    hint("history.lists", "Lists"),
    hint("history.write", "Write"),
    SCREENS,
    _KEYS,
    _SQL_BACK,
)
SQL_LIST_KEYS: Hints = (
    hint("history.look", "Run", run="choose"),
    hint("history.annotate", "Note"),
    _TO_ANOTHER_FIELD,
    hint("history.rows", "Rows"),
    hint("history.editor", "Editor"),
    hint("history.fleet", "Fleet"),
    SCREENS,
    _KEYS,
    _SQL_BACK,
)
SQL_EDITOR_KEYS: Hints = (
    hint("history.run", "Run"),
    hint("", "Complete", fixed="Tab", run="complete"),
    hint("history.save", "Save"),
    hint("history.lists", "Lists"),
    hint("history.rows", "Rows"),
    hint("history.write", "Write"),
    hint("app.anywhere_live app.anywhere_log", "Screens", fixed="Alt-1..5", run="app.show('live')"),
    _SQL_BACK,
)
_COMPARE_BACK = hint("compare.back", "Back", stays=True)
CHOOSING_KEYS: Hints = (
    hint("compare.mark", "Mark"),
    hint("compare.baseline", "Baseline"),
    hint("compare.start", "Start"),
    hint("compare.prompt", "Prompt"),
    hint("", "Settings", fixed="Tab", run="app.focus_next"),
    hint("compare.choose", "Last one"),
    SCREENS,
    _KEYS,
    _COMPARE_BACK,
)
FORM_KEYS: Hints = (hint("compare.start", "Start"), _TO_ANOTHER_FIELD, _COMPARE_BACK)
COMPARING_KEYS: Hints = (
    hint("compare.back", "Stop", stays=True),
    hint("app.live", "Live charts"),
    hint("compare.outputs", "Outputs"),
    hint("compare.copy", "Copy"),
    SCREENS,
    _KEYS,
)
COMPARED_KEYS: Hints = (
    hint("compare.start", "Outputs"),
    hint("compare.prompt", "Prompt"),
    hint("compare.choose", "New"),
    hint("compare.copy", "Copy"),
    SCREENS,
    _KEYS,
    _COMPARE_BACK,
)
STOPPED_KEYS: Hints = (hint("compare.start", "Go on"), hint("compare.outputs", "Outputs"), *COMPARED_KEYS[1:])
OUTPUT_KEYS: Hints = (
    hint("outputs.prompt_before outputs.prompt_after", "Prompts"),
    hint("outputs.variant_before outputs.variant_after", "Variants"),
    hint("outputs.diff", "Word diff"),
    hint("outputs.copy", "Copy"),
    _KEYS,
    hint("outputs.dismiss", "Back", stays=True),
)
MODELS_KEYS: Hints = (
    hint("models.open", "Open"),
    hint("models.context", "Context"),
    hint("models.card", "Another card"),
    hint("models.copy", "Copy"),
    hint("models.adopt", "Copy its command"),
    hint("models.again", "Look again"),
    SCREENS,
    _KEYS,
    hint("models.back", "Back", stays=True),
)
LOG_KEYS: Hints = (
    hint("log.find", "Find"),
    hint("log.level", "Warnings"),
    hint("log.copy", "Copy"),
    hint("text.page_up text.page_down", "Scroll"),
    SCREENS,
    _KEYS,
    hint("log.back", "Back", stays=True),
)
TUNE_KEYS: Hints = (
    hint("", "apply", fixed="Enter", run="apply"),
    hint("", "leave", fixed="Esc", run="leave"),
    hint("", "change", fixed="Left Right"),
    hint("", "type", fixed="0-9"),
)
PROMPT_PLACEHOLDER = "Enter or a capital letter starts a prompt"
TYPING_PLACEHOLDER = "type a prompt; Enter runs it"
