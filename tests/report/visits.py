"""One page open in a browser, and what it did: requests beyond itself, console messages, errors, time it took."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

WATCH = """
window.violations = []; window.hits = []; window.dialogs = 0;
document.addEventListener("securitypolicyviolation", (event) => violations.push(event.violatedDirective));
window.pwned = (number) => hits.push(number);
"""


class Visit:
    """One open page."""

    def __init__(self, browser: Any, path: Path, *, width: int = 1280, height: int = 900, **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height}, **options)
        self.page = self.context.new_page()
        self.noise: list[str] = []
        self.page.on("console", lambda message: self.noise.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.noise.append(f"error: {error}"))
        self.page.on("request", lambda request: self._request(request.url, path.as_uri()))
        self.page.on("dialog", self._dialog)
        if options.get("java_script_enabled", True):
            self.page.add_init_script(WATCH)
        self.page.goto(path.as_uri())

    def _request(self, url: str, own: str) -> None:
        if url != own and not url.startswith("data:"):
            self.noise.append(f"request: {url}")

    def _dialog(self, dialog: Any) -> None:
        self.noise.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def drawn(self) -> int:
        """How many plots are drawn, once they are and the tables are listed."""
        self.until("document.documentElement.dataset.tables")
        return int(self.until("document.documentElement.dataset.plots"))

    def until(self, expression: str) -> Any:
        """The first truthy value of an expression; asked from outside, since a busy page may owe us its frames."""
        for _ in range(600):
            if value := self.page.evaluate(expression):
                return value
            time.sleep(0.1)
        raise AssertionError(f"never true: {expression}")

    def open_details(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")

    def sideways(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
