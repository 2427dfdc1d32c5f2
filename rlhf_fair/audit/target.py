"""What an audit looks at (a model, a server, a file, …), and how it is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from rlhf_fair.errors import SettingsError
from rlhf_fair.models.chat_template import Chat
from rlhf_fair.models.endpoint_settings import API, EndpointSettings, Patience
from rlhf_fair.models.loading import Precision
from rlhf_fair.settings import Settings, read_toml

CACHE_VARIABLE = "RLHF_FAIR_CACHE"


def default_cache() -> Path:
    """``$RLHF_FAIR_CACHE``, else a folder of the user's own for what can be made again."""
    if named := os.environ.get(CACHE_VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rlhf-fair"


@dataclass(frozen=True)
class Access:
    """How a model or server is opened.

    ``device``: "cpu", "cuda" or "auto"; ``device_map`` spreads a model over several instead. ``server`` is a TOML file,
    see `ServerFile`. ``cache``: the folder in which answers are kept until, or in case, they are asked for again; None
    keeps none. ``partial``: nobody is asked, the report is of the answers that are kept so far. ``chat``: whether a
    prompt that asks for words is sent as a chat message; "auto" does with a local model that has a chat template, and
    with a server what its file says.
    """

    device: str = "cpu"
    precision: Precision = "float32"
    device_map: str | None = None
    server: Path | None = None
    cache: Path | None = field(default_factory=default_cache)
    partial: bool = False
    chat: Chat = "auto"


@dataclass(frozen=True)
class Target:
    """What is audited: one of these. ``endpoint`` is a URL and ``endpoint_model`` the model's name there."""

    model: str | None = None
    reward_model: str | None = None
    endpoint: str | None = None
    predictions: Path | None = None
    feedback: Path | None = None
    endpoint_model: str = ""

    @property
    def given(self) -> list[str]:
        """The options that say what is audited."""
        options = ("model", "reward_model", "endpoint", "predictions", "feedback")
        return ["--" + name.replace("_", "-") for name in options if getattr(self, name) is not None]

    def require(self, *allowed: str, plan: str | Path, optional: bool = False) -> None:
        """Exactly one of the ``allowed`` options (or none, if ``optional``) and no other; else one error."""
        if bool(self.endpoint_model) != (self.endpoint is not None):
            raise SettingsError("give --endpoint URL and --endpoint-model NAME together")
        if not self.given and optional:
            return
        if len(self.given) != 1 or self.given[0] not in allowed:
            found = " and ".join(self.given) or "none"
            one = allowed[0] if len(allowed) == 1 else f"exactly one of {', '.join(allowed[:-1])} and {allowed[-1]}"
            raise SettingsError(f"plan {plan}: give {one}; found {found}")


class ServerFile(Settings):
    """A server's particulars, in a TOML file: see `EndpointSettings` and `Patience`. The key is never one of them."""

    api: API = "chat"
    key_variable: str = ""
    system: str = ""
    start: str = ""
    concurrency: int = Field(8, ge=1)
    attempts: int = Field(6, ge=1)
    timeout_s: float = Field(120.0, gt=0, allow_inf_nan=False)
    first_wait_s: float = Field(1.0, gt=0, allow_inf_nan=False)
    longest_wait_s: float = Field(60.0, gt=0, allow_inf_nan=False)
    body: Mapping[str, Any] = Field(default_factory=dict)


def endpoint_settings(file: Path | None, chat: Chat = "auto") -> EndpointSettings:
    """What ``file`` says; without one the defaults: chat, the key from ``$RLHF_FAIR_ENDPOINT_KEY`` if that is set.

    ``chat`` yes or no names the API, unless the file names the other one.
    """
    said = ServerFile() if file is None else read_toml(file, ServerFile, "server file")
    if chat != "auto":
        wanted: API = "chat" if chat == "yes" else "completions"
        if "api" in said.model_fields_set and said.api != wanted:
            raise SettingsError(f"server file {file}: api = {said.api!r} is not what --chat {chat} asks for")
        said = said.model_copy(update={"api": wanted})
    patience = {name: getattr(said, name) for name in ("attempts", "timeout_s", "first_wait_s", "longest_wait_s")}
    try:
        return EndpointSettings(
            api=said.api,
            key_variable=said.key_variable,
            system=said.system,
            start=said.start,
            concurrency=said.concurrency,
            patience=Patience(**patience),
            body=said.body,
        )
    except SettingsError as error:
        raise SettingsError(f"server file {file}: {error}" if file else str(error)) from error
