// The order ticket: say what is meant, review it with its margin, confirm it once.

import { previewMargin } from "./api.js";
import { buttons, openDialog, unhurried } from "./dialogs.js";
import { button, el, errorCard, facts } from "./elements.js";
import { choice, entry, missing, options, showErrors, toggle, unitsOf, valueOf } from "./fields.js";
import { direction, rupees, words } from "./format.js";
import { tellProblem } from "./news.js";
import { carryOut, mend } from "./outcomes.js";
import { EXCHANGES, hasPrice, hasTrigger, headline, ORDER_TYPES, PRODUCTS, SIDES, terms, VALIDITIES, VARIETIES } from "./wording.js";

const TITLE = "New order";

// `symbols` are suggestions; any symbol of the contract master may be typed.
export function openTicket(symbols) {
  const form = orderForm(symbols);
  const dialog = openDialog(TITLE, form);
  form.addEventListener("change", () => fit(form));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    review(dialog, form, event.submitter);
  });
  fit(form);
  form.elements.tradingSymbol.focus();
}

function orderForm(symbols) {
  return el("form", { class: "ticket", "data-title": TITLE, novalidate: true },
    options("transactionType", "Side", SIDES, "BUY"),
    entry("tradingSymbol", "Symbol", { hint: "IDEA-EQ", list: "symbols" }),
    el("datalist", { id: "symbols" }, symbols.map((symbol) => el("option", { value: symbol }))),
    choice("exchange", "Exchange", EXCHANGES, "NSE"),
    entry("quantity", "Quantity (units)", { mode: "numeric" }),
    choice("product", "Product", PRODUCTS, "CNC"),
    options("orderType", "Order type", ORDER_TYPES, "LIMIT"),
    entry("price", "Price ₹", { mode: "decimal" }),
    entry("triggerPrice", "Trigger price ₹", { mode: "decimal" }),
    options("validity", "Validity", VALIDITIES, "DAY"),
    options("variety", "Variety", VARIETIES, "REGULAR"),
    buttons(el("button", { type: "submit", class: "primary" }, "Review order")));
}

// A market order has no price, and only a stop order has a trigger.
function fit(form) {
  const orderType = valueOf(form, "orderType");
  toggle(form, "price", hasPrice(orderType));
  toggle(form, "triggerPrice", hasTrigger(orderType));
}

function orderOf(form) {
  const order = Object.fromEntries(
    ["exchange", "tradingSymbol", "transactionType", "quantity", "product", "orderType", "price", "triggerPrice", "validity", "variety"]
      .map((name) => [name, valueOf(form, name)]));
  return { ...order, tradingSymbol: order.tradingSymbol?.toUpperCase(), quantity: unitsOf(order.quantity) };
}

// Asking for the margin is also the check of every field: what can't be an order is told here, before anything is sent.
function review(dialog, form, pressed) {
  const errors = missing(form, ["tradingSymbol", "quantity", "price", "triggerPrice"]);
  showErrors(form, errors);
  if (errors.length) return null;
  const order = orderOf(form);
  return unhurried(dialog, pressed, async () => {
    try {
      const margin = await previewMargin(order);
      return () => showReview(dialog, form, order, marginFacts(margin));
    } catch (problem) {
      if (problem.slug === "invalid-request") return () => mend(dialog, problem, form);
      tellProblem(problem);
      return () => showReview(dialog, form, order, errorCard({ ...problem, title: `The margin isn't known: ${problem.title}` }));
    }
  });
}

function showReview(dialog, form, order, margin) {
  const deed = { action: "PLACE", method: "POST", path: "/v1/orders", content: order };
  const confirm = (event) => carryOut(dialog, event.currentTarget, deed, form);
  dialog.show("Review your order",
    el("div", { class: `summary ${order.transactionType.toLowerCase()}`, "data-testid": "summary" },
      el("strong", {}, headline(order)), el("span", {}, terms(order))),
    margin,
    buttons(
      button(`Place order: ${headline(order)}`, confirm, `primary ${order.transactionType.toLowerCase()}`, { "data-testid": "place" }),
      button("Change it", () => dialog.show(TITLE, form))));
}

function marginFacts(margin) {
  const isShort = direction(margin.marginShortfall) > 0;
  const inRupees = (amount) => (amount === null ? words(null) : `₹ ${rupees(amount)}`);
  return el("div", { "data-testid": "margin" },
    facts([
      ["Margin required", inRupees(margin.requiredMargin), isShort ? "large loss" : "large"],
      ["Available", inRupees(margin.availableMargin), "large"],
      ...(isShort ? [["Short by", inRupees(margin.marginShortfall), "loss"]] : []),
    ]),
    isShort ? el("p", { class: "notice" }, "There is less than it needs: the broker will most likely refuse it.") : null,
    margin.remarks ? el("small", {}, `The broker remarks: ${margin.remarks}`) : null);
}
