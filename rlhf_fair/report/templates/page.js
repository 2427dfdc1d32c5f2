"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const byId = (id) => document.getElementById(id);
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

  const draw = (figures) => {
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
    const figures = JSON.parse(await unpack("figures-data"));
    const script = document.createElement("script");
    script.textContent = await unpack("plotly-data");
    document.head.append(script);
    const redraw = () => draw(figures);
    redraw();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    addEventListener("beforeprint", redraw);
    addEventListener("afterprint", redraw);
  };

  // A table's rows: how many, the text to filter by, and a way to put some of them before the reader.
  const writtenRows = (details) => {
    const rows = Array.from(details.querySelector("tbody").rows);
    const put = (kept) => {
      const visible = new Set(kept);
      rows.forEach((row, at) => row.classList.toggle("off", !visible.has(at)));
    };
    return { texts: rows.map((row) => row.textContent.toLowerCase()), put };
  };

  // Rows of a long table are packed column by column; only those that are looked at become elements.
  const packedRows = (details, { text, detail, mark }) => {
    const body = details.querySelector("tbody");
    const heads = Array.from(details.querySelectorAll("th"));
    const labels = heads.map((head) => head.textContent.trim());
    const stacked = details.querySelector("table").classList.contains("stack");
    const cell = (at, column) => {
      const td = document.createElement("td");
      td.textContent = text[column][at];
      const kind = mark[column] ? mark[column][at] : "";
      const numeric = heads[column].classList.contains("n");
      const style = kind === "miss" && numeric ? "miss r" : kind || (numeric ? "n" : "");
      if (style) td.className = style;
      if (stacked) td.dataset.label = labels[column];
      if (detail[column] && detail[column][at]) {
        const small = document.createElement("small");
        small.textContent = detail[column][at];
        td.append(small);
      }
      return td;
    };
    const put = (kept) =>
      body.replaceChildren(
        ...kept.map((at) => {
          const tr = document.createElement("tr");
          tr.append(...heads.map((_, column) => cell(at, column)));
          return tr;
        }),
      );
    const parts = (at) => heads.map((_, k) => (detail[k] && detail[k][at] ? `${text[k][at]} (${detail[k][at]})` : text[k][at]));
    const lines = text[0].map((_, at) => parts(at).join(" | "));
    printed(details, labels.join(" | "), lines);
    return { texts: lines.map((line) => line.toLowerCase()), put };
  };

  // On paper a row of a long table is a line of text: cells would be ten times as large a file.
  const printed = (details, heading, lines) => {
    details.classList.add("long");
    const paper = document.createElement("div");
    paper.className = "printed";
    details.append(paper);
    addEventListener("beforeprint", () => {
      for (let from = 0; from < lines.length; from += PAGE) {
        const block = document.createElement("div");
        block.textContent = [from ? "" : heading, ...lines.slice(from, from + PAGE)].filter(Boolean).join("\n");
        paper.append(block);
      }
    });
    addEventListener("afterprint", () => paper.replaceChildren());
  };

  // Folded tables get a filter and pages. Without scripts the rows that are written stand there, one below the other.
  const PAGE = 100, FILTER_FROM = 20;
  const bar = (details) => {
    const element = document.createElement("div");
    element.className = "bar";
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = "Filter rows";
    input.setAttribute("aria-label", `Filter rows: ${details.querySelector("summary").firstChild.textContent.trim()}`);
    const status = document.createElement("span");
    status.setAttribute("role", "status");
    const button = (text) => {
      const made = document.createElement("button");
      made.type = "button";
      made.textContent = text;
      return made;
    };
    const back = button("Previous"), next = button("Next");
    element.append(input, status, back, next);
    details.querySelector(".scroll").before(element);
    return { input, status, back, next };
  };

  const enhance = async (details) => {
    const block = byId(details.querySelector("table").id + "-rows");
    const { texts, put } = block ? packedRows(details, JSON.parse(await unpack(block.id))) : writtenRows(details);
    if (texts.length < FILTER_FROM) return;
    const { input, status, back, next } = bar(details);
    let page = 0;
    const show = () => {
      const wanted = input.value.toLowerCase().split(" ").filter(Boolean);
      const kept = [];
      texts.forEach((text, at) => { if (wanted.every((word) => text.includes(word))) kept.push(at); });
      const pages = Math.max(1, Math.ceil(kept.length / PAGE));
      page = Math.min(page, pages - 1);
      put(kept.slice(page * PAGE, (page + 1) * PAGE));
      status.textContent = `${kept.length} rows, page ${page + 1} of ${pages}`;
      back.disabled = page === 0;
      next.disabled = page === pages - 1;
    };
    input.addEventListener("input", () => { page = 0; show(); });
    back.addEventListener("click", () => { page -= 1; show(); });
    next.addEventListener("click", () => { page += 1; show(); });
    show();
  };

  // Without a working script or unpacker the tables stand alone, as they do with scripts off.
  const plain = (what) => (error) => { root.classList.remove("js"); console.error(`${what}:`, error); };
  addEventListener("beforeprint", () => root.classList.add("printing"));
  addEventListener("afterprint", () => root.classList.remove("printing"));
  const tables = Promise.all(Array.from(document.querySelectorAll("details.paged"), enhance));
  tables.then(() => { root.dataset.tables = "ready"; }).catch(plain("tables not listed"));
  start().catch(plain("charts not drawn"));
})();
