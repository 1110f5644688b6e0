// What can be done about orders and positions that are there: change, cancel, convert. Each asks before it acts.

import { orderPath, placementPath } from "./api.js";
import { buttons, openDialog } from "./dialogs.js";
import { badge, button, el, table } from "./elements.js";
import { choice, entry, missing, options, showErrors, unitsOf, valueOf } from "./fields.js";
import { words } from "./format.js";
import { carryOut, mend, orderLine, OUTCOME_TONES } from "./outcomes.js";
import { hasPrice, hasTrigger, headline, PRODUCTS, reasonText, terms } from "./wording.js";

const recap = (order) => el("div", { class: `summary ${order.transactionType.toLowerCase()}` },
  el("strong", {}, headline(order)), el("span", {}, [terms(order), order.orderNo].filter(Boolean).join(" · ")));

// A dialog with a form; `deedOf` makes of it what is to be sent, or gives the errors for which nothing is.
function openForm(title, form, deedOf) {
  form.dataset.title = title;
  const dialog = openDialog(title, form);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const { errors = [], deed } = deedOf();
    showErrors(form, errors);
    if (!errors.length) carryOut(dialog, event.submitter, deed, form);
  });
  form.querySelector("input:not([type=radio])").focus();
}

const submit = (label, kind = "primary") => el("button", { type: "submit", class: kind }, label);

export function openModify(order) {
  const form = el("form", { novalidate: true }, recap(order),
    entry("quantity", "Total quantity (units)", { value: String(order.quantity ?? ""), mode: "numeric" }),
    hasPrice(order.orderType) ? entry("price", "Price ₹", { value: order.price ?? "", mode: "decimal" }) : null,
    hasTrigger(order.orderType) ? entry("triggerPrice", "Trigger price ₹", { value: order.triggerPrice ?? "", mode: "decimal" }) : null,
    buttons(submit("Change the order")));
  const before = new FormData(form);
  openForm(`Modify ${words(order.tradingSymbol)}`, form, () => {
    const names = [...before.keys()];
    const errors = missing(form, names);
    const changed = names.filter((name) => valueOf(form, name) !== before.get(name));
    if (!errors.length && !changed.length) errors.push({ pointer: "/quantity", detail: "nothing has been changed so far" });
    // What is not named stays as it is at the broker, even if it has changed there meanwhile.
    const content = Object.fromEntries(changed.map((name) => [name, name === "quantity" ? unitsOf(valueOf(form, name)) : valueOf(form, name)]));
    return { errors, deed: { action: "MODIFY", method: "PATCH", path: orderPath(order.orderNo), content } };
  });
}

export function openConvert(position) {
  const { exchange, tradingSymbol, product, netQuantity } = position;
  const products = Object.fromEntries(Object.entries(PRODUCTS).filter(([name]) => name !== product));
  const held = String(Math.abs(netQuantity));
  const form = el("form", { novalidate: true },
    el("p", { class: "what" }, `${tradingSymbol} on ${exchange}, now ${PRODUCTS[product]}, ${netQuantity < 0 ? "short" : "long"} ${held}`),
    entry("quantity", "Quantity (units)", { value: held, mode: "numeric" }),
    choice("toProduct", "Convert to", products),
    options("positionType", "The position was", { DAY: "Opened today", NET: "Carried over" }, "DAY"),
    buttons(submit("Convert")));
  openForm(`Convert ${tradingSymbol}`, form, () => {
    const content = {
      exchange, tradingSymbol, transactionType: netQuantity < 0 ? "SELL" : "BUY", quantity: unitsOf(valueOf(form, "quantity")),
      fromProduct: product, toProduct: valueOf(form, "toProduct"), positionType: valueOf(form, "positionType"),
    };
    return { errors: missing(form, ["quantity"]), deed: { action: "CONVERT", method: "POST", path: "/v1/positions/convert", content } };
  });
}

// A question with two answers; the first, which has the keyboard, does nothing.
function ask(title, content, label, deed) {
  const dialog = openDialog(title, content);
  const keep = button("Keep it", dialog.close, "quiet", { autofocus: true });
  dialog.show(title, content, buttons(
    button(label, (event) => carryOut(dialog, event.currentTarget, deed(dialog)), "primary danger"), keep));
  keep.focus();
}

export function openCancel(order) {
  ask("Cancel this order?", recap(order), "Cancel the order", () => ({ action: "CANCEL", method: "DELETE", path: orderPath(order.orderNo) }));
}

export function openCancelAll() {
  const warning = el("p", {}, "Every order that is still open is cancelled, whoever placed it and wherever. What is filled stays filled.");
  ask("Cancel all open orders?", warning, "Cancel all", (dialog) => ({
    action: "CANCEL", method: "DELETE", path: "/v1/orders", isRepeatable: true,
    show: ({ cancellations }) => showCancels(dialog, cancellations, "There was no open order."),
  }));
}

export function openCancelPlacement(placement) {
  const { orders, candidates } = placement;
  const content = el("div", {}, recap(placement.order), el("ul", { class: "orders" }, orders.map(orderLine)));
  const later = candidates.length
    ? `Nobody can tell whether it is ${candidates.join(" or ")}. If you can, cancel that one under Orders; whatever turns up for certain will be cancelled.`
    : "Nothing of it is known at the broker so far. Whatever turns up will be cancelled.";
  ask("Cancel this whole placement?", content, "Cancel all of it", (dialog) => ({
    action: "CANCEL", method: "DELETE", path: placementPath(placement.placementId), isRepeatable: true,
    show: ({ cancellations }) => showCancels(dialog, cancellations, later),
  }));
}

function showCancels(dialog, cancellations, none) {
  const columns = [
    { title: "Order", show: ({ orderNo }) => orderNo },
    { title: "Cancel", show: ({ outcome }) => badge(outcome, OUTCOME_TONES[outcome]) },
    { title: "Why", show: ({ reason }) => (reason ? reasonText(reason) : words(null)) },
  ];
  const told = cancellations.length ? table("Cancels", columns, cancellations) : el("p", { class: "empty" }, none);
  dialog.show("What became of it", el("div", { role: "status", "data-testid": "outcome" }, told), buttons(button("Close", dialog.close, "primary")));
}
