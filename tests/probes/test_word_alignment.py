from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rlhf_fair.models.word_spans import words_of
from rlhf_fair.probes.word_alignment import Alignment, Exchange, align

TEXT = st.lists(st.sampled_from(["a", "the", "man", "woman", "old", ".", "said"]), max_size=12).map(" ".join)


def aligned(a: str, b: str) -> Alignment:
    return align(words_of(a), words_of(b))


def test_exchanged_added_and_shared_words() -> None:
    # a: an(0) Asian(1) man(2) and(3) his(4) dog(5); b: a(0) man(1) and(2) her(3) dog(4)
    assert aligned("an Asian man and his dog", "a man and her dog") == Alignment(
        shared=((2, 1), (3, 2), (5, 4)), exchanges=(Exchange((0, 1), (0,)), Exchange((4,), (3,)))
    )


@given(TEXT, TEXT)
def test_every_word_has_one_place_and_shared_words_are_equal(a: str, b: str) -> None:
    found, in_a, in_b = aligned(a, b), words_of(a), words_of(b)
    places_a = [i for i, _ in found.shared] + [i for exchange in found.exchanges for i in exchange.a]
    places_b = [j for _, j in found.shared] + [j for exchange in found.exchanges for j in exchange.b]
    assert sorted(places_a) == list(range(len(in_a)))
    assert sorted(places_b) == list(range(len(in_b)))
    assert all(in_a[i].text == in_b[j].text for i, j in found.shared)


@given(TEXT, TEXT)
def test_the_other_way_round_is_the_mirror_image(a: str, b: str) -> None:
    there, back = aligned(a, b), aligned(b, a)
    assert [(j, i) for i, j in back.shared] == list(there.shared)
    assert [Exchange(exchange.b, exchange.a) for exchange in back.exchanges] == list(there.exchanges)


@given(TEXT)
def test_equal_texts_exchange_nothing(text: str) -> None:
    assert aligned(text, text).exchanges == ()
