// The cards of the page: each section loads, fails and recovers by itself.

import { call } from "./api.js";
import { button, el, errorCard, redraw, table } from "./elements.js";
import { clock } from "./format.js";
import { tellChanged, tellProblem } from "./news.js";

const loaders = new Map(); // the id of each section that is shown → how it is read again

export function refresh(ids) {
  for (const id of ids) loaders.get(id)?.({ isBackground: true });
}

export function sectionCard(section) {
  const { id, title, path } = section;
  const asOf = el("small", { class: "as-of" });
  const body = el("div", { class: "body" });
  const card = el("section", { class: `card ${id}`, "data-testid": id, "aria-labelledby": `title-${id}` },
    el("div", { class: "head" }, el("h2", { id: `title-${id}` }, title), asOf, el("div", { class: "tools" },
      section.tools?.() ?? null,
      button("Refresh", () => load({ isFresh: true }), "quiet small", { id: `refresh-${id}`, "aria-label": `Refresh ${title.toLowerCase()}` }))),
    body);
  let turn = 0; // grows with each question, so that the late answer of an older one is dropped
  let timer;
  let isLookingOn = false; // whether something in the section is still to be found out

  async function load({ isBackground = false, isFresh = false } = {}) {
    const mine = ++turn;
    const isLate = () => mine !== turn || !card.isConnected;
    clearTimeout(timer);
    card.dataset.state = "loading";
    if (!body.childElementCount) body.replaceChildren(el("div", { class: "skeleton", "aria-hidden": "true" }));
    try {
      const answer = await call(path, { isBackground, isFresh });
      if (!isLate()) show(answer);
    } catch (problem) {
      if (!isLate()) fail(problem);
    }
  }

  function show(answer) {
    redraw(() => body.replaceChildren(content(section, answer)));
    asOf.textContent = answer.asOf ? `as of ${clock(answer.asOf)}` : "";
    card.dataset.state = section.rows && !answer[section.rows].length ? "empty" : "ready";
    const wait = section.nextLook?.(answer) ?? null;
    if (wait !== null) timer = setTimeout(() => load({ isBackground: true }), wait);
    else if (isLookingOn) tellChanged("orders", "positions", "trades", "funds");
    isLookingOn = wait !== null;
  }

  function fail(problem) {
    const isDead = problem.slug === "broker-session-expired";
    redraw(() => body.replaceChildren(isDead ? el("p", { class: "empty" }, "Not known until you sign in again.") : errorCard(problem, () => load())));
    asOf.textContent = "";
    card.dataset.state = "error";
    tellProblem(problem);
  }

  loaders.set(id, load);
  load();
  return card;
}

// The table, list of facts or empty state of a section's answer.
function content(section, answer) {
  if (section.render) return section.render(answer);
  const rows = answer[section.rows];
  if (!rows.length) return el("p", { class: "empty" }, section.empty);
  return table(section.title, section.columns, rows, { onRow: section.onRow });
}
