from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from bag_of_words import bag_of_words
from tiny import byte_pair_tokenizer, masking_tokenizer, tiny_bert, tiny_llama

from rlhf_fair.errors import ColumnError, RowError, SettingsError
from rlhf_fair.models.reward_model import RewardModel
from rlhf_fair.probes.word_attribution import WordAttributions, flip_attributions
from rlhf_fair.probes.word_attribution_pairs import BETWEEN, DIFFERENCE, EXCHANGED, SHARED
from rlhf_fair.probes.word_attribution_tables import rank_correlation

pytest.importorskip("captum.attr", reason="the extra 'explain' is not installed", exc_type=ImportError)


def pairs_of(*texts: tuple[str, str], kind: str = "gender") -> pd.DataFrame:
    rows = [(f"{kind}-{k:03d}", a, b, f"template-{k}", kind) for k, (a, b) in enumerate(texts)]
    return pd.DataFrame(rows, columns=["id", "text_a", "text_b", "cluster", "kind"])


def attributed(model: RewardModel, pairs: pd.DataFrame, **options: Any) -> WordAttributions:
    return flip_attributions(model, pairs, **({"scale": 1.0, "rng": np.random.default_rng(0)} | options))


def row(table: pd.DataFrame, **key: str) -> Any:
    found = table[np.logical_and.reduce([table[name] == value for name, value in key.items()])]
    assert len(found) == 1
    return found.iloc[0]


def encoder() -> RewardModel:
    tokenizer = masking_tokenizer()
    model = tiny_bert(vocab_size=len(tokenizer), initializer_range=0.3, pad_token_id=tokenizer.pad_token_id)
    return RewardModel(model, tokenizer, device="cpu")


def decoder_of_pieces() -> RewardModel:
    """A decoder that reads words in pieces, which merge across borders."""
    tokenizer = byte_pair_tokenizer(opens_texts=True, merges=40)
    model = tiny_llama(vocab_size=len(tokenizer), initializer_range=0.3, pad_token_id=tokenizer.pad_token_id)
    return RewardModel(model, tokenizer, device="cpu")


def test_a_gap_of_prices_lies_in_the_exchanged_words_alone() -> None:
    # woman costs .5, man nothing, "kind" and "day" are priced and shared: gap -.5 in both pairs, in SDs of 2: -.25
    model = bag_of_words({"woman": (-0.5, 0, 0), "man": (0, 0, 0), "kind": (2, 0, 0), "day": (1, 0, 0)})
    found = attributed(model, pairs_of(("kind woman", "kind man"), ("woman day", "man day")), scale=2.0)
    assert found.pairs[["gap", "exchanged", "shared", "n_tokens", "between"]].to_numpy() == pytest.approx(
        np.array([[-0.25, -0.25, 0, 0, -0.25]] * 2)
    )
    exchange = row(found.words, method=BETWEEN)
    assert (exchange["word"], exchange["role"], exchange["side"]) == ("man → woman", EXCHANGED, "both")
    assert (exchange["contribution"], exchange["n_pairs"]) == (pytest.approx(-0.25), 2)
    woman = row(found.words, method=DIFFERENCE, word="woman")
    assert (woman["contribution"], woman["occlusion"], woman["side"]) == (
        pytest.approx(-0.25),
        pytest.approx(-0.25),
        "a",
    )
    assert row(found.words, method=DIFFERENCE, word="kind")["contribution"] == pytest.approx(0, abs=1e-7)


def test_a_word_that_is_paid_in_company_alone_is_context() -> None:
    # r = left * right: "x y" earns 3 * 2 = 6, "z y" 0. Against nothing, x and y get 3 each; y alone gets 0.
    # So of the gap of 6 the exchanged word carries 3 and the shared one 3. Left out, each costs all 6.
    model = bag_of_words({"x": (0, 3, 0), "y": (0, 0, 2), "z": (0, 0, 0)})
    found = attributed(model, pairs_of(("x y", "z y")))
    x, y = (row(found.words, method=DIFFERENCE, word=word) for word in "xy")
    assert (x["role"], x["contribution"], x["occlusion"]) == (EXCHANGED, pytest.approx(3), pytest.approx(6))
    assert (y["role"], y["contribution"], y["occlusion"]) == (SHARED, pytest.approx(3), pytest.approx(6))
    assert row(found.words, method=BETWEEN)["contribution"] == pytest.approx(6)  # the exchange is all there is


def test_words_alone_differ_from_their_number() -> None:
    # every neutral token earns .1; "kind" adds a token, so .1 of its price of .7 is paid for any word in its place
    model = bag_of_words({"[PAD]": (0.1, 0, 0), "kind": (0.7, 0, 0), "man": (0.2, 0, 0)})
    found = attributed(model, pairs_of(("kind man", "man")))
    summary = found.pairs.iloc[0]
    assert summary[["gap", "exchanged", "shared", "n_tokens"]].tolist() == pytest.approx([0.7, 0.6, 0, 0.1], abs=1e-6)
    assert math.isnan(summary["between"])  # no path leads from one token to two
    assert not (found.words["method"] == BETWEEN).any()


@pytest.mark.parametrize("build", [encoder, decoder_of_pieces])
def test_parts_add_up_to_the_gap_of_the_rewards(build: Any) -> None:
    model = build()
    pairs = pairs_of(
        ("the woman is kind", "the man is kind"),
        ("she was a very cruel friend", "the old man was a friend"),
        ("hello , what a day !", "hi !"),
    )
    found = attributed(model, pairs)
    gaps = model.score(pairs["text_a"].tolist()) - model.score(pairs["text_b"].tolist())
    assert found.pairs["gap"].to_numpy() == pytest.approx(gaps, abs=1e-5)
    parts = found.pairs[["exchanged", "shared", "n_tokens", "residue"]]
    assert parts.sum(axis=1).to_numpy() == pytest.approx(gaps, abs=1e-5)
    assert found.completeness.n_within == found.completeness.n
    assert parts["residue"].abs().max() <= 2 * 0.02
    summed = found.contributions[found.contributions["method"] == DIFFERENCE].groupby("id")["contribution"].sum()
    assert summed.to_numpy() == pytest.approx(gaps - parts["n_tokens"] - parts["residue"], abs=1e-6)


def test_equal_texts_have_nothing_to_carry() -> None:
    found = attributed(
        encoder(), pairs_of(("a kind man", "a kind man"), ("hate", "hate"), ("we like you", "we like you"))
    )
    assert (found.contributions[["contribution", "occlusion"]] == 0).to_numpy().all()
    assert (found.pairs[["gap", "exchanged", "shared", "n_tokens"]] == 0).to_numpy().all()
    assert found.words["share"].isna().all()
    assert (found.words["reason"] != "").all()


def test_without_the_paths_between_texts_all_else_is_the_same() -> None:
    pairs = pairs_of(("the woman is kind", "the man is kind"), ("a cruel woman", "a cruel man"))
    whole, less = attributed(encoder(), pairs), attributed(encoder(), pairs, between=False)
    assert (whole.words["method"] == BETWEEN).any()
    assert less.pairs["between"].isna().all()
    pd.testing.assert_frame_equal(less.pairs.drop(columns="between"), whole.pairs.drop(columns="between"))
    for name in ("words", "parts", "contributions"):
        kept = getattr(whole, name)
        kept = kept[kept["method"] == DIFFERENCE].reset_index(drop=True)
        pd.testing.assert_frame_equal(getattr(less, name), kept, check_dtype=False)
    pd.testing.assert_frame_equal(less.tokens, whole.tokens)


def test_the_other_way_round_all_signs_turn() -> None:
    texts = [("the woman is kind", "the old man is kind"), ("a cruel woman", "a cruel man")]
    there = attributed(encoder(), pairs_of(*texts)).pairs
    back = attributed(encoder(), pairs_of(*[(b, a) for a, b in texts])).pairs
    columns = ["gap", "exchanged", "shared", "n_tokens"]
    assert there[columns].to_numpy() == pytest.approx(-back[columns].to_numpy(), abs=1e-6)


def test_the_order_of_the_pairs_does_not_matter() -> None:
    pairs = pairs_of(
        *[
            (f"the {a} {n} is kind", f"the {b} {n} is kind")
            for a, b in (("old", "young"), ("red", "blue"))
            for n in ("woman", "man", "dog", "cat")
        ]
    )
    one = attributed(encoder(), pairs, limit=6)
    other = attributed(encoder(), pairs.sample(frac=1, random_state=1), limit=6)
    numbers = one.words.select_dtypes("number").columns
    assert one.words[["word", "n_pairs"]].equals(other.words[["word", "n_pairs"]])
    assert one.words[numbers].to_numpy() == pytest.approx(other.words[numbers].to_numpy(), abs=1e-5, nan_ok=True)


def test_a_planted_word_is_found_and_gets_the_whole_gap() -> None:
    """In a model that is otherwise at random, "woman" is read otherwise than "man", and "dog" is read as "cat"."""
    model = encoder()
    pairs = pairs_of(
        *[(f"the {w} woman and the dog", f"the {w} man and the cat") for w in ("old", "young", "kind", "red")]
    )
    with torch.no_grad():
        table = model.model.get_input_embeddings().weight
        dog, cat, woman, man = model.tokenizer.convert_tokens_to_ids(["dog", "cat", "woman", "man"])
        table[dog], table[woman] = table[cat], table[man]
    without = attributed(model, pairs)
    assert (without.pairs["gap"] == 0).all()
    with torch.no_grad():
        table[woman] += 0.5 * torch.randn(table.shape[1], generator=torch.Generator().manual_seed(1))
    found = attributed(model, pairs)
    gaps = model.score(pairs["text_a"].tolist()) - model.score(pairs["text_b"].tolist())
    between = found.words[found.words["method"] == BETWEEN].set_index("word")["contribution"]
    assert between["man → woman"] == pytest.approx(gaps.mean(), abs=0.02)
    assert between["cat → dog"] == 0


def test_two_exchanges_in_one_pair_are_told_apart() -> None:
    # she costs .1, a nurse .4; the larger share comes first
    planted = {"she": (-0.1, 0, 0), "he": (0, 0, 0), "nurse": (-0.4, 0, 0), "pilot": (0, 0, 0), "red": (1, 0, 0)}
    found = attributed(
        bag_of_words(planted), pairs_of(("she red nurse", "he red pilot"), ("red she red nurse", "red he red pilot"))
    )
    table = found.words[found.words["method"] == BETWEEN].set_index("word")
    assert list(table.index) == ["pilot → nurse", "he → she"]
    assert table["contribution"].tolist() == pytest.approx([-0.4, -0.1])
    assert table["reason"].str.startswith("no variation between clusters").all()


def test_shares_and_intervals_of_a_gap_that_varies() -> None:
    # r = price + left * right: she is paid -.2 and -1 for each unit of the noun's right: 0, .1, .2, ... .7
    rights = [k / 10 for k in range(8)]
    nouns = dict(zip(["day", "story", "cat", "dog", "friend", "hello", "red", "hi"], rights, strict=True))
    model = bag_of_words(
        {noun: (0, 0, right) for noun, right in nouns.items()} | {"she": (-0.2, -1, 0), "he": (0, 0, 0)}
    )
    found = attributed(model, pairs_of(*[(f"she {noun}", f"he {noun}") for noun in nouns]))
    exchange = row(found.words, method=BETWEEN)
    gaps = np.array([-0.2 - right for right in rights])
    # the t interval of eight independent gaps: mean -.55, SD .2449, t(7) = 2.3646
    half = 2.3646 * gaps.std(ddof=1) / math.sqrt(8)
    assert exchange[["contribution", "ci_low", "ci_high"]].tolist() == pytest.approx(
        [-0.55, -0.55 - half, -0.55 + half], abs=1e-4
    )
    assert exchange["share"] == pytest.approx(1)
    # half of each product is the exchanged word's: -.2 - .175 of -.55; the nouns have the other half, -.175
    parts = found.parts[found.parts["method"] == DIFFERENCE].set_index("part")
    assert parts.loc[[EXCHANGED, SHARED], "share"].tolist() == pytest.approx([0.375 / 0.55, 0.175 / 0.55], abs=1e-5)
    shared = found.words[found.words["role"] == SHARED]
    assert shared["share"].sum() == pytest.approx(0.175 / 0.55, abs=1e-5)
    # a word of one pair has no p-value and is no test; "he" earns the same everywhere: "she" alone is tested
    assert shared["p_value"].isna().all()
    she = row(found.words, method=DIFFERENCE, word="she")
    assert she["p_adjusted"] == she["p_value"] < 0.001


def test_every_pair_is_accounted_for() -> None:
    model = encoder()
    model.max_length = 8
    pairs = pd.concat(
        [
            pairs_of(("a woman", "a man"), ("", "a man"), ("i am a very very kind woman .", "a man")),
            pairs_of(*[(f"{w} dog", f"{w} cat") for w in ("old", "young", "kind", "red")], kind="control"),
        ]
    )
    done: list[int] = []
    found = attributed(model, pairs, on_progress=done.append)
    assert len(found.pairs) + found.n_left_out == len(pairs) == sum(done)
    reasons = found.left_out.set_index("id")["reason"].to_dict()
    assert reasons == {
        "gender-001": "a text has no words",
        "gender-002": "a text is longer than the model reads",
    }
    few = attributed(model, pairs, limit=4)
    assert len(few.pairs) + few.n_left_out == len(pairs)
    assert few.left_out["reason"].str.startswith("not drawn").sum() == 3
    none = attributed(model, pairs[:0])
    assert (len(none.words), none.reason) == (0, "no pairs were given")
    assert math.isnan(none.completeness.largest)
    unusable = attributed(model, pairs_of(("", "a")))
    assert unusable.reason == "no pair could be attributed: a text has no words"


def test_kinds_are_drawn_evenly() -> None:
    words = ("old", "young", "kind", "red", "blue", "green")
    many = pairs_of(*[(f"{w} woman", f"{w} man") for w in words])
    rare = pairs_of(("red dog", "red cat"), ("old dog", "old cat"), kind="control")
    found = attributed(encoder(), pd.concat([many, rare]), limit=4)
    assert found.pairs["kind"].value_counts().to_dict() == {"gender": 2, "control": 2}


def test_a_number_that_is_not_finite_is_missing() -> None:
    model = bag_of_words({"woman": (math.nan, 0, 0), "man": (1, 0, 0), "dog": (2, 0, 0)})
    found = attributed(model, pairs_of(("woman", "man"), ("dog", "man")))
    assert found.left_out["reason"].tolist() == ["the model gives no finite reward"]
    assert len(found.pairs) == 1


def test_a_word_on_which_both_ways_disagree_is_flagged() -> None:
    # r(x y) = -2 + 3 * 1 = 1 and r(z y) = 0. The path gives each of x and y half of the product, so x gets -2 + 1.5;
    # leaving x out loses all of the 1.
    model = bag_of_words({"x": (-2, 3, 0), "y": (0, 0, 1), "z": (0, 0, 0)})
    x = row(attributed(model, pairs_of(("x y", "z y"))).words, method=DIFFERENCE, word="x")
    assert (x["contribution"], x["occlusion"]) == pytest.approx((-0.5, 1))
    assert x["reason"].startswith("leaving the word out points the other way")


def test_agreement_with_leaving_out_is_perfect_for_a_sum() -> None:
    prices = {word: (float(price), 0, 0) for price, word in enumerate(["day", "story", "cat", "dog", "hi", "red"])}
    model = bag_of_words(prices | {"she": (-9, 0, 0), "he": (-2, 0, 0)})
    found = attributed(model, pairs_of(("she day cat dog", "he day cat dog"), ("she hi red story", "he hi red story")))
    assert found.occlusion_agreement.texts.estimate == pytest.approx(1)


def test_rank_correlation_by_hand() -> None:
    # ranks 1 2 3 4 against 1 3 2 4: 1 - 6 * (0 + 1 + 1 + 0) / (4 * 15) = .8
    assert rank_correlation(np.array([0.1, 0.2, 0.3, 9]), np.array([1.0, 3, 2, 4])) == pytest.approx(0.8)
    assert math.isnan(rank_correlation(np.array([1.0, 2]), np.array([1.0, 2])))
    assert math.isnan(rank_correlation(np.ones(4), np.arange(4.0)))


def test_faults_are_named() -> None:
    model, pairs = encoder(), pairs_of(("a woman", "a man"), ("a cat", "a dog"))
    with pytest.raises(SettingsError, match="scale is 0"):
        attributed(model, pairs, scale=0)
    with pytest.raises(SettingsError, match="limit is 0"):
        attributed(model, pairs, limit=0)
    with pytest.raises(ColumnError, match="'cluster'"):
        attributed(model, pairs.drop(columns="cluster"))
    with pytest.raises(RowError, match="row 2 has no text_b"):
        attributed(model, pairs.assign(text_b=["a man", None]))
    with pytest.raises(RowError, match="'x' occurs more than once"):
        attributed(model, pairs.assign(id="x"))
