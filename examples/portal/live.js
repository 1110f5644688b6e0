// Whether the page lives from the stream: a badge in the header, and a word to whoever can't see it.

import { badge, say } from "./elements.js";
import { clock } from "./format.js";
import { listen } from "./news.js";

const SAID_AFTER = 5000; // milliseconds; a short break concerns nobody
const TONES = { live: "good", reconnecting: "warn", off: "calm" };

const shown = badge("", "calm");
shown.dataset.testid = "live";
let state = "off";
let readAt = null; // when something was last read, or came
let timer;
let hasSaid = false;

listen("live", (now) => {
  if (state === "live") readAt = new Date();
  state = now.state;
  draw();
  clearTimeout(timer);
  if (state === "live") sayAgain();
  else if (!now.isExplained) timer = setTimeout(sayLost, SAID_AFTER);
});
listen("read", () => {
  readAt = new Date();
  draw();
});
draw();

export const liveBadge = () => shown;

function draw() {
  const texts = { live: "Live", reconnecting: "Reconnecting…", off: readAt ? `Not live, looked at ${clock(readAt)}` : "Not live" };
  shown.className = `badge ${TONES[state]}`;
  shown.dataset.live = state;
  if (shown.textContent !== texts[state]) shown.textContent = texts[state];
}

function sayLost() {
  hasSaid = true;
  say("Not live: what you see may be a minute old.");
}

function sayAgain() {
  if (hasSaid) say("Live again.");
  hasSaid = false;
}
