"""Two audits of one plan, item by item: every number in both, and its change with a paired interval.

Nothing is read off the two reports. The numbers are measured again from the records of the items that both audits
measured, and once more without each group of clusters, the same in A and B: see `rlhf_fair.stats.grouped_jackknife`.
So what an item adds to both audits cancels, as it does in a paired test, whatever the number is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from rlhf_fair.audit.compare_changes import changes_of
from rlhf_fair.audit.compare_folder import check_comparable, read_audit
from rlhf_fair.audit.compare_items import match
from rlhf_fair.audit.compare_kinds import kind_of
from rlhf_fair.audit.compare_numbers import leave_outs_of, numbers_of
from rlhf_fair.changes import AuditDiff
from rlhf_fair.stats.grouped_jackknife import GROUPS

Heard = Callable[[str, int, int], None]

LIMITS = (
    "The comparison holds for the items that both audits measured; an item that one of them left without an answer is "
    "counted and not compared.",
    "A number rests on the items that both audits could measure it on (n), so it may differ from the one in either "
    "report, which rests on all that its own model's answers allow.",
    "Both models saw the same items, so the intervals are those of other items of the same kind, not of other runs of "
    "the same model: a model that is sampled answers otherwise the next time.",
)


def compare_audits(a: Path, b: Path, *, n_groups: int = GROUPS, seed: int = 0, heard: Heard | None = None) -> AuditDiff:
    """The difference between two audit folders, B less A.

    ``n_groups``, ``seed``: of the groups of clusters that are left out. Refuses folders that do not match their
    manifest (`IntegrityError`), and audits whose plans or data differ (`SettingsError`).
    """
    first, second = read_audit(a), read_audit(b)
    check_comparable(first, second)
    kind = kind_of(first.plan)
    first, second = (replace(one, records=kind.prepared(one.records)) for one in (first, second))
    matched = match(first, second, kind)
    numbers = numbers_of(matched, kind)
    tell = None if heard is None else lambda done, total: heard("intervals", done, total)
    leave_outs = leave_outs_of(matched, kind, numbers, n_groups=n_groups, seed=seed, heard=tell)
    audit = first.results.audit
    return AuditDiff(
        title=str(audit.get("title", "")),
        question=str(audit.get("question", "")),
        probe=first.probe,
        a=first.account(kind.problems(first.records)),
        b=second.account(kind.problems(second.records)),
        alpha=kind.policy.alpha,
        clusters=kind.clusters,
        n_groups=n_groups,
        seed=seed,
        items=matched.counts,
        changes=changes_of(numbers, leave_outs, kind.policy),
        only_a=numbers.only_a,
        only_b=numbers.only_b,
        limits=LIMITS,
    )
