"""Progress where nobody looks at a terminal."""

from __future__ import annotations

import pytest

from rlhf_fair.cli.progress import progress_bar


@pytest.mark.parametrize(("hidden", "lines"), [(False, ["reading: 2 of 2", "writing: 1 of 1"]), (True, [])])
def test_each_piece_of_work_has_a_line_when_it_is_done(
    capsys: pytest.CaptureFixture[str], hidden: bool, lines: list[str]
) -> None:
    with progress_bar(hidden=hidden) as show:
        for what, done, total in (("reading", 1, 2), ("reading", 2, 2), ("reading", 2, 2), ("writing", 1, 1)):
            show(what, done, total)
    assert capsys.readouterr().err.splitlines() == lines
