from __future__ import annotations

import asyncio
import gc
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from model_server import Reply, echo_upper, in_words, prompt_of, says, serving
from served_model import echoes_of
from tiny import tiny_language_model, tiny_tokenizer

from rlhf_fair.errors import EndpointError, SettingsError
from rlhf_fair.models.cache import Cached, ResponseCache
from rlhf_fair.models.causal_lm import CausalLM
from rlhf_fair.models.endpoint import Endpoint
from rlhf_fair.models.endpoint_settings import KEY_VARIABLE, EndpointSettings
from rlhf_fair.models.requests import Decoding, Generates, Generation, Likelihood, LogLikelihood, ScoresContinuations

GREEDY = Decoding(temperature=0.0)


@pytest.fixture(autouse=True)
def _no_key_and_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (KEY_VARIABLE, "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def items(n: int) -> list[Generation]:
    return [Generation(f"item-{i}", f"prompt {i}") for i in range(n)]


def capitals(n: int) -> list[str | None]:
    return [f"PROMPT {i}" for i in range(n)]


def test_it_is_a_model_to_every_probe() -> None:
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m")
    writes: Generates = endpoint  # what the type checker holds
    scores: ScoresContinuations = endpoint
    assert writes.answers([], GREEDY) == []
    assert Endpoint("http://127.0.0.1:1/v1", "m", EndpointSettings(api="completions")).log_likelihoods([]) == []
    assert scores is endpoint


def test_answers_come_in_the_order_of_the_requests_whatever_the_order_of_replies() -> None:
    waits = random.Random(3)

    def dawdles(request: dict[str, Any], path: str) -> Reply:
        time.sleep(waits.uniform(0, 0.03))
        return echo_upper(request, path)

    with serving(dawdles) as server:
        assert Endpoint(server.url, "m").answers(items(60), GREEDY) == capitals(60)


@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_no_more_requests_are_under_way_than_allowed_and_as_many_as_allowed_are(concurrency: int) -> None:
    def slow(request: dict[str, Any], path: str) -> Reply:
        time.sleep(0.05)
        return echo_upper(request, path)

    with serving(slow) as server:
        Endpoint(server.url, "m", EndpointSettings(concurrency=concurrency)).answers(items(3 * concurrency), GREEDY)
        assert server.most_at_once == concurrency


def test_what_is_sent_as_a_chat() -> None:
    settings = EndpointSettings(system="Be brief.", body={"top_p": 0.9})
    with serving() as server:
        Endpoint(server.url, "some/model", settings).answers(
            [Generation("a", "Who?")], Decoding(max_new_tokens=7, temperature=0.0, seed=11)
        )
        assert server.requests == [
            {
                "model": "some/model",
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Who?"}],
                "max_tokens": 7,
                "temperature": 0.0,
                "seed": 11,
                "top_p": 0.9,
            }
        ]
        assert "authorization" not in server.headers[0]
        assert server.headers[0]["accept-encoding"] == "identity"


def test_what_is_sent_as_a_completion_and_what_can_be_left_out() -> None:
    settings = EndpointSettings(api="completions", body={"seed": None, "max_tokens": None, "max_completion_tokens": 9})
    with serving() as server:
        assert Endpoint(server.url, "m", settings).answers([Generation("a", "Who?")], GREEDY) == ["WHO?"]
        assert server.requests == [{"model": "m", "prompt": "Who?", "temperature": 0.0, "max_completion_tokens": 9}]


def test_a_sample_has_a_seed_of_its_own_that_depends_on_its_id_and_the_run_alone() -> None:
    def seeds(requests: list[Generation], seed: int) -> dict[str, int]:
        with serving(lambda request, path: in_words(str(request["seed"]), path)) as server:
            answers = Endpoint(server.url, "m").answers(requests, Decoding(temperature=1.0, seed=seed))
        return {request.id: int(answer or "") for request, answer in zip(requests, answers, strict=True)}

    same_prompt = [Generation(f"item-{i}", "prompt") for i in range(50)]
    first = seeds(same_prompt, 1)
    assert seeds(same_prompt[::-1], 1) == first
    assert len(set(first.values())) == 50
    assert all(0 <= seed < 2**31 for seed in first.values())
    assert not set(first.values()) & set(seeds(same_prompt, 2).values())


@pytest.mark.parametrize(("temperature", "asked"), [(0.0, 1), (1.0, 4)])
def test_equal_questions_are_asked_once_and_samples_each_for_themselves(temperature: float, asked: int) -> None:
    requests = [Generation(f"item-{i}", "prompt") for i in range(4)]
    told: list[int] = []
    for body in ({}, {"seed": None}):
        with serving() as server:
            endpoint = Endpoint(server.url, "m", EndpointSettings(body=body))
            answers = endpoint.answers(requests, Decoding(temperature=temperature), progress=told.append)
        assert answers == ["PROMPT"] * 4
        assert sum(server.asked.values()) == asked
    assert sum(told) == 2 * 4


def test_a_second_call_asks_only_what_is_new_and_progress_counts_every_request() -> None:
    with serving() as server:
        endpoint = Endpoint(server.url, "m")
        endpoint.answers(items(5), GREEDY)
        told: list[int] = []
        assert endpoint.answers(items(8), GREEDY, progress=told.append) == capitals(8)
        assert told == [5, 1, 1, 1]
        assert sum(server.asked.values()) == 8


def test_it_answers_through_the_cache_that_all_models_share(tmp_path: Path) -> None:
    requests, cache = items(10), ResponseCache(tmp_path / "cache.sqlite")
    with serving(lambda r, path: says({}, 400) if prompt_of(r) == "prompt 3" else echo_upper(r, path)) as server:
        endpoint = Endpoint(server.url, "m", journal=tmp_path / "journal.jsonl")
        answers = Cached(endpoint, cache, f"{server.url} m", batch_size=2).answers(requests, GREEDY)
        assert answers == [None if i == 3 else f"PROMPT {i}" for i in range(10)]
        assert endpoint.failures == {"item-3": "status 400"}  # of all batches, not of the last
        Cached(Endpoint(server.url, "m"), cache, f"{server.url} m").answers(requests[:3], GREEDY)
        assert server.asked.total() == 10


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"max_new_tokens": 3}, {"seed": 9}])
def test_another_decoding_is_another_question(change: dict[str, Any]) -> None:
    with serving() as server:
        endpoint = Endpoint(server.url, "m")
        endpoint.answers(items(2), GREEDY)
        endpoint.answers(items(2), Decoding(**({"temperature": 0.0} | change)))
        assert sum(server.asked.values()) == 4


def test_it_works_where_an_event_loop_is_running() -> None:
    async def notebook(url: str) -> list[str | None]:
        return Endpoint(url, "m").answers(items(10), GREEDY)

    with serving() as server:
        assert asyncio.run(notebook(server.url)) == capitals(10)
    with serving(lambda request, path: says({}, status=404)) as server, pytest.raises(EndpointError, match="404"):
        asyncio.run(notebook(server.url))


def test_an_interrupt_in_a_notebook_closes_all_and_keeps_what_was_answered(caplog: pytest.LogCaptureFixture) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    def slow(request: dict[str, Any], path: str) -> Reply:
        time.sleep(0.02)
        return echo_upper(request, path)

    told: list[int] = []

    def tell(answered: int) -> None:  # runs beside the main thread, which waits
        told.append(answered)
        if len(told) == 10:
            signal.pthread_kill(main_thread, signal.SIGINT)

    async def notebook(endpoint: Endpoint) -> list[str | None]:
        return endpoint.answers(items(200), GREEDY, progress=tell)

    before, threads = signal.signal(signal.SIGINT, interrupt), threading.active_count()
    main_thread = threading.get_ident()
    try:
        with serving(slow) as server:
            endpoint = Endpoint(server.url, "m")
            with pytest.raises(KeyboardInterrupt):
                asyncio.run(notebook(endpoint))
            assert 10 <= server.asked.total() < 200
            assert asyncio.run(notebook(endpoint)) == capitals(200)
            assert server.asked.total() <= 200 + endpoint.settings.concurrency
    finally:
        signal.signal(signal.SIGINT, before)
    gc.collect()  # a task that was not waited for says so when it goes
    assert not caplog.records
    assert threading.active_count() <= threads


def test_the_key_is_sent_and_shown_nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret\n")
    with serving() as server:
        endpoint = Endpoint(
            server.url, "m", EndpointSettings(key_variable="MY_KEY"), journal=tmp_path / "journal.jsonl"
        )
        endpoint.answers(items(2), GREEDY)
        assert server.headers[0]["authorization"] == "Bearer sk-very-secret"
    assert "secret" not in (tmp_path / "journal.jsonl").read_text()
    assert "secret" not in repr(vars(endpoint))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


@pytest.fixture(scope="module")
def language_model(tokenizer: Any) -> Any:
    return tiny_language_model(tokenizer, initializer_range=0.3).eval()


SCORED = [
    LogLikelihood("one", "i like the", " good dog"),
    LogLikelihood("other", "i like the", " bad cat"),
    LogLikelihood("longer", "what do you think about the kind man ?", " we love the old dog and the story ."),
    LogLikelihood("nothing", "i like the", ""),
]


def test_log_likelihoods_equal_the_loss_of_the_model_itself(language_model: Any, tokenizer: Any) -> None:
    settings = EndpointSettings(api="completions")
    told: list[int] = []
    with serving(echoes_of(language_model, tokenizer)) as server:
        found = Endpoint(server.url, "m", settings).log_likelihoods(SCORED, progress=told.append)
    assert sum(told) == 4
    for request, likelihood in zip(SCORED[:3], found, strict=False):
        context = tokenizer(request.context, return_tensors="pt")["input_ids"]
        ids = tokenizer(request.context + request.continuation, return_tensors="pt")["input_ids"]
        labels = ids.clone()
        labels[0, : context.shape[1]] = -100
        n_tokens = ids.shape[1] - context.shape[1]
        loss = language_model(input_ids=ids, labels=labels).loss.item()  # transformers' own mean cross-entropy
        assert likelihood is not None
        assert likelihood.n_tokens == n_tokens
        assert likelihood.total == pytest.approx(-loss * n_tokens, rel=1e-5)
    assert found[3] == Likelihood(0.0, 0)
    for here, served in zip(CausalLM(language_model, tokenizer).log_likelihoods(SCORED), found, strict=True):
        assert here is not None
        assert served == Likelihood(pytest.approx(here.total, rel=1e-5, abs=0), here.n_tokens)


def test_the_same_text_cut_elsewhere_is_another_question(language_model: Any, tokenizer: Any) -> None:
    """Chain rule: ln P(b c | a) = ln P(b | a) + ln P(c | a b), and the first of these is not the last."""
    requests = [LogLikelihood("1", "i", " like the dog"), LogLikelihood("2", "i like", " the dog")]
    requests.append(LogLikelihood("3", "i", " like"))
    with serving(echoes_of(language_model, tokenizer)) as server:
        endpoint = Endpoint(server.url, "m", EndpointSettings(api="completions"))
        whole, rest, first = (answer.total for answer in endpoint.log_likelihoods(requests) if answer is not None)
    assert whole == pytest.approx(first + rest, rel=1e-5)
    assert whole != rest


def test_an_empty_context_is_never_guessed_and_start_stands_for_it(language_model: Any, tokenizer: Any) -> None:
    requests = [LogLikelihood("a", "", "good dog")]
    with serving(echoes_of(language_model, tokenizer)) as server:
        endpoint = Endpoint(server.url, "m", EndpointSettings(api="completions"))
        assert endpoint.log_likelihoods(requests) == [None]
        assert "first token" in endpoint.failures["a"]
        started = Endpoint(server.url, "m", EndpointSettings(api="completions", start="[BOS] "))
        found = started.log_likelihoods(requests)[0]
        here = CausalLM(language_model, tokenizer).log_likelihoods(requests)[0]
        assert here is not None
        assert found == Likelihood(pytest.approx(here.total, rel=1e-5), 2)
        assert server.requests[-1]["prompt"] == "[BOS] good dog"


def test_a_server_that_cannot_score_given_text_is_said_to_be_one() -> None:
    only_generated = {"tokens": ["x"], "token_logprobs": [-0.1]}
    replies: list[tuple[Reply, str]] = [
        (says({"choices": [{"text": "x", "logprobs": None}]}), "cannot score given text"),
        (says({"choices": [{"text": "x", "logprobs": {"content": []}}]}), "cannot score given text"),
        (says({"choices": [{"text": "x", "logprobs": only_generated}]}), "ignores echo"),
        (says({"error": {"message": "Only no echo is supported"}}, status=400), "Only no echo is supported"),
    ]
    for reply, why in replies:
        with serving(lambda request, path, reply=reply: reply) as server, pytest.raises(EndpointError, match=why):
            Endpoint(server.url, "m", EndpointSettings(api="completions")).log_likelihoods(SCORED)


def test_a_chat_cannot_score_given_text() -> None:
    with pytest.raises(SettingsError, match="api = 'completions'"):
        Endpoint("http://127.0.0.1:1/v1", "m").log_likelihoods(SCORED)


def test_prompt_of_reads_both_kinds() -> None:
    assert prompt_of({"prompt": "a"}) == prompt_of({"messages": [{"content": "a"}]}) == "a"
