// Doing something at the broker once. This file is the one to get right: it decides what is sent again, and when.

import { call, exchange, ProblemError } from "./api.js";
import { ears, isLive } from "./news.js";

// What was meant and is not settled yet, with its key. The same order again has the same key, so that the service
// knows it; a changed order has a new one. Nothing else may ever make a key up.
const keys = new Map();

const REFUSED = new Set(["order-refused", "broker-session-expired"]); // known, and remembered under the key

const MOST_WAITS = 20; // for a first request that is still running: longer than the service gives the broker

// Send a deed {method, path, content, isRepeatable}; gives {body, location, isReplay}. Throws a ProblemError.
// It sends again by itself in one case: the service says that the very same request is still running.
export async function act({ method, path, content, isRepeatable }) {
  if (isRepeatable) return exchange(path, { method, content }); // cancelling twice is cancelling: no key is asked for
  const meant = JSON.stringify([method, path, content ?? null]);
  if (!keys.has(meant)) keys.set(meant, crypto.randomUUID());
  for (let waits = 0; ; waits += 1) {
    try {
      const done = await exchange(path, { method, content, key: keys.get(meant) });
      keys.delete(meant); // settled: meant once more, it is another one
      return done;
    } catch (problem) {
      if (REFUSED.has(problem.slug)) keys.delete(meant); // settled too; a new try needs a new key
      if (problem.slug !== "idempotency-key-in-use" || waits === MOST_WAITS) throw problem;
      await pause((problem.retryAfter ?? 1) * 1000);
    }
  }
}

// Where no stream tells what changes: for this long after the news, ask every so often: unknown ones calmly, accepted ones until the book shows them.
const PACES = {
  unknown: [[5000, 1000], [30_000, 2000], [300_000, 5000], [1_800_000, 30_000]],
  accepted: [[5000, 1000], [20_000, 2000]],
  refused: [],
};

// How long to wait before asking again, null for "no more".
export function paceOf(outcome, age) {
  return PACES[outcome].find(([until]) => age < until)?.[1] ?? null;
}

// Ask what becomes of a placement, as long as `isWanted`, and show each answer. Gives true when all is known.
// Live, it asks once at the beginning, since the news may have been faster than the answer, and then at each news.
export async function follow(placement, location, { show, isWanted }) {
  const { next, stop } = ears("placements");
  let since = Date.now();
  let known = placement;
  let isSure = true; // false after a question that failed: that one is asked again, live or not
  try {
    if (isLive() && !isSettled(known)) {
      const answer = await ask(location);
      isSure = answer !== null;
      known = answer ?? known;
      if (answer) show(answer);
    }
    while (!isSettled(known)) {
      const wait = paceOf(known.outcome, Date.now() - since);
      if (wait === null && !isLive()) return false;
      await next(isLive() && isSure ? null : wait);
      if (!isWanted()) return false;
      if (document.hidden && !isLive()) continue;
      const answer = await ask(location);
      isSure = answer !== null;
      if (answer && answer.outcome !== known.outcome) since = Date.now();
      known = answer ?? known;
      if (answer) show(answer);
    }
  } finally {
    stop();
  }
  return true;
}

// Gives null where the answer says nothing about the order.
async function ask(location) {
  try {
    return await call(location, { isBackground: true });
  } catch (problem) {
    if (!(problem instanceof ProblemError) || problem.status === 401 || problem.status === 404) throw problem;
    return null;
  }
}

// "Accepted" is not the last word on an order: the broker's risk system, and then the exchange, look at it afterwards.
export function isSettled({ action, outcome, orders, order }) {
  if (outcome === "unknown") return false;
  if (outcome === "refused" || action !== "PLACE" || order?.variety === "AMO") return true;
  return orders.length > 0 && orders.every(({ status }) => status !== null && status !== "ACCEPTED");
}

export const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });
