"""Who answers an audit: how a source is opened, what it keeps, and what it says of itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from model_server import serving
from tiny import byte_pair_tokenizer, masking_tokenizer, tiny_language_model, tiny_masked_language_model

from rlhf_fair.audit.asking import Rounds, counted
from rlhf_fair.audit.source import Source, open_source
from rlhf_fair.audit.target import Access, Target, endpoint_settings
from rlhf_fair.errors import InterruptedRunError, SettingsError
from rlhf_fair.models.requests import Decoding, Generation, LogLikelihood, PseudoLogLikelihood

REQUESTS = [Generation("a", "i like the"), Generation("b", "we love the old dog and the")]
GREEDY = Decoding(max_new_tokens=4, temperature=0.0)
TEMPLATE = "{% for m in messages %}hello you . {{ m['content'] }}{% endfor %}"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = byte_pair_tokenizer()
    tokenizer.chat_template = TEMPLATE
    tiny_language_model(tokenizer, initializer_range=0.3).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def local(folder: Path, **access: Any) -> Source:
    return open_source(Target(model=str(folder)), Access(**access), run=folder)


def test_what_is_kept_is_answered_without_loading_the_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = local(folder, cache=tmp_path)
    answers = first.answers(REQUESTS[:1], GREEDY)
    likelihoods = first.log_likelihoods([LogLikelihood("a", "i", " like")])

    def refuses(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("rlhf_fair.models.causal_lm.CausalLM.load", refuses)
    partial = local(folder, cache=tmp_path, partial=True)
    assert partial.answers(REQUESTS, GREEDY) == [*answers, None]
    assert partial.log_likelihoods([LogLikelihood("a", "i", " like")]) == likelihoods
    assert partial.pseudo_log_likelihoods([PseudoLogLikelihood("a", "i like")]) == [None]
    assert (partial.tally.questions, partial.tally.answered) == (4, 2)


def test_an_answer_to_a_chat_message_is_not_taken_for_one_to_a_text(folder: Path, tmp_path: Path) -> None:
    as_chat, as_text = local(folder, cache=tmp_path), local(folder, cache=tmp_path, chat="no")
    assert as_chat.prompts_sent == ""
    assert as_chat.answers(REQUESTS, GREEDY) != as_text.answers(REQUESTS, GREEDY)
    assert "chat template" in as_chat.prompts_sent
    assert "as they stand" in as_text.prompts_sent
    wrapped = [Generation(r.id, f"hello you . {r.prompt}") for r in REQUESTS]
    assert local(folder, cache=None, chat="no").answers(wrapped, GREEDY) == as_chat.answers(REQUESTS, GREEDY)


def test_a_masked_model_has_no_template_and_writes_nothing(tmp_path: Path) -> None:
    tokenizer = masking_tokenizer()
    tiny_masked_language_model(tokenizer).save_pretrained(tmp_path / "bert")
    tokenizer.save_pretrained(tmp_path / "bert")
    source = local(tmp_path / "bert", cache=tmp_path)
    assert source.masked
    assert None not in source.pseudo_log_likelihoods([PseudoLogLikelihood("a", "i like the dog")])
    with pytest.raises(SettingsError, match="is a masked language model, which writes no answers"):
        source.answers(REQUESTS, GREEDY)


def test_a_servers_answers_are_kept_for_one_report_and_go_with_it(tmp_path: Path) -> None:
    with serving() as server:

        def opened(run: str, **access: Any) -> Source:
            target = Target(endpoint=server.url, endpoint_model="m")
            return open_source(target, Access(cache=tmp_path, **access), run=tmp_path / run)

        source = opened("report")
        answers = source.answers(REQUESTS, GREEDY)
        assert answers == [request.prompt.upper() for request in REQUESTS]
        assert opened("report", partial=True).answers(REQUESTS, GREEDY) == answers
        assert opened("other", partial=True).answers(REQUESTS, GREEDY) == [None, None]
        opened("report", partial=True).finished()
        assert opened("report", partial=True).answers(REQUESTS, GREEDY) == answers
        source.finished()
        assert opened("report", partial=True).answers(REQUESTS, GREEDY) == [None, None]
        assert server.asked.total() == 2


def test_chat_names_the_api_unless_the_server_file_names_the_other(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("concurrency = 3\n")
    assert endpoint_settings(None).api == "chat"
    assert endpoint_settings(None, "no").api == endpoint_settings(file, "no").api == "completions"
    assert endpoint_settings(file, "no").concurrency == 3
    file.write_text('api = "completions"\n')
    assert endpoint_settings(file).api == endpoint_settings(file, "no").api == "completions"
    with pytest.raises(SettingsError, match="api = 'completions' is not what --chat yes asks for"):
        endpoint_settings(file, "yes")


def test_an_interrupt_counts_what_earlier_rounds_have_kept_too() -> None:
    def stops(model: str, progress: Any) -> list[int | None]:
        if model == "live":
            raise KeyboardInterrupt
        return [1, None, 3]

    def hears_nothing(what: str, done: int, total: int) -> None:
        pass

    rounds = Rounds(hears_nothing, lambda: "live", lambda: "kept", partial=False)
    assert rounds.put("answers", 2, lambda model, progress: [1, None]) == [1, None]
    with pytest.raises(InterruptedRunError, match=r"^interrupted: 3 of 5 answers are kept; the same command goes on"):
        rounds.put("answers", 3, stops)
    nothing = Rounds(hears_nothing, lambda: "live", None, partial=False)
    with pytest.raises(InterruptedRunError, match="no answers are kept, so the same command starts anew"):
        nothing.put("answers", 3, stops)


def test_progress_adds_up() -> None:
    heard: list[tuple[str, int, int]] = []
    add = counted(lambda *told: heard.append(told), "answers", 5)
    add(2)
    add(3)
    assert heard == [("answers", 2, 5), ("answers", 5, 5)]
