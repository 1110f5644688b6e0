// What became of every order that was sent from here, newest first; unknown ones are looked after until they are known.

import { paceOf } from "./acting.js";
import { call } from "./api.js";
import { openCancelPlacement } from "./changes.js";
import { badge, button, el, errorCard, redraw, table } from "./elements.js";
import { dayAndTime, words } from "./format.js";
import { orderLine, OUTCOME_TONES } from "./outcomes.js";
import { headline, isFinal, reasonText, terms } from "./wording.js";

const PATH = "/v1/placements?limit=10";

const columns = [
  { title: "What", show: ({ order }) => el("span", {}, headline(order), el("small", { class: "reason" }, terms(order))) },
  { title: "Outcome", show: outcomeOf },
  { title: "Orders", show: ordersOf },
  { title: "Sent", kind: "time", show: ({ createdAt }) => dayAndTime(createdAt) },
  { title: "Actions", kind: "actions", show: actionsOf },
];

export const PLACEMENTS = {
  id: "placements", title: "Placements", path: PATH, rows: "placements",
  render: ({ placements, nextCursor }) => (placements.length
    ? el("div", {}, table("Placements", columns, placements), older(nextCursor))
    : el("p", { class: "empty" }, "No order has been sent from here.")),
  nextLook,
};

// When to look again: calmly while something is unknown, and not for ever.
function nextLook({ placements, asOf }) {
  const newest = placements.find(({ outcome }) => outcome === "unknown");
  return newest ? paceOf("unknown", Date.parse(asOf) - Date.parse(newest.createdAt)) : null;
}

function outcomeOf({ outcome, reason, candidates }) {
  return el("span", {}, badge(outcome, OUTCOME_TONES[outcome]),
    reason ? el("small", { class: "reason" }, reasonText(reason)) : null,
    candidates.length ? el("small", { class: "reason" }, `It may be ${candidates.join(" or ")}.`) : null);
}

// Why an order was refused stands beside the outcome already.
function ordersOf({ orders }) {
  if (!orders.length) return words(null);
  return el("ul", { class: "orders" }, orders.map(({ orderNo, status }) => orderLine({ orderNo, status })));
}

function actionsOf(placement) {
  const { outcome, orders, order, placementId } = placement;
  if (outcome !== "unknown" && orders.every(({ status }) => isFinal(status))) return null;
  return button("Cancel all of it", () => openCancelPlacement(placement), "quiet small", {
    id: `undo-${placementId}`, "aria-label": `Cancel all of ${headline(order)}`,
  });
}

// The list goes on where it ended.
function older(cursor) {
  if (!cursor) return null;
  const more = button("Show older ones", async () => {
    try {
      const { placements, nextCursor } = await call(`${PATH}&cursor=${encodeURIComponent(cursor)}`);
      const rows = table("Older placements", columns, placements).querySelectorAll("tbody tr");
      more.previousElementSibling.querySelector("tbody").append(...rows);
      redraw(() => more.replaceWith(older(nextCursor) ?? ""));
    } catch (problem) {
      more.after(errorCard(problem));
    }
  }, "quiet", { id: "older-placements" });
  return more;
}
