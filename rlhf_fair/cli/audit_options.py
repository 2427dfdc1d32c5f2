"""The options of `rlhf-fair audit`, one type each: what is audited, how it is asked, and what is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

ONE: Any = {"rich_help_panel": "What is audited (one of these)"}
HOW: Any = {"rich_help_panel": "How a model or server is asked"}

PlanName = Annotated[str, typer.Argument(metavar="PLAN", help="Folder with a plan.toml, the file, or a shipped audit.")]
DataDir = Annotated[str, typer.Option(help="Folder with the public data the plan names, or hub:OWNER/NAME.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the report; default reports/PLAN.")]
UntilDecisive = Annotated[
    bool, typer.Option("--until-decisive", help="Ask in random order and stop once every claim is decided.")
]
Partial = Annotated[
    bool, typer.Option("--partial", help="Ask nothing more: report from the answers that are kept so far.")
]
MinimumCell = Annotated[
    int | None,
    typer.Option("--minimum-cell", min=1, help="Fewest raters or applicants of a group whose numbers are shown."),
]

Model = Annotated[str | None, typer.Option(help="Language model or encoder: directory or hub id.", **ONE)]
Endpoint = Annotated[str | None, typer.Option(metavar="URL", help="Server, OpenAI protocol, up to /v1.", **ONE)]
EndpointModel = Annotated[str, typer.Option(metavar="NAME", help="The model's name at the endpoint.", **ONE)]
RewardModel = Annotated[str | None, typer.Option(help="Reward model: directory or hub id.", **ONE)]
Predictions = Annotated[Path | None, typer.Option(help="File of answers, instead of a model.", **ONE)]
Feedback = Annotated[Path | None, typer.Option(help="Table of ratings by people with known groups.", **ONE)]

Device = Annotated[str, typer.Option(help="cpu, cuda, or auto: the GPU if there is one.", **HOW)]
Precision = Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="Of the model's weights.", **HOW)]
DeviceMap = Annotated[str | None, typer.Option(help="Spread over devices: auto, balanced, …", **HOW)]
Chat = Annotated[
    Literal["auto", "yes", "no"],
    typer.Option(help="Send prompts as chat messages; auto: if the model has a template.", **HOW),
]
Server = Annotated[Path | None, typer.Option(help="TOML file: the endpoint's api, concurrency, …", **HOW)]
Cache = Annotated[Path | None, typer.Option(help="Folder for kept answers; default: the user's cache.", **HOW)]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Keep no answers outside the report.", **HOW)]
