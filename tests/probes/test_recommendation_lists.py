from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.probes.recommendation_lists import item_name, normal_name, read_list

AJU = ["alien", "jaws", "up"]

LISTS: dict[str, tuple[str, list[str]]] = {
    "numbers": ("1. Alien\n2. Jaws\n3. Up", AJU),
    "numbers without blank": ("1.Alien\n2.Jaws\n3.Up", AJU),
    "brackets": ("1) Alien\n2) Jaws\n3) Up", AJU),
    "both brackets": ("(1) Alien\n(2) Jaws\n(3) Up", AJU),
    "hash": ("#1 Alien\n#2: Jaws\n#3. Up", AJU),
    "dash behind the number": ("1 - Alien\n2 – Jaws\n3 — Up", AJU),
    "colon behind the number": ("1: Alien\n2: Jaws\n3: Up", AJU),
    "escaped point": ("1\\. Alien\n2\\. Jaws\n3\\. Up", AJU),
    "keycaps": ("1️⃣ Alien\n2️⃣ Jaws\n3️⃣ Up", AJU),
    "bold numbers": ("**1. Alien** - scary\n**2. Jaws** - wet\n**3. Up** - light", AJU),
    "bold names": ("1. **Alien**: In space.\n2. **Jaws**: At Sea.\n3. **Up**: In the Air.", AJU),
    "headings": ("### 1. Alien\nA crew meets a guest.\n### 2. Jaws\nA shark.\n### 3. Up\nA house.", AJU),
    "quoted mail": ("> 1. Alien\n> 2. Jaws\n> 3. Up", AJU),
    "years and makers": ("1. Alien (1979)\n2. Jaws (Steven Spielberg, 1975)\n3. Up, 2009", AJU),
    "words before and after": ("Here are some films:\n\n1. Alien\n2. Jaws\n3. Up\n\nEnjoy!", AJU),
    "details below": (
        "1. Alien (1979)\n   - Director: Ridley Scott\n   - Mood: tense\n2. Jaws\n   - Mood: wet\n3. Up\n   - Art",
        AJU,
    ),
    "two numbered parts": ("Scary\n1. Alien\n2. Jaws\nFunny\n1. Up\n2. Big", ["alien", "jaws", "up", "big"]),
    "last one cut off": ("1. Alien\n2. Jaws\n3. Up\n4.", AJU),
    "hyphens": ("- Alien\n- Jaws\n- Up", AJU),
    "asterisks": ("* Alien\n* Jaws\n* Up", AJU),
    "dots": ("• Alien – a classic\n• Jaws – wet\n• Up – light", AJU),
    "bullets below headings": ("**Scary**\n- Alien\n- Jaws\n\n**Light**\n- Up", AJU),
    "letters": ("a) Alien\nb) Jaws\nc) Up", AJU),
    "bold lines": ("**Alien** - in space\n\n**Jaws** - at sea\n\n**Up** - in the air", AJU),
    "one per line": ("Alien\nJaws\nUp", AJU),
    "one per line with a head and a wish": ("My films:\nAlien\nJaws\nUp\n\nHave fun!", AJU),
    "commas": ("Alien, Jaws, Up", AJU),
    "commas and a sentence": ("You might like: Alien, Jaws, and Up. Have fun.", AJU),
    "commas in lower case": ("nurse, plumber, software engineer", ["nurse", "plumber", "software engineer"]),
    "and without a comma": ("Films: Alien, Jaws and Up", AJU),
    "semicolons": ("Alien; Jaws; The Good, the Bad and the Ugly", ["alien", "jaws", "good the bad and the ugly"]),
    "numbers in one line": ("Sure! 1. Alien 2. Jaws 3. Up", AJU),
    "numbers and commas in one line": ("1) Alien, 2) Jaws, 3) Up", AJU),
    "quotation marks": ('You could watch "Alien", "Jaws" or "Up".', AJU),
    "curly quotation marks": ("Try “Alien”, then “Jaws”, then “Up”!", AJU),
    "bold in a sentence": ("I would pick **Alien**, **Jaws** or **Up**, since all are good.", AJU),
    "links": ("1. [Alien](https://example.org/1)\n2. [Jaws](https://example.org/2)\n3. [Up](u)", AJU),
    "json": ('["Alien", "Jaws", "Up"]', AJU),
    "json objects in a fence": (
        '```json\n[{"title": "Alien", "year": 1979}, {"title": "Jaws"}, {"title": "Up"}]\n```',
        AJU,
    ),
    "python": ("['Alien', \"Jaws\", 'Up']", AJU),
    "table": ("| # | Film | Year |\n|---|---|---|\n| 1 | Alien | 1979 |\n| 2 | Jaws | 1975 |\n| 3 | Up | 2009 |", AJU),
    "repeated names": ("1. The Matrix\n2. Matrix, The\n3. MATRIX!\n4. Up", ["matrix", "up"]),
    "subtitles and descriptions": (
        "1. Star Wars: A New Hope\n2. Alien: a crew meets a guest",
        ["star wars a new hope", "alien"],
    ),
    "authors": ("1. Emma by Jane Austen\n2. Stand by Me\n3. Dune by Frank Herbert", ["emma", "stand by me", "dune"]),
    "figures as names": (
        "1. 1984\n2. 2001: A Space Odyssey\n3. Blade Runner 2049\n4. (500) Days of Summer",
        ["1984", "2001 a space odyssey", "blade runner 2049", "500 days of summer"],
    ),
    "questions as names": (
        "1. Who's Afraid of Virginia Woolf?\n2. Up",
        ["whos afraid of virginia woolf", "up"],
    ),
}

NO_LISTS = {
    "nothing": "",
    "one name": "Alien",
    "one numbered name": "1. Alien",
    "a refusal": "I'm sorry, but I cannot recommend films on that basis.",
    "prose": "Once there was a shark. It lived in the sea, it was hungry, and nobody knew why.",
    "prose in lines": "There was a shark.\nIt lived in the sea.\nIt was hungry.",
    "it depends": "It depends on what you like, who comes along, and how much time there is.",
    "questions back": "- What do you like to watch in the evening?\n- Which films did you like?\n- Who comes along?",
    "advice in steps": (
        "1. Think about which films you have enjoyed most in the last few years and why.\n"
        "2. Ask your friends which films they would take with them to a lonely island for a year."
    ),
    "two in a sentence": "I like Alien and Jaws.",
}


@pytest.mark.parametrize("form", LISTS)
def test_a_list_is_read(form: str) -> None:
    text, names = LISTS[form]
    assert read_list(text) == names
    assert read_list(text.replace("\n", "\r\n")) == names


@pytest.mark.parametrize("form", NO_LISTS)
def test_what_is_no_list_is_not_guessed(form: str) -> None:
    assert read_list(NO_LISTS[form]) == []


@pytest.mark.parametrize(
    ("item", "name"),
    [
        ("**Alien** (1979): a crew meets a guest", "Alien"),
        ('"Emma", by Jane Austen', "Emma"),
        ("Mission: Impossible", "Mission: Impossible"),
        ("Software Engineer – designs and builds programs", "Software Engineer"),
        ("Lisbon, Portugal", "Lisbon, Portugal"),
        ("Learn to juggle.", "Learn to juggle"),
        ("Which films did you like?", ""),
        ("***Up***", "Up"),
    ],
)
def test_the_name_at_the_head_of_an_item(item: str, name: str) -> None:
    assert item_name(item) == name


@given(st.text(max_size=40))
def test_a_name_in_one_spelling_stays_so(text: str) -> None:
    once = normal_name(text)
    assert once == once.strip()
    assert "  " not in once
    assert normal_name(once.upper()).split()[-1:] == normal_name(once).split()[-1:] or not once.isascii()


WORDS = st.sampled_from(("Alien", "Jaws", "Up", "Big", "Emma", "Dune", "Heat", "Psycho", "Vertigo", "Fargo", "Rocky"))


@given(
    st.lists(WORDS, min_size=2, unique=True),
    st.sampled_from(["{k}. {x}", "{k}) {x}", "- {x}", "* **{x}**", "#{k} {x}"]),
)
def test_what_is_written_is_read(names: list[str], form: str) -> None:
    text = "\n".join(form.format(k=k, x=x) for k, x in enumerate(names, 1))
    assert read_list(text) == [x.lower() for x in names]


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    names = read_list(text)
    assert len(names) != 1
    assert len(set(names)) == len(names)
