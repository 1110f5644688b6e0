// What became of something that was sent: taken, refused, or not known yet; and what may be done about it.

import { act, follow, isSettled } from "./acting.js";
import { call, placementPath, ProblemError } from "./api.js";
import { buttons, unhurried } from "./dialogs.js";
import { badge, button, el, errorCard } from "./elements.js";
import { showErrors } from "./fields.js";
import { isLive, tellChanged, tellProblem } from "./news.js";
import { headline, nounOf, outcomeAdvice, outcomeTitle, reasonText, terms } from "./wording.js";

export const OUTCOME_TONES = { accepted: "good", refused: "bad", unknown: "warn" };
export const STATUS_TONES = {
  COMPLETE: "good", OPEN: "busy", ACCEPTED: "busy", TRIGGER_PENDING: "busy", REJECTED: "bad", CANCELLED: "calm", UNKNOWN: "warn",
};
export const statusBadge = (status) => badge(status.replace("_", " "), STATUS_TONES[status] ?? "warn");

const EVERYTHING = ["orders", "placements", "positions", "trades", "funds"];

// Send a deed from a dialog and show what became of it. `form` gets the errors at its fields, where it has these.
export function carryOut(dialog, pressed, deed, form = null) {
  return unhurried(dialog, pressed, async () => {
    try {
      const done = await act(deed);
      return () => (deed.show ? deed.show(done.body) : showOutcome(dialog, done));
    } catch (problem) {
      if (!(problem instanceof ProblemError)) throw problem; // a fault of this page
      return () => showProblem(dialog, problem, deed, form);
    } finally {
      tellChanged("orders", "placements");
    }
  });
}

function showOutcome(dialog, { body, location, isReplay }) {
  const place = el("div", { role: "status", "data-testid": "outcome" });
  dialog.show(`Your ${nounOf(body.action)}`, place, buttons(button("Close", dialog.close, "primary")));
  watch(place, body, location, isReplay && "It had been sent before; this is what became of it. No second one was sent.");
}

// Show a placement, and whatever becomes of it as long as the dialog shows it.
async function watch(place, placement, location, note = null) {
  const show = (now) => place.replaceChildren(outcomeCard(now, note));
  show(placement);
  try {
    const isAllKnown = await follow(placement, location, { show, isWanted: () => place.isConnected });
    if (isAllKnown) tellChanged(...concerned(placement));
    else place.append(button("Look again", () => watchFrom(place, location, note)));
  } catch (problem) {
    place.append(errorCard(problem));
    tellProblem(problem);
  }
}

// What is to be read again when all is known; of orders the stream tells, of a conversion it does not.
const concerned = ({ action }) => (isLive() && action !== "CONVERT" ? ["placements"] : EVERYTHING);

async function watchFrom(place, location, note = null) {
  try {
    await watch(place, await call(location), location, note);
  } catch (problem) {
    place.replaceChildren(errorCard(problem, () => watchFrom(place, location, note)));
  }
}

export function outcomeCard(placement, note) {
  const { outcome, order, orders, reason, candidates, placementId } = placement;
  const late = outcome === "accepted" && orders.length > 0 && orders.every(({ status }) => status === "REJECTED");
  const advice = late ? "The broker took it and refused it afterwards; nothing was traded." : outcomeAdvice(placement);
  return el("div", { class: `outcome ${late ? "refused" : outcome}`, "data-outcome": outcome, "data-settled": String(isSettled(placement)) },
    el("strong", {}, late ? "Taken, and then refused" : outcomeTitle(placement)),
    order ? el("p", { class: "what" }, `${headline(order)} · ${terms(order)}`) : null,
    note ? el("p", {}, note) : null,
    advice ? el("p", {}, advice) : null,
    reason && !late ? el("p", {}, reasonText(reason)) : null,
    candidates.length ? el("p", {}, `It may be ${candidates.join(" or ")}.`) : null,
    el("ul", { class: "orders" }, orders.map(orderLine)),
    el("small", {}, `placement ${placementId}`));
}

export function orderLine({ orderNo, status, rejectionReason }) {
  return el("li", {}, el("span", { class: "number" }, `Order ${orderNo} `), status ? statusBadge(status) : null,
    rejectionReason ? el("small", { class: "reason" }, rejectionReason) : null);
}

function showProblem(dialog, problem, deed, form) {
  if (problem.slug === "invalid-request" && form) return mend(dialog, problem, form);
  tellProblem(problem);
  if (problem.slug === "placement-unresolved") return unresolved(dialog, problem, deed);
  const again = (event) => carryOut(dialog, event.currentTarget, deed, form);
  dialog.show(`Your ${nounOf(deed.action)}`, problem.leavesOpen ? openCard(problem) : refusalCard(problem), buttons(
    problem.leavesOpen ? button("Ask again", again, "primary") : null,
    form && !problem.loginUrl && !problem.leavesOpen ? button("Change it", () => dialog.show(form.dataset.title, form)) : null,
    button("Close", dialog.close)));
}

// Back to the form, with what is wrong at its fields, and above it what belongs to none of them.
export function mend(dialog, problem, form) {
  dialog.show(form.dataset.title, form);
  const homeless = showErrors(form, problem.errors);
  if (homeless.length) form.prepend(errorCard({ ...problem, title: problem.title, errors: homeless, detail: "Nothing has been sent." }));
}

function refusalCard(problem) {
  if (problem.slug === "broker-session-expired") return errorCard({ ...problem, detail: "It was not carried out. Sign in again, and then look before you repeat it." });
  if (problem.slug !== "order-refused") return errorCard(problem);
  return el("div", { class: "outcome refused", role: "alert", "data-outcome": "refused" },
    el("strong", {}, problem.title), el("p", {}, problem.detail), el("small", {}, `placement ${problem.placementId}`));
}

// No answer, or one that proves nothing. The key is kept, so asking again can't place a second one.
function openCard(problem) {
  return el("div", { class: "outcome unknown", role: "alert", "data-outcome": "unsure" },
    el("strong", {}, "We don't know whether it arrived"),
    el("p", {}, "Asking again is safe: it is the same request with the same key, and is never carried out twice. "
      + "An order that has arrived stands under Placements."),
    el("small", {}, [problem.title, problem.slug, problem.status || null].filter(Boolean).join(" · ")));
}

// An equal order is still unknown. A second one is sent only if somebody says twice that he means it.
function unresolved(dialog, problem, deed) {
  const first = el("div", { role: "status" });
  const place = el("div", { class: "twice" });
  const send = (event) => carryOut(dialog, event.currentTarget, { ...deed, content: { ...deed.content, allowDuplicate: true } });
  const really = () => place.replaceChildren(
    el("p", { role: "alert" }, "Then two equal orders may stand at the broker. Do you mean a second one?"),
    buttons(button("Yes, send a second order", send, "primary danger"), button("No, wait for the first", dialog.close)));
  place.append(buttons(button("Wait for the first", dialog.close, "primary"), button("Send another one anyway…", really)));
  dialog.show("Nothing has been sent", el("p", { role: "alert" }, "An order just like this one is still unknown. It may be at the broker already."), first, place);
  watchFrom(first, placementPath(problem.placementId));
}
