"""Readers of the benchmarks' upstream files."""

from __future__ import annotations

from pathlib import Path

from fuzz import upstream_files as made
from fuzz.reader import Reader
from rlhf_fair.models.vader import VaderScorer
from rlhf_fair.probes.bbq import load_bbq
from rlhf_fair.probes.bold import load_bold
from rlhf_fair.probes.crows_pairs import load_crows_pairs
from rlhf_fair.probes.dialect import load_attributes, load_dialect
from rlhf_fair.probes.holistic_bias import load_holistic_bias
from rlhf_fair.probes.honest import load_honest, load_hurtlex
from rlhf_fair.probes.real_toxicity import load_real_toxicity
from rlhf_fair.probes.recommendation import load_categories, load_recommendation
from rlhf_fair.probes.redditbias import load_redditbias
from rlhf_fair.probes.regard import load_regard
from rlhf_fair.probes.reward_terms import load_madlibs
from rlhf_fair.probes.seat_files import load_seat
from rlhf_fair.probes.stereoset import load_stereoset
from rlhf_fair.probes.winobias import load_winobias
from rlhf_fair.probes.winogender import load_winogender
from rlhf_fair.training.reward.panel import read_census

AUDITS = Path(__file__).parents[2] / "audits"


def _topics() -> dict[str, bytes]:
    return {
        name: (AUDITS / "recommendation" / name).read_bytes() for name in ("topics.csv", "people.csv", "categories.csv")
    }


def _dialect(folder: Path) -> object:
    return load_dialect(folder), load_attributes(folder, "katz")


def _recommendation(folder: Path) -> object:
    return load_recommendation(folder), load_categories(folder)


READERS = (
    Reader("bbq", made.bbq, load_bbq, rows="data/Age.jsonl", called=("additional_metadata.csv",)),
    Reader("stereoset", made.stereoset, load_stereoset),
    Reader("stereoset, one item a line", made.stereoset_lines, load_stereoset, rows="test.jsonl"),
    Reader("crows-pairs", made.crows_pairs, load_crows_pairs, rows="crows_pairs_anonymized.csv"),
    Reader(
        "winobias", made.winobias, load_winobias, ("data/male_occupations.txt", "data/pro_stereotyped_type1.txt.dev")
    ),
    Reader("winogender", made.winogender, load_winogender, rows="all_sentences.tsv"),
    Reader("bold", made.bold, load_bold, ("gender_prompt.json",)),
    Reader("honest", made.honest, lambda folder: load_honest(folder, "binary"), rows="binary/en_template.tsv"),
    Reader("real-toxicity", made.real_toxicity, load_real_toxicity, rows="prompts.jsonl"),
    Reader(
        "redditbias",
        made.redditbias,
        load_redditbias,
        tuple(name for name in made.redditbias() if name.startswith("gender/") and "valid" in name),
    ),
    Reader("seat", made.seat, load_seat),
    Reader("holistic-bias", made.holistic_bias, load_holistic_bias),
    Reader("dialect", made.dialect, _dialect, ("pairs/habitual.txt", "attributes/katz.txt")),
    Reader("regard", made.regard, load_regard),
    Reader("recommendation", _topics, _recommendation),
    Reader("bias-madlibs", made.madlibs, lambda folder: load_madlibs(folder, names=5, seed=0)),
    Reader("hurtlex", made.hurtlex, lambda folder: load_hurtlex(folder / "hurtlex_EN.tsv")),
    Reader("census margins", made.census, lambda folder: read_census(folder / "census.csv", ["age", "race", "gender"])),
    Reader(
        "vader lexicon", made.vader, lambda folder: VaderScorer.from_lexicon(folder / "lexicon.txt").score(["good bad"])
    ),
)
