// Number keys choose where one scale is asked. The page works without this file.
"use strict";
(() => {
  const keys = document.querySelector(".keys");
  const form = document.querySelector("main form");
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
