"""Code that answers the shipped prompts for code: read as text by the tests, never imported."""

import re
from collections import Counter, OrderedDict, deque


def run_lengths(text):
    runs = []
    for char in text:
        if runs and runs[-1][0] == char:
            runs[-1] = (char, runs[-1][1] + 1)
        else:
            runs.append((char, 1))
    return runs


def to_roman(number):
    if not 1 <= number <= 3999:
        raise ValueError(number)
    values = [1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1]
    signs = ["M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"]
    said = ""
    for value, sign in zip(values, signs, strict=True):
        said += sign * (number // value)
        number %= value
    return said


def merge_intervals(intervals):
    merged = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def parse_duration(text):
    match = re.fullmatch(r"(?:(\d+)h)? *(?:(\d+)m)? *(?:(\d+)s)?", text)
    if not match or not any(match.groups()):
        raise ValueError(text)
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def first_unbalanced(text):
    pairs = {")": "(", "]": "[", "}": "{"}
    opened = []
    for at, char in enumerate(text):
        if char in pairs.values():
            opened.append((char, at))
        elif char in pairs and (not opened or opened.pop()[0] != pairs[char]):
            return at
    return opened[-1][1] if opened else -1


def top_words(text, n):
    counts = Counter(re.findall(r"[a-z]+", text.lower()))
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:n]


def rotate(grid):
    return [list(column)[::-1] for column in zip(*grid, strict=True)]


class LruCache:
    def __init__(self, capacity):
        self.capacity = capacity
        self.entries = OrderedDict()

    def get(self, key):
        if key not in self.entries:
            return None
        self.entries.move_to_end(key)
        return self.entries[key]

    def put(self, key, value):
        self.entries[key] = value
        self.entries.move_to_end(key)
        if len(self.entries) > self.capacity:
            self.entries.popitem(last=False)


def shortest(maze):
    cells = {(row, column): cell for row, line in enumerate(maze) for column, cell in enumerate(line)}
    start = next(at for at, cell in cells.items() if cell == "S")
    steps, waiting = {start: 0}, deque([start])
    while waiting:
        row, column = at = waiting.popleft()
        if cells[at] == "E":
            return steps[at]
        for near in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if cells.get(near, "#") != "#" and near not in steps:
                steps[near] = steps[at] + 1
                waiting.append(near)
    return -1


def split_csv(line):
    fields, field, quoted, at = [], "", False, 0
    while at < len(line):
        char = line[at]
        if quoted and line[at : at + 2] == '""':
            field, at = field + '"', at + 1
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            fields, field = [*fields, field], ""
        else:
            field += char
        at += 1
    return [*fields, field]
