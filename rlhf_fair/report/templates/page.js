"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const byId = (id) => document.getElementById(id);
  const figures = JSON.parse(byId("figures-data").textContent);
  const config = { displayModeBar: false, responsive: true, doubleClick: false, showTips: false };

  // Colours in figures are names of CSS variables; the scheme in force gives them values.
  const coloured = (value, css) => {
    if (typeof value === "string" && value.startsWith("var(--")) return css.getPropertyValue(value.slice(4, -1)).trim();
    if (Array.isArray(value)) return value.map((item) => coloured(item, css));
    if (value && typeof value === "object")
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, coloured(item, css)]));
    return value;
  };

  const unpack = async (id) => {
    const bytes = Uint8Array.from(atob(byId(id).textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  };

  const draw = () => {
    const css = getComputedStyle(root);
    for (const [id, figure] of Object.entries(figures)) {
      const { data, layout } = coloured(figure, css);
      if (innerWidth < 560) layout.yaxis.tickfont.size = layout.xaxis.tickfont.size = 11;
      Plotly.react(byId(id), data, layout, config);
    }
    root.dataset.plots = Object.keys(figures).length;
  };

  const start = async () => {
    if (!byId("plotly-data")) return;
    const script = document.createElement("script");
    script.textContent = await unpack("plotly-data");
    document.head.append(script);
    draw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
    addEventListener("beforeprint", () => { root.classList.add("printing"); draw(); });
    addEventListener("afterprint", () => { root.classList.remove("printing"); draw(); });
  };

  // Long tables: a filter and pages. Without scripts all rows are there.
  const PAGE = 50;
  const enhance = (details) => {
    const body = details.querySelector("tbody");
    const rows = Array.from(body.rows);
    if (rows.length <= PAGE) return;
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const bar = document.createElement("div");
    bar.className = "bar";
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = "Filter rows";
    input.setAttribute("aria-label", "Filter rows");
    const status = document.createElement("span");
    status.setAttribute("role", "status");
    const button = (text) => {
      const element = document.createElement("button");
      element.type = "button";
      element.textContent = text;
      return element;
    };
    const back = button("Previous"), next = button("Next");
    bar.append(input, status, back, next);
    details.querySelector(".scroll").before(bar);
    let page = 0;
    const show = () => {
      const wanted = input.value.toLowerCase().split(" ").filter(Boolean);
      const kept = rows.filter((_, i) => wanted.every((word) => texts[i].includes(word)));
      const pages = Math.max(1, Math.ceil(kept.length / PAGE));
      page = Math.min(page, pages - 1);
      const visible = new Set(kept.slice(page * PAGE, (page + 1) * PAGE));
      rows.forEach((row) => row.classList.toggle("off", !visible.has(row)));
      status.textContent = `${kept.length} rows, page ${page + 1} of ${pages}`;
      back.disabled = page === 0;
      next.disabled = page === pages - 1;
    };
    input.addEventListener("input", () => { page = 0; show(); });
    back.addEventListener("click", () => { page -= 1; show(); });
    next.addEventListener("click", () => { page += 1; show(); });
    show();
  };

  document.querySelectorAll("details.paged").forEach(enhance);
  // Without a working script or unpacker the tables stand alone, as they do with scripts off.
  start().catch((error) => { root.classList.remove("js"); console.error("charts not drawn:", error); });
})();
