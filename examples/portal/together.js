// Events that come together cause one reading of each section, and many after each other no more than the limits bear.

import { tellSeen } from "./news.js";

const TOGETHER = 150; // milliseconds in which events count as one
const AFTER_REUSE = { funds: 1200 }; // milliseconds; its answer tells no `asOf`, and the service may show it for a second
const APART = { placements: TOGETHER }; // our own service's list: it costs the broker nothing
const APART_AT_THE_BROKER = 3000; // milliseconds from one reading to the next of what only the broker knows

const waiting = new Map(); // the id of a section → {timer, toldAt, seenAt}

// Have sections read again soon, because of something that was seen at a moment or, with none, just now.
export function readSoon(sections, seenAt = null) {
  for (const section of sections) {
    if (!waiting.has(section)) waiting.set(section, { timer: null, toldAt: -Infinity, seenAt: null });
    const mine = waiting.get(section);
    mine.seenAt = seenAt ?? mine.seenAt;
    const apart = APART[section] ?? APART_AT_THE_BROKER;
    mine.timer ??= setTimeout(() => {
      Object.assign(mine, { timer: null, toldAt: performance.now() });
      tellSeen(section, mine.seenAt);
    }, Math.max(AFTER_REUSE[section] ?? TOGETHER, mine.toldAt + apart - performance.now()));
  }
}

export function forgetWaiting() {
  for (const { timer } of waiting.values()) clearTimeout(timer);
  waiting.clear();
}
