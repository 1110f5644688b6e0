// Building blocks of the page. Everything from outside goes in as text, never as HTML.

export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

export function button(label, onclick, kind = "quiet", more = {}) {
  return el("button", { type: "button", class: kind, onclick, ...more }, label);
}

// A table; columns are {title, show(row) → text or node}, and as they need it isNumber,
// kind ("actions", "time") and tone(row) → "gain" | "loss" | "".
// The roles look needless, but browsers forget them where a phone shows each row as a card.
export function table(caption, columns, rows, { onRow } = {}) {
  const head = el("tr", { role: "row" }, columns.map((column) =>
    el("th", { scope: "col", role: "columnheader", class: column.isNumber && "number" },
      column.kind === "actions" ? el("span", { class: "unseen" }, column.title) : column.title)));
  const body = rows.map((row) => el("tr", { role: "row" }, columns.map((column, at) => cell(column, row, at === 0 && onRow))));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el("table", { role: "table" }, el("caption", { class: "unseen" }, caption),
      el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, body)));
}

function cell(column, row, open) {
  const shown = column.show(row);
  const classes = [column.isNumber && "number", column.kind, column.tone?.(row)].filter(Boolean).join(" ");
  const content = open ? button(shown, () => open(row), "link", { id: `row-${row.orderNo}` }) : shown;
  return el("td", { role: "cell", class: classes || null, "data-title": column.title }, content);
}

export function facts(pairs) {
  return el("dl", { class: "facts" }, pairs.map(([name, value, tone]) =>
    el("div", {}, el("dt", {}, name), el("dd", { class: tone }, value))));
}

export function badge(text, tone) {
  return el("span", { class: `badge ${tone}` }, text);
}

// What an error looks like: what happened, what to do, and the id under which we find it.
export function errorCard(problem, retry) {
  const wait = problem.retryAfter ? ` Wait ${problem.retryAfter} s before trying again.` : "";
  const errors = (problem.errors ?? []).map(({ pointer, detail }) => el("li", {}, el("code", {}, pointer), ` ${detail}`));
  return el("div", { class: "problem", role: "alert" },
    el("strong", {}, problem.title),
    el("p", {}, `${problem.detail ?? ""}${wait}`),
    errors.length ? el("ul", {}, errors) : null,
    retry ? button("Try again", retry) : null,
    problem.loginUrl ? el("a", { class: "quiet", href: problem.loginUrl }, "Sign in again") : null,
    el("small", {}, [problem.slug, problem.status || null, problem.requestId && `request ${problem.requestId}`].filter(Boolean).join(" · ")));
}

// Tell whoever can't see it.
export function say(text) {
  document.getElementById("spoken").textContent = text;
}

// Draw a part of the page anew without taking the keyboard's place away from whoever was in it.
export function redraw(draw) {
  const id = document.activeElement?.id;
  draw();
  if (id && document.activeElement?.id !== id) document.getElementById(id)?.focus({ preventScroll: true });
}
