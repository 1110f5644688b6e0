// Every step of one order, as the broker tells it.

import { readOrder } from "./api.js";
import { buttons, openDialog } from "./dialogs.js";
import { button, el, errorCard } from "./elements.js";
import { dayAndTime, quantity, words } from "./format.js";
import { tellProblem } from "./news.js";
import { statusBadge } from "./outcomes.js";

export async function openHistory({ orderNo, tradingSymbol }) {
  const title = `${words(tradingSymbol)} · ${words(orderNo)}`;
  const dialog = openDialog(title, el("p", {}, "Loading…"));
  const close = buttons(button("Close", dialog.close));
  try {
    dialog.show(title, steps((await readOrder(orderNo)).history), close);
  } catch (problem) {
    dialog.show(title, errorCard(problem), close);
    tellProblem(problem);
  }
}

function steps(history) {
  if (!history.length) return el("p", { class: "empty" }, "The broker tells no history of it.");
  return el("ol", { class: "history" }, history.map((step) => el("li", {}, statusBadge(step.status),
    ` ${words(step.report)} · ${quantity(step.filledQuantity)} of ${quantity(step.quantity)} · ${dayAndTime(step.at)}`)));
}
