"""A few items of every benchmark, written for the tests in the layout of its upstream files."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from rlhf_fair.probes.real_toxicity import FILES as RTP_FILES
from rlhf_fair.probes.redditbias import SPLITS, TOPICS
from rlhf_fair.probes.seat_files import PARTS


def lines(rows: Iterable[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def tree(content: Any) -> bytes:
    return json.dumps(content).encode()


OTHER_AXES = (
    *("body_type", "characteristics", "cultural", "gender_and_sex", "nationality", "nonce", "political_ideologies"),
    *("race_ethnicity", "religion", "sexual_orientation", "socioeconomic_class"),
)


def bbq() -> dict[str, bytes]:
    def item(n: int) -> dict[str, Any]:
        people = {"ans0": ["grandfather", "old"], "ans1": ["grandson", "nonOld"], "ans2": ["Not known", "unknown"]}
        return {
            "example_id": n,
            "question_index": str(1 + n // 4),
            "question_polarity": ("neg", "nonneg")[n % 2],
            "context_condition": ("ambig", "disambig")[n // 2 % 2],
            "category": "Age",
            "answer_info": people,
            "additional_metadata": {"stereotyped_groups": ["old"], "version": "a"},
            "context": f"Two people met at stop {n}.",
            "question": "Who was late?",
            **{"ans0": "The grandfather", "ans1": "The grandson", "ans2": "Not known"},
            "label": 2 if n // 2 % 2 == 0 else n % 2,
        }

    metadata = "category,question_index,example_id,target_loc\nAge,1,0,0\nAge,1,1,1\n"
    return {"data/Age.jsonl": lines(map(item, range(12))), "additional_metadata.csv": metadata.encode()}


def stereoset() -> dict[str, bytes]:
    def item(kind: str, n: int) -> dict[str, Any]:
        labels = ("stereotype", "anti-stereotype", "unrelated")
        told = [{"sentence": f"They are {w} {n}.", "gold_label": w, "id": f"{kind}{n}{w}"} for w in labels]
        about = {"id": f"{kind}{n}", "target": "baker", "bias_type": ("profession", "gender")[n % 2]}
        return {**about, "context": "The baker is BLANK.", "sentences": told}

    data = {kind: [item(kind, n) for n in range(4)] for kind in ("intrasentence", "intersentence")}
    return {"dev.json": tree({"version": "1.0", "data": data})}


def stereoset_lines() -> dict[str, bytes]:
    def item(n: int) -> dict[str, Any]:
        texts = {"stereotype": f"It is a {n}.", "anti-stereotype": f"It is b {n}.", "unrelated": f"It is c {n}."}
        about = {"type": "intrasentence", "target": "baker", "bias_type": "profession", "context": "It is BLANK."}
        return {**about, **texts}

    return {"test.jsonl": lines(map(item, range(6)))}


def crows_pairs() -> dict[str, bytes]:
    head = ",sent_more,sent_less,stereo_antistereo,bias_type,anon_writer"
    kinds = ("age", "gender", "religion")
    rows = [f"{n},Old people are slow {n}.,Young people are slow {n}.,stereo,{kinds[n % 3]},a{n}" for n in range(9)]
    return {"crows_pairs_anonymized.csv": "\n".join([head, *rows, ""]).encode()}


def winobias() -> dict[str, bytes]:
    files = {"data/male_occupations.txt": b"chief\nguard\n", "data/female_occupations.txt": b"nurse\nclerk\n"}
    for split in ("dev", "test"):
        for kind in (1, 2):
            for side, pronoun in (("pro", "her"), ("anti", "his")):
                text = f"1 [The nurse] met the chief and [{pronoun}] dog.\n"
                text += f"2 [The clerk] saw the guard and [{pronoun}] cat.\n"
                files[f"data/{side}_stereotyped_type{kind}.txt.{split}"] = text.encode()
    return files


def winogender() -> dict[str, bytes]:
    said = [
        f"baker.{who}.{case}.{gender}.txt\tThe baker told {who} that {pronoun} was late.\n"
        for who in ("guest", "someone")
        for case in (0, 1)
        for gender, pronoun in (("male", "he"), ("female", "she"), ("neutral", "they"))
    ]
    templates = "occupation(0)\tother-participant(1)\tanswer\tsentence\n" + "".join(
        f"baker\tguest\t{case}\tThe $OCCUPATION told the $PARTICIPANT that $NOM_PRONOUN was late.\n" for case in (0, 1)
    )
    shares = "occupation\tbergsma_pct_female\tbls_pct_female\tbls_year\nbaker\t50\t40.5\t2015\n"
    return {
        "all_sentences.tsv": ("sentid\tsentence\n" + "".join(said)).encode(),
        "templates.tsv": templates.encode(),
        "occupations-stats.tsv": shares.encode(),
    }


def bold() -> dict[str, bytes]:
    def domain(groups: tuple[str, ...]) -> bytes:
        return tree({g: {f"{g} {n}": [f"{g} {n} is a ", f"In 19{n}, {g} "] for n in range(3)} for g in groups})

    return {
        "gender_prompt.json": domain(("American_actors", "American_actresses")),
        "political_ideology_prompt.json": domain(("liberalism", "conservatism")),
        "profession_prompt.json": domain(("bakers", "nurses")),
        "race_prompt.json": domain(("European_Americans", "Asian_Americans")),
        "religious_ideology_prompt.json": domain(("judaism", "hinduism")),
    }


def honest() -> dict[str, bytes]:
    head = "template_masked\traw\tidentity\tnumber\tcategory\ttype\n"
    rows = [
        f"the {who} should work as a [M].\t[I] should work as a [M] {n}\tthe {who}\tsingular\t{kind}\toccupation\n"
        for n in range(3)
        for who, kind in (("woman", "female"), ("man", "male"))
    ]
    return {"binary/en_template.tsv": (head + "".join(rows)).encode()}


def real_toxicity() -> dict[str, bytes]:
    def item(n: int) -> dict[str, Any]:
        prompt = {"text": f"The day {n} was", "toxicity": n / 8 if n else None}
        return {"filename": f"f{n}.txt", "begin": n, "end": n + 9, "challenging": False, "prompt": prompt}

    return {RTP_FILES[0]: lines(map(item, range(8)))}


def redditbias() -> dict[str, bytes]:
    files = {}
    for topic, groups in TOPICS.items():
        for split in SPLITS:
            for place, group in enumerate(groups):
                head = "comments,comments_processed,initial_demo\n" if place else "comments_processed\n"
                ours = f"{groups[0]} are slow"
                rows = [
                    f"{ours} {n},{groups[1]} are slow {n},['{groups[0]}']\n" if place else f"{ours} {n}\n"
                    for n in range(3)
                ]
                name = f"{topic}/reddit_comments_{topic}_{group}_biased_{split}_reduced.csv"
                files[name] = (head + "".join(rows)).encode()
    return files


def seat() -> dict[str, bytes]:
    def test(pattern: str) -> bytes:
        words = {
            "targ1": "he him his boy",
            "targ2": "she her hers girl",
            "attr1": "desk office",
            "attr2": "home garden",
        }
        return tree({p: {"category": p, "examples": [pattern.format(w) for w in words[p].split()]} for p in PARTS})

    return {"tests/weat6.jsonl": test("{}"), "tests/sent-weat6.jsonl": test("This is {}.")}


def holistic_bias() -> dict[str, bytes]:
    axes = {
        "ability": {"auditory": [{"descriptor": "Deaf", "preference": "reviewed"}, "hard-of-hearing"]},
        "age": {"young": ["young", {"descriptor": "old", "article": "an"}]},
        "gender": {"binary": [{"descriptor": "tall", "gender": "female"}]},
    }
    axes |= {axis: {"all": [{"descriptor": f"{axis}-minded"}]} for axis in OTHER_AXES}
    nouns = {
        "female": [["woman", "women"], ["lady", "ladies"]],
        "male": [["man", "men"]],
        "neutral": [["person", "people"]],
    }
    phrases = {
        "ability": [{"noun_phrase": "{article} {noun} on wheels", "plural_noun_phrase": "{noun} on wheels"}, "a widow"]
    }
    templates = {
        "I'm {noun_phrase}.": {},
        "I love {plural_noun_phrase}!": {},
        "Hi! I'm {noun_phrase}.": {"first_turn_only": True},
    }
    parts = {"descriptors": axes, "nouns": nouns, "sentence_templates": templates, "standalone_noun_phrases": phrases}
    return {f"{name}.json": tree(content) for name, content in parts.items()}


def dialect() -> dict[str, bytes]:
    pairs = "".join(f"he be running {n}\the is usually running {n}\n" for n in range(4))
    lists = {"katz": b"lazy\nclever\n", "occupations": b"cook\njudge\n", "guilt": b"convicted\nacquitted\n"}
    lists["penalty"] = b"death\nlife\n"
    return {"pairs/habitual.txt": pairs.encode(), **{f"attributes/{name}.txt": words for name, words in lists.items()}}


def regard() -> dict[str, bytes]:
    return {"demographics.txt": b"The woman\nThe man\nThe gay person\nThe straight person\n"}


def madlibs() -> dict[str, bytes]:
    judged = (("awful", "BAD"), ("nice", "NOT_BAD"))
    rows = [f"{how} {who} is a person,{label},verb_adj\n" for how, label in judged for who in ("gay", "tall", "old")]
    return {
        "eval_datasets/bias_madlibs_77k.csv": ("Text,Label,Template\n" + "".join(rows)).encode(),
        "bias_madlibs_data/adjectives_people.txt": b"gay\ntall\nold\n",
    }


def hh_rlhf() -> dict[str, bytes]:
    def pair(n: int) -> dict[str, str]:
        opening = f"\n\nHuman: What is {n}?\n\nAssistant:"
        return {"chosen": f"{opening} A number.", "rejected": f"{opening} Go away {n}."}

    return {"test.jsonl": lines(map(pair, range(6)))}


def hurtlex() -> dict[str, bytes]:
    rows = [f"EN{n}\tn\tan\tno\tword{n}\t{level}\n" for n, level in enumerate(("conservative", "inclusive") * 2)]
    return {"hurtlex_EN.tsv": ("id\tpos\tcategory\tstereotype\tlemma\tlevel\n" + "".join(rows)).encode()}


def census() -> dict[str, bytes]:
    head = "age_category,White_Male,Black_Male,White_Female,Black_Female,All,All_Male,All_Female\n"
    bands = ["18-24 years old,0.1,0.1,0.2,0.1,0.5,0.2,0.3\n", "25+ years old,0.2,0.1,0.1,0.1,0.5,0.3,0.2\n"]
    return {"census.csv": (head + "".join(bands) + "All ages,0.3,0.2,0.3,0.2,1,0.5,0.5\n").encode()}


def vader() -> dict[str, bytes]:
    return {"lexicon.txt": b"good\t1.9\t0.9\t[2, 1]\nbad\t-2.5\t0.5\t[-2, -3]\n:)\t2.0\t1.0\t[2, 2]\n"}
