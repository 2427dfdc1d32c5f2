"""Which things an answer recommends, in their order: lists read from free text, without guessing.

An answer may number its items, put bullets before them, write one per line, part them by commas, or name them between
quotation marks. What stands around a name (an author, a year, a description) is taken off, and names are compared in
one spelling. Where none of these forms is clear, nothing was read.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from itertools import pairwise

LONGEST = 12
"""Words in a name; what is longer is a sentence."""

_NUMBER = (
    r"(?:#\d{1,3}\b[.):]?|[(\[]?\d{1,3}(?:\\?[.):\]]+|\ufe0f?\u20e3|\s+[-–—]|\s*:)|(?:Item|No\.?)\s+\d{1,3}\s*[.:)])"
)
_NUMBERED = re.compile(rf"^(?P<indent>\s*)(?:[*_#>]+\s*)?{_NUMBER}(?:[*_]+)?\s*(?P<item>\S.*)$", re.IGNORECASE)
_BULLET = re.compile(r"^(?P<indent>\s*)(?:[-+•◦‣·–—▪●►]|\*(?!\*))\s+(?P<item>\S.*)$")
_LETTERED = re.compile(r"^(?P<indent>\s*)\(?[a-zA-Z][.)]\s+(?P<item>\S.*)$")
_BOLD_LINE = re.compile(r"^(?P<indent>\s*)(?P<item>\*\*[^*]+\*\*.*)$")
_INLINE = re.compile(r"(?:^|(?<=[\s:;,.]))\(?(?P<number>\d{1,2})[.)]\s+")
_TABLE_RULE = re.compile(r"^\s*\|?\s*:?-{2,}")
_QUOTED = re.compile(r"“([^”\n]+)”|\"([^\"\n]+)\"|«([^»\n]+)»")
_EMPHASISED = re.compile(r"\*\*\s*([^*\n]+?)\s*\*\*")
_LINK = re.compile(r"\[([^\]]+)\]\([^)]*\)")
_BRACKETS = re.compile(r"\s*[(\[][^()\[\]]*[)\]]\s*$")
_DASH = re.compile(r"\s+[-–—]+\s+|\s*[—]\s*|\t+")
_AUTHOR = re.compile(r"\s+by\s+(?=[A-ZÀ-Þ][\w.'’-]*\s+(?:[a-z]{1,3}\s+)*[A-ZÀ-Þ])")
_YEAR = re.compile(r",\s*(?:1[89]|20)\d\d$")
_TRAILING_ARTICLE = re.compile(r"^(.*),\s+(?:the|an?)$", re.IGNORECASE)
_SMALL = frozenset(
    (
        *("a", "an", "and", "as", "at", "by", "de", "des", "die", "du", "for"),
        *("from", "in", "la", "le", "of", "on", "or", "the", "to", "with"),
    )
)
_SENTENCE_WORDS = frozenset(
    (
        *("i", "you", "we", "they", "he", "she", "it", "this", "that", "these", "those", "there"),
        *("is", "are", "was", "were", "am", "be", "been", "can", "could", "would", "should", "may"),
        *("might", "will", "shall", "must", "do", "does", "did", "have", "has", "had", "but", "because"),
        *("if", "depends", "please", "unless", "however", "although", "let", "sure", "sorry", "hope", "don't", "can't"),
        *("cannot", "i'm", "it's", "you're"),
    )
)
_SMART = str.maketrans({"’": "'", "‘": "'", "\u00a0": " ", "\u202f": " "})


def read_list(text: str) -> list[str]:
    """The names that ``text`` lists, in order, each once, as `normal_name` writes them; empty if it gives no list.

    >>> read_list("Sure! 1. **The Matrix** (1999) - rebels 2. Up 3. Amélie by Jean-Pierre Jeunet")
    ['matrix', 'up', 'amelie']
    """
    plain = _LINK.sub(r"\1", text.translate(_SMART)).replace("\r\n", "\n")
    for read in (_structured, _table, _marked_lines, _numbered_inline, _quoted, _bare_lines, _separated):
        items = read(plain)
        names = [name for name in (item_name(item) for item in items) if name]
        distinct = list(dict.fromkeys(filter(None, map(normal_name, names))))
        if len(distinct) > 1 and 2 * len(names) > len(items):
            return distinct
    return []


def item_name(item: str) -> str:
    """The name at the head of a list's item, without marks, author, year or description; "" for a whole sentence.

    A dash ends a name. A colon does unless what follows is written as a title: "Alien: a crew meets a monster", but
    "Star Wars: A New Hope". "by" does before a name of several words: "Emma by Jane Austen", but "Stand by Me".
    """
    head = item.strip()
    quoted, bold = _QUOTED.match(head), re.match(r"[*_]{2,3}\s*([^*_\n]+?)\s*:?\s*[*_]{2,3}", head)
    if quoted or bold:
        head = next(filter(None, quoted.groups())) if quoted else bold[1] if bold else head
        marked = _QUOTED.match(head)
        head = next(filter(None, marked.groups())) if marked else head
    head = re.sub(r"[*_`]+", "", head).strip()
    before, colon, after = head.partition(": ")
    head = head if colon and _is_title(after) else before
    head = _AUTHOR.split(_DASH.split(head, maxsplit=1)[0], maxsplit=1)[0]
    while (shorter := _YEAR.sub("", _BRACKETS.sub("", head))) != head:
        head = shorter
    if head.endswith("?") and not _is_title(head):
        return ""
    head = head.strip(" \t.,;:!?\"'")
    return head if len(head.split()) <= LONGEST else ""


def normal_name(name: str) -> str:
    """One spelling: lower case, no accents, articles in front, punctuation or brackets at the end; "&" is "and".

    >>> [normal_name(name) for name in ("The Lord of the Rings", "Incredibles, The", "Tom & Jerry!", "Pokémon (1999)")]
    ['lord of the rings', 'incredibles', 'tom and jerry', 'pokemon']
    """
    plain = unicodedata.normalize("NFKD", _BRACKETS.sub("", name) or name)
    plain = "".join(c for c in plain if not unicodedata.combining(c)).casefold().replace("&", " and ")
    plain = _TRAILING_ARTICLE.sub(r"\1", plain.strip())
    words = re.findall(r"\w+", re.sub(r"(?<=\w)['’](?=\w)", "", plain))
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("the", "a", "an") else words)


def _structured(text: str) -> list[str]:
    """A JSON or Python list of names, or of objects with one under "title", "name" or "item"."""
    found = re.search(r"\[\s*(?:[\"'{]).*\]", text, re.DOTALL)
    if not found:
        return []
    content: object = None
    for parse in (json.loads, ast.literal_eval):
        try:
            content = parse(found.group())
            break
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    entries = content if isinstance(content, list) else []
    return [name for name in map(_named, entries) if name]


def _named(entry: object) -> str:
    if isinstance(entry, dict):
        entry = next((entry[key] for key in ("title", "name", "item") if key in entry), "")
    return entry if isinstance(entry, str) else ""


def _table(text: str) -> list[str]:
    """The first cell of each row that is not a number, below the line that parts off the head."""
    rows = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    rule = next((k for k, row in enumerate(rows) if _TABLE_RULE.match(row)), None)
    if rule is None:
        return []
    cells = ([cell.strip() for cell in row.strip("|").split("|")] for row in rows[rule + 1 :])
    return [next((cell for cell in row if cell and not re.fullmatch(r"[#\d.]+", cell)), "") for row in cells]


def _marked_lines(text: str) -> list[str]:
    """Lines with a number before them; else with a bullet, a letter, or bold type; the least indented ones only."""
    lines = text.splitlines()
    for pattern in (_NUMBERED, _BULLET, _LETTERED, _BOLD_LINE):
        matches = [found for line in lines if (found := pattern.match(line))]
        least = min((len(found["indent"].expandtabs()) for found in matches), default=0)
        items = [found["item"] for found in matches if len(found["indent"].expandtabs()) == least]
        if len(items) > 1:
            return items
    return []


def _numbered_inline(text: str) -> list[str]:
    """ "1. Alien 2. Jaws": numbers that count up from 1 in running text."""
    marks: list[re.Match[str]] = []
    for found in _INLINE.finditer(text):
        if int(found["number"]) == len(marks) + 1:
            marks.append(found)
    ends = [*(following.start() for _, following in pairwise(marks)), len(text)][: len(marks)]
    return [text[mark.end() : end].split("\n")[0] for mark, end in zip(marks, ends, strict=True)]


def _quoted(text: str) -> list[str]:
    """Names between quotation marks, or in bold type, in running text."""
    for pattern in (_QUOTED, _EMPHASISED):
        items = [next(filter(None, found)) if isinstance(found, tuple) else found for found in pattern.findall(text)]
        if len(items) > 1 and all(len(item.split()) <= LONGEST for item in items):
            return items
    return []


def _bare_lines(text: str) -> list[str]:
    """One name per line, below a line that ends in a colon or by themselves; sentences before and after are left."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    heads = [k for k, line in enumerate(lines) if line.endswith(":")]
    lines = lines[heads[0] + 1 :] if heads else lines
    items = [line for line in lines if not line.endswith((":", "!", "?")) and not _is_sentence(line)]
    return items if len(items) > 2 and len(items) >= len(lines) - 2 else []


def _separated(text: str) -> list[str]:
    """Three or more names between commas or semicolons in one line, behind a colon or by themselves."""
    for line in text.splitlines():
        tail = line.rpartition(": ")[2] if ": " in line else line
        tail = re.split(r"(?<=[a-z)])[.!]\s+(?=[A-Z])", tail.strip())[0].rstrip(".!")
        mark = ";" if tail.count(";") > 1 else ","
        parts = [part.strip() for part in re.split(rf"{mark}\s+", tail)]
        if len(parts) < 2 or (len(parts) < 3 and " and " not in parts[-1]):
            continue
        *items, last = parts
        if re.match(r"(?:and|or)\s", last):
            items.append(re.sub(r"^(?:and|or)\s+", "", last))
        else:
            items += last.rsplit(" and ", 1) if mark == "," else [last]
        if len(items) > 2 and not any(map(_is_sentence, items)):
            return items
    return []


def _is_sentence(part: str) -> bool:
    words = re.findall(r"[\w']+", part.lower())
    name = re.findall(r"[\w']+", item_name(part).lower())
    title = _is_title(part)
    return not name or len(name) > LONGEST or (not title and bool(_SENTENCE_WORDS & set(words)))


def _is_title(text: str) -> bool:
    """Whether every word but small ones begins with a capital or a figure."""
    words = re.findall(r"[^\W_][\w'-]*", text)
    return bool(words) and all(word[0].isupper() or word[0].isdigit() or word in _SMALL for word in words)
