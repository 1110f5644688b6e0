// The cards of the page: each section loads, fails and recovers by itself.

import { call } from "./api.js";
import { behind, placeOf, withNewest, withOrder } from "./book.js";
import { button, el, errorCard, redraw, table } from "./elements.js";
import { clock } from "./format.js";
import { isLive, listen, tellChanged, tellProblem, tellRead } from "./news.js";

// Milliseconds, where nobody has pressed anything and the answer failed, or was older than the event that asked.
const LOOK_AGAIN = [1000, 4000, 15_000, 60_000];

const cards = new Map(); // the id of each section that is shown → {load, hear, plan}

listen("changed", ({ sections, seenAt }) => {
  for (const id of sections) cards.get(id)?.load({ isBackground: true, seenAt });
});
listen("order", (event) => cards.get("orders")?.hear(event));
listen("live", () => { for (const { plan } of cards.values()) plan(); });

export const forgetCards = () => cards.clear();

// A section as a card; it is read for the first time when `ready` is fulfilled.
export function sectionCard(section, ready) {
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
  let shown = null; // the answer that is shown, with what the stream has told since
  let told = []; // events that the answer under way may not tell of

  async function load({ isBackground = false, isFresh = false, seenAt = null, tries = 0 } = {}) {
    const mine = ++turn;
    const isLate = () => mine !== turn || !card.isConnected;
    const again = () => {
      if (tries < LOOK_AGAIN.length) timer = setTimeout(() => load({ isBackground: true, seenAt, tries: tries + 1 }), LOOK_AGAIN[tries]);
    };
    if (!card.isConnected) return;
    clearTimeout(timer);
    startLoading();
    try {
      const answer = await call(path, { isBackground, isFresh });
      if (isLate()) return;
      show(answer);
      // Shared with somebody who asked before it happened, or kept for a moment: it does not show yet what it is to show.
      if (seenAt && Date.parse(answer.asOf) < Date.parse(seenAt)) again();
    } catch (problem) {
      if (isLate()) return;
      fail(problem);
      if (isBackground && problem.status >= 500) again(); // nobody else would, while it is live
    }
  }

  function startLoading() {
    card.dataset.state = "loading";
    if (!body.childElementCount) body.replaceChildren(el("div", { class: "skeleton", "aria-hidden": "true" }));
  }

  function show(answer) {
    told = behind(answer, told);
    shown = told.reduce(withOrder, answer);
    redraw(() => body.replaceChildren(content(section, shown)));
    settle();
    plan();
    tellRead();
  }

  function settle() {
    asOf.textContent = shown.asOf ? `as of ${clock(shown.asOf)}` : "";
    card.dataset.state = section.rows && !shown[section.rows].length ? "empty" : "ready";
  }

  // Look again by a timer where no stream would tell.
  function plan() {
    if (!shown || !section.nextLook) return;
    clearTimeout(timer);
    const wait = section.nextLook(shown);
    if (wait !== null && !isLive()) timer = setTimeout(() => load({ isBackground: true }), wait);
    if (wait === null && isLookingOn) tellChanged("orders", "positions", "trades", "funds");
    isLookingOn = wait !== null && !isLive();
  }

  // Show what has happened to one order, without a question to anybody; the other rows stay under whoever's finger.
  function hear(event) {
    told = withNewest(told, event);
    if (!shown) return;
    const at = placeOf(shown, event.order);
    shown = withOrder(shown, event);
    const fresh = content(section, shown);
    redraw(() => {
      if (at < 0) body.replaceChildren(fresh);
      else rowsOf(body)[at].replaceWith(rowsOf(fresh)[at]);
    });
    if (card.dataset.state !== "loading") settle();
  }

  function fail(problem) {
    shown = null;
    const isDead = problem.slug === "broker-session-expired";
    redraw(() => body.replaceChildren(isDead ? el("p", { class: "empty" }, "Not known until you sign in again.") : errorCard(problem, () => load())));
    asOf.textContent = "";
    card.dataset.state = "error";
    tellProblem(problem);
  }

  cards.set(id, { load, hear, plan });
  startLoading();
  ready.then(load);
  return card;
}

const rowsOf = (node) => node.querySelectorAll("tbody tr");

// The table, list of facts or empty state of a section's answer.
function content(section, answer) {
  if (section.render) return section.render(answer);
  const rows = answer[section.rows];
  if (!rows.length) return el("p", { class: "empty" }, section.empty);
  return table(section.title, section.columns, rows, { onRow: section.onRow });
}
