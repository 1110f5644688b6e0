// Short notices of what has become of an order for good; they are in nobody's way and go by themselves.

import { button, el } from "./elements.js";
import { listen } from "./news.js";
import { eventText, FINAL_TONES, isFirstSight } from "./wording.js";

const SHOWN_FOR = 12_000; // milliseconds; what they say stands in the table, too
const FRESH = 60_000; // milliseconds from what happened to its being seen, for an order that nobody had shown before
const MOST = 3; // the oldest makes room

const place = document.getElementById("notices");

listen("order", (event) => {
  const tone = FINAL_TONES[event.type];
  if (!tone || isFirstSight(event, FRESH)) return;
  const note = el("p", { class: `note ${tone}`, "data-testid": "notice" }, el("span", {}, eventText(event)),
    button("✕", () => note.remove(), "leave", { "aria-label": "Dismiss" }));
  place.append(note);
  while (place.childElementCount > MOST) place.firstElementChild.remove();
  setTimeout(() => note.remove(), SHOWN_FOR);
});

export const clearNotices = () => place.replaceChildren();
