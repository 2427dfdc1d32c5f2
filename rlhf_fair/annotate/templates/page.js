// Number keys choose where one scale is asked, and the time is counted while the page is in the foreground.
// The page works without this file.
"use strict";
(() => {
  const keys = document.querySelector(".keys");
  const form = document.querySelector("main form");
  const visible = form && form.querySelector("input[name=visible_ms]");
  if (visible) {
    let total = Number(visible.value) || 0; // more than 0 where a form came back with something amiss
    let since = null;
    const count = () => {
      const now = performance.now();
      if (since !== null) total += now - since;
      since = document.visibilityState === "visible" ? now : null;
    };
    count();
    document.addEventListener("visibilitychange", count);
    addEventListener("pageshow", count);
    addEventListener("pagehide", () => { count(); since = null; });
    form.addEventListener("submit", () => { count(); visible.value = String(Math.round(total)); });
  }
  if (form) {
    form.addEventListener("submit", (event) => { // a second press sends nothing; the server would not mind it either
      if (form.dataset.sent) event.preventDefault();
      form.dataset.sent = "yes";
    });
    addEventListener("pageshow", () => { delete form.dataset.sent; });
  }
  if (!keys) return;
  const toggle = keys.querySelector("button");
  const name = "number-keys";
  const on = () => toggle.getAttribute("aria-pressed") === "true";
  const remembered = () => { try { return localStorage.getItem(name); } catch { return null; } };
  toggle.setAttribute("aria-pressed", String(remembered() !== "off"));
  toggle.addEventListener("click", () => {
    toggle.setAttribute("aria-pressed", String(!on()));
    try { localStorage.setItem(name, on() ? "on" : "off"); } catch { /* asked again on the next page */ }
  });
  keys.hidden = false;
  document.addEventListener("keydown", (event) => {
    if (!on() || event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (event.target.closest("textarea, select, input:not([type=radio])")) return;
    const choice = /^[1-9]$/.test(event.key) && form.querySelector(`input[type=radio][value="${event.key}"]`);
    if (!choice) return;
    choice.checked = true;
    choice.focus();
    event.preventDefault();
  });
})();
