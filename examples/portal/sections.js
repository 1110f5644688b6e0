// What the portal shows of an investor: one entry per section, each loading and failing by itself.

import { readOrder } from "./api.js";
import { badge, el, errorCard, facts, table } from "./elements.js";
import { clock, direction, dayAndTime, quantity, rupees, signed, words } from "./format.js";

const tone = (text) => ({ "1": "gain", "-1": "loss" })[direction(text)] ?? "";
const STATUS_TONES = {
  COMPLETE: "good", OPEN: "busy", ACCEPTED: "busy", TRIGGER_PENDING: "busy", REJECTED: "bad", CANCELLED: "calm", UNKNOWN: "warn",
};

const AT_MARKET = new Set(["MARKET", "SL-M"]); // the broker says 0 for the price of these

const inRupees = (amount) => (amount === null ? words(null) : `₹ ${rupees(amount)}`);
const text = (title, field) => ({ title, show: (row) => words(row[field]) });
const count = (title, field) => ({ title, isNumber: true, show: (row) => quantity(row[field]) });
const money = (title, field) => ({ title: `${title} ₹`, isNumber: true, show: (row) => rupees(row[field]) });
const result = (title, field) => ({ title: `${title} ₹`, isNumber: true, show: (row) => signed(row[field]), tone: (row) => tone(row[field]) });

export const SECTIONS = [
  {
    id: "funds", title: "Funds", path: "/v1/funds",
    render: (funds) => facts([
      ["Available margin", inRupees(funds.availableMargin), "large"],
      ["Opening balance", inRupees(funds.openingBalance), tone(funds.openingBalance) === "loss" ? "loss" : ""],
      ["Margin used", inRupees(funds.marginUsed)],
      ["Collateral", inRupees(funds.collateral)],
      ["Pay-in today", inRupees(funds.payin)],
      ["Uncleared cash", inRupees(funds.unclearedCash)],
    ]),
  },
  {
    id: "profile", title: "Profile", path: "/v1/profile",
    render: (profile) => facts([
      ["Client", `${words(profile.name)} (${profile.id})`],
      ["Status", words(profile.status)],
      ["Exchanges", profile.exchanges.join(", ") || words(null)],
      ["Products", profile.products.join(", ") || words(null)],
      ["E-mail", words(profile.email)], ["Mobile", words(profile.mobile)], ["PAN", words(profile.pan)],
      ["Depository", profile.depositoryAccounts.join(", ") || words(null)],
    ]),
  },
  {
    id: "holdings", title: "Holdings", path: "/v1/holdings", rows: "holdings", empty: "No holdings.",
    columns: [
      text("Symbol", "tradingSymbol"), text("Exchange", "exchange"), count("Quantity", "quantity"), count("Sellable", "sellableQuantity"),
      money("Average", "averagePrice"), money("Last", "lastPrice"), result("P&L", "pnl"),
    ],
  },
  {
    id: "positions", title: "Positions", path: "/v1/positions", rows: "positions", empty: "No open positions.",
    columns: [
      text("Symbol", "tradingSymbol"), text("Exchange", "exchange"), text("Product", "product"), count("Net", "netQuantity"),
      money("Average", "averagePrice"), money("Last", "lastPrice"), result("Realized", "realizedPnl"), result("Unrealized", "unrealizedPnl"),
    ],
  },
  {
    id: "orders", title: "Orders", path: "/v1/orders", rows: "orders", empty: "No orders today.", onRow: showHistory,
    columns: [
      text("Symbol", "tradingSymbol"),
      { title: "Side", show: (row) => badge(words(row.transactionType), row.transactionType === "SELL" ? "sell" : "buy") },
      { title: "Filled", isNumber: true, show: (row) => `${quantity(row.filledQuantity)} / ${quantity(row.quantity)}` },
      { title: "Type", show: (row) => [row.orderType, row.variety === "AMO" ? "AMO" : null].filter(Boolean).join(" ") || words(null) },
      { title: "Price ₹", isNumber: true, show: (row) => (AT_MARKET.has(row.orderType) ? "market" : rupees(row.price)) },
      money("Trigger", "triggerPrice"),
      { title: "Status", show: (row) => statusOf(row) },
      { title: "Placed", show: (row) => clock(row.placedAt) },
    ],
  },
  {
    id: "trades", title: "Trades", path: "/v1/trades", rows: "trades", empty: "No trades today.",
    columns: [
      text("Symbol", "tradingSymbol"),
      { title: "Side", show: (row) => badge(words(row.transactionType), row.transactionType === "SELL" ? "sell" : "buy") },
      count("Quantity", "quantity"), money("Price", "price"), text("Product", "product"),
      { title: "At", show: (row) => clock(row.tradedAt) },
    ],
  },
];

// The table, list of facts or empty state of a section's answer.
export function content(section, answer) {
  if (section.render) return section.render(answer);
  const rows = answer[section.rows];
  if (!rows.length) return el("p", { class: "empty" }, section.empty);
  return table(section.title, section.columns, rows, { onRow: section.onRow });
}

function statusOf(order) {
  const shown = badge(order.status.replace("_", " "), STATUS_TONES[order.status] ?? "warn");
  return order.rejectionReason ? el("span", {}, shown, el("small", { class: "reason" }, order.rejectionReason)) : shown;
}

async function showHistory(order, from) {
  const dialog = el("dialog", { "aria-label": `Order ${order.orderNo}` }, el("p", {}, "Loading…"));
  document.getElementById("portal").append(dialog);
  dialog.addEventListener("close", () => { dialog.remove(); from.focus(); });
  dialog.showModal();
  const close = el("form", { method: "dialog" }, el("button", { class: "quiet" }, "Close"));
  try {
    dialog.replaceChildren(history(await readOrder(order.orderNo)), close);
  } catch (problem) {
    dialog.replaceChildren(errorCard(problem), close);
  }
}

function history(order) {
  const steps = order.history.map((step) => el("li", {},
    badge(step.status.replace("_", " "), STATUS_TONES[step.status] ?? "warn"),
    ` ${words(step.report)} · ${quantity(step.filledQuantity)} of ${quantity(step.quantity)} · ${dayAndTime(step.at)}`));
  return el("div", {}, el("h2", {}, `${words(order.tradingSymbol)} · ${words(order.orderNo)}`),
    steps.length ? el("ol", { class: "history" }, steps) : el("p", { class: "empty" }, "The broker tells no history of it."));
}
