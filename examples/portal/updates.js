// What happens to the orders, as it happens: the one place that knows the stream of order updates, and when it is open.
// It listens first and the sections are read then, so that nothing happens unseen between the two.

import { tellChanged, tellLive, tellOrder, tellProblem, tellUnsure } from "./news.js";
import { forgetWaiting, readSoon } from "./together.js";
import { ENDS, isFirstSight, isFill } from "./wording.js";

const PATH = "/v1/order-updates";
const PATIENCE = 2000; // milliseconds; after that the page is read without the stream, and once more when it comes
const ASK_AFTER = [500, 2000, 5000, 15_000, 60_000]; // milliseconds, for a stream that was refused
const AFTER_ITS_END = 30_000; // milliseconds in which a stream should have ended that has said when it does
const LIVES = [60_000, 1_800_000]; // milliseconds; what is believed of a stream's life, whatever this machine's clock says
const SLACK = 60_000; // milliseconds by which the broker's clock may differ

const COMES_BACK = new Set(["reconnect", "temporarily-unavailable"]);
const EVERYTHING = ["orders", "placements", "positions", "trades", "funds", "holdings"];
const AFTER_A_FILL = ["positions", "trades", "holdings"];

let stream = null;
let lastId = null; // of the last event that came: what came after it is told again
let hasGap = false; // whether something may have happened since the sections were read that no stream will tell
let whose = null; // the user whose page this is
let openedAt = 0; // when this view of the page began, on the clock that nobody sets
let refusals = 0; // in a row
let timers = {}; // by what they are for
let ready = () => {};

// Begin a new view of the page, a user's. Gives a promise after which the sections can be read.
export function begin(isWanted, userId) {
  leave();
  whose = userId;
  hasGap = false;
  openedAt = performance.now();
  if (!isWanted) return Promise.resolve();
  const begun = new Promise((resolve) => { ready = resolve; });
  timers.patience = setTimeout(goOnWithout, PATIENCE);
  tellLive("reconnecting");
  open();
  return begun;
}

// The same view goes on: see to it that the stream is open if it is wanted, and closed if it is not.
export function keep(isWanted) {
  if (!isWanted) leave(true);
  else if (!stream) open();
}

export function leave(isExplained = false) {
  stream?.close();
  stream = lastId = null;
  hasGap = true;
  refusals = 0;
  Object.values(timers).forEach(clearTimeout);
  timers = {};
  forgetWaiting();
  ready();
  tellLive("off", isExplained);
}

window.addEventListener("pagehide", () => leave(true));
window.addEventListener("online", reopen); // the old connection may be dead without anybody having said so

function open() {
  clearTimeout(timers.asking);
  const mine = stream = new EventSource(lastId === null ? PATH : `${PATH}?since=${encodeURIComponent(lastId)}`);
  const on = (name, hear) => mine.addEventListener(name, (message) => {
    if (mine !== stream) return;
    lastId = message.lastEventId || lastId;
    hear(JSON.parse(message.data));
  });
  on("connected", greet);
  on("order-update", hearOrder);
  on("placements-changed", () => readSoon(["placements"]));
  on("reset", () => tellChanged(...EVERYTHING));
  on("end", end);
  mine.onerror = () => { if (mine === stream) lose(); };
}

function reopen() {
  if (!stream) return;
  stream.close();
  tellLive("reconnecting");
  open();
}

function greet({ endsAt, userId }) {
  if (userId !== whose) return leaveStranger();
  const isFirst = timers.patience !== undefined;
  refusals = 0;
  tellLive("live");
  if (hasGap) tellChanged(...EVERYTHING);
  else if (!isFirst) tellChanged("placements"); // news of these have no id, so none is told again
  if (!isFirst) tellUnsure(); // in another tab somebody else may have signed in meanwhile
  hasGap = false;
  goOn();
  watchLife(Date.parse(endsAt) - Date.now());
}

// In another tab somebody else has signed in since: his orders have no place on this page.
function leaveStranger() {
  leave(true);
  tellUnsure();
}

// A connection can die in silence: no heartbeat is shown to a page. But every stream has said when it ends.
function watchLife(life) {
  const [least, most] = LIVES;
  clearTimeout(timers.life);
  timers.life = setTimeout(reopen, Math.min(Math.max(life, least), most) + AFTER_ITS_END);
}

function goOn() {
  clearTimeout(timers.patience);
  delete timers.patience;
  ready();
}

function goOnWithout() {
  hasGap = hasGap || timers.patience !== undefined;
  goOn();
}

function hearOrder(event) {
  tellOrder(event);
  if (isFirstSight(event, performance.now() - openedAt + SLACK)) return;
  readSoon(["placements", "funds", ...(isFill(event) ? AFTER_A_FILL : [])], event.seenAt);
}

function end({ reason }) {
  if (COMES_BACK.has(reason)) return tellLive("reconnecting"); // the browser connects anew by itself
  leave(true);
  return tellProblem(ENDS[reason] ?? { slug: reason });
}

// The browser tries again by itself where the connection was lost. Where it was refused it does not, and can't tell why.
function lose() {
  goOnWithout();
  if (stream.readyState !== EventSource.CLOSED) return tellLive("reconnecting");
  stream = null;
  clearTimeout(timers.life);
  tellLive("off");
  return askLater();
}

function askLater() {
  timers.asking = setTimeout(() => {
    askLater();
    tellUnsure();
  }, ASK_AFTER[Math.min(refusals, ASK_AFTER.length - 1)]);
  refusals += 1;
}
