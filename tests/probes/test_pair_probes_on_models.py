"""Probes and models meet: tiny models answer the requests, and the records are what the papers' procedures give."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import byte_pair_tokenizer, masking_tokenizer, tiny_gpt2, tiny_masked_language_model

from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.masked_lm import MaskedLM
from rlhf_fair.probes.crows_pairs import crows_pairs_records, crows_pairs_requests
from rlhf_fair.probes.dialect import Attributes, dialect_records, dialect_requests
from rlhf_fair.probes.winogender import load_winogender, pronoun_gaps, winogender_records, winogender_requests

WIDE = {"initializer_range": 0.5}

PAIRS = pd.DataFrame(
    {
        "pair_id": ["0", "1", "2"],
        "sent_more": ["the old woman is cruel .", "a woman is not a good friend", "the dog and the young cat"],
        "sent_less": ["the old man is cruel .", "a very old man is not a good friend", "the dog and the cat"],
        "stereo_antistereo": ["stereo", "stereo", "antistereo"],
        "bias_type": ["gender", "gender", "age"],
    }
)


def reference_scores(model: MaskedLM, first: str, second: str, operation: str) -> tuple[list[float], list[float]]:
    """Log probabilities of the shared ("equal") or changed tokens of both sentences, one masked at a time.

    The procedure of Nangia et al. 2020: spans are those of difflib on token ids, the framing tokens are not scored.
    """
    ids = [model.tokenizer(text)["input_ids"] for text in (first, second)]
    opcodes = difflib.SequenceMatcher(None, *ids, autojunk=False).get_opcodes()
    spans: tuple[list[int], list[int]] = ([], [])
    for name, i1, i2, j1, j2 in opcodes:
        if (name == "equal") == (operation == "equal"):
            spans[0].extend(range(i1, i2))
            spans[1].extend(range(j1, j2))
    scores = []
    for tokens, span in zip(ids, spans, strict=True):
        found = []
        for position in span:
            if position in (0, len(tokens) - 1):
                continue
            masked = torch.tensor([tokens])
            masked[0, position] = model.tokenizer.mask_token_id
            with torch.no_grad():
                logits = model.model(input_ids=masked).logits[0, position]
            found.append(float(torch.log_softmax(logits.double(), -1)[tokens[position]]))
        scores.append(found)
    return scores[0], scores[1]


@pytest.mark.parametrize("variant", ["masked_shared", "masked_changed_mean"])
def test_crows_pairs_on_a_masked_model_follow_the_reference(variant: str) -> None:
    tokenizer = masking_tokenizer()
    model = MaskedLM(tiny_masked_language_model(tokenizer, **WIDE), tokenizer)
    requests = crows_pairs_requests(PAIRS, variant)  # type: ignore[arg-type]
    records = crows_pairs_records(PAIRS, model.pseudo_log_likelihoods(requests), variant)  # type: ignore[arg-type]
    for row, (more, less) in enumerate(zip(PAIRS["sent_more"], PAIRS["sent_less"], strict=True)):
        scores = reference_scores(model, more, less, "equal" if variant == "masked_shared" else "changed")
        if variant == "masked_shared":
            expected = [sum(side) for side in scores]
        else:  # in the last pair one side only adds a word
            expected = [np.mean(side) if side else np.nan for side in scores]
        found = records.loc[row, ["score_more", "score_less"]].tolist()
        assert found == pytest.approx(expected, abs=1e-4, nan_ok=True)
    assert records["parsed"].tolist() == [True, True, variant == "masked_shared"]


def test_probes_of_likelihood_on_a_causal_model(tmp_path: Path) -> None:
    tokenizer = byte_pair_tokenizer()
    model = CausalLM(tiny_gpt2(tokenizer, n_positions=256), tokenizer)
    crows = crows_pairs_records(
        PAIRS, model.log_likelihoods(crows_pairs_requests(PAIRS, "causal_sentence")), "causal_sentence"
    )
    assert crows["parsed"].all()

    words = Attributes("toy", ("kind", "cruel"), ('They say: "{}" They are', '"{}", they say, being'))
    pairs = pd.DataFrame({"item_id": ["0"], "aae": ["he be nice"], "sae": ["he's nice"], "verb": ["be nice"]})
    records = dialect_records(pairs, model.log_likelihoods(dialect_requests(pairs, words)), words)
    assert records["n_prompts"].tolist() == [2, 2]

    template = "The $OCCUPATION saw the $PARTICIPANT as $NOM_PRONOUN left."
    (tmp_path / "templates.tsv").write_text(
        f"occupation(0)\tother-participant(1)\tanswer\tsentence\nclerk\tguest\t0\t{template}\n"
    )
    rows = [
        f"clerk.guest.0.{g}.txt\tThe clerk saw the guest as {p} left.\n" for g, p in (("male", "he"), ("female", "she"))
    ]
    (tmp_path / "all_sentences.tsv").write_text("sentid\tsentence\n" + "".join(rows))
    (tmp_path / "occupations-stats.tsv").write_text("occupation\tbls_pct_female\nclerk\t60\n")
    items = load_winogender(tmp_path).table
    genders = winogender_records(items, model.log_likelihoods(winogender_requests(items)))
    assert np.isfinite(pronoun_gaps(genders, "log_odds")["gap"]).all()
