// What the portal shows of an investor: one entry per section, each loading and failing by itself.

import { openCancel, openCancelAll, openConvert, openModify } from "./changes.js";
import { badge, button, el, facts } from "./elements.js";
import { clock, direction, quantity, rupees, signed, words } from "./format.js";
import { openHistory } from "./history.js";
import { statusBadge } from "./outcomes.js";
import { PLACEMENTS } from "./placements.js";
import { isFinal, PRODUCTS } from "./wording.js";

const tone = (text) => ({ "1": "gain", "-1": "loss" })[direction(text)] ?? "";

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
      { title: "Actions", kind: "actions", show: convertible },
    ],
  },
  {
    id: "orders", title: "Orders", path: "/v1/orders", rows: "orders", empty: "No orders today.", onRow: openHistory,
    tools: () => button("Cancel all open", openCancelAll, "quiet small", { id: "cancel-all" }),
    columns: [
      text("Symbol", "tradingSymbol"),
      { title: "Side", show: (row) => badge(words(row.transactionType), row.transactionType === "SELL" ? "sell" : "buy") },
      { title: "Filled", isNumber: true, show: (row) => `${quantity(row.filledQuantity)} / ${quantity(row.quantity)}` },
      { title: "Type", show: (row) => [row.orderType, row.variety === "AMO" ? "AMO" : null].filter(Boolean).join(" ") || words(null) },
      { title: "Price ₹", isNumber: true, show: (row) => (AT_MARKET.has(row.orderType) ? "market" : rupees(row.price)) },
      money("Trigger", "triggerPrice"),
      { title: "Status", show: (row) => statusOf(row) },
      { title: "Placed", kind: "time", show: (row) => clock(row.placedAt) },
      { title: "Actions", kind: "actions", show: changeable },
    ],
  },
  PLACEMENTS,
  {
    id: "trades", title: "Trades", path: "/v1/trades", rows: "trades", empty: "No trades today.",
    columns: [
      text("Symbol", "tradingSymbol"),
      { title: "Side", show: (row) => badge(words(row.transactionType), row.transactionType === "SELL" ? "sell" : "buy") },
      count("Quantity", "quantity"), money("Price", "price"), text("Product", "product"),
      { title: "At", kind: "time", show: (row) => clock(row.tradedAt) },
    ],
  },
];

function statusOf(order) {
  const shown = statusBadge(order.status);
  return order.rejectionReason ? el("span", {}, shown, el("small", { class: "reason" }, order.rejectionReason)) : shown;
}

function changeable(order) {
  if (!order.orderNo || isFinal(order.status)) return null;
  const name = `${words(order.tradingSymbol)}, order ${order.orderNo}`;
  return el("span", { class: "row" },
    button("Modify", () => openModify(order), "quiet small", { id: `modify-${order.orderNo}`, "aria-label": `Modify ${name}` }),
    button("Cancel", () => openCancel(order), "quiet small", { id: `cancel-${order.orderNo}`, "aria-label": `Cancel ${name}` }));
}

function convertible(position) {
  const { exchange, tradingSymbol, product, netQuantity } = position;
  if (!netQuantity || !PRODUCTS[product]) return null;
  return button("Convert", () => openConvert(position), "quiet small", {
    id: `convert-${exchange}-${tradingSymbol}-${product}`, "aria-label": `Convert ${tradingSymbol}, ${product}`,
  });
}
