// A dialog whose content changes from step to step, and back to where the keyboard was when it closes.

import { button, el } from "./elements.js";

const SHORTEST = 400; // milliseconds; longer than two taps take

// Gives {show, close, isShown, isBusy}; `show` puts another step in and goes to its heading.
export function openDialog(title, ...content) {
  const opener = document.activeElement;
  const heading = el("h2", { id: "dialog-title", tabindex: "-1" }, title);
  const body = el("div", { class: "step" }, content);
  const leave = button("✕", () => dialog.isBusy || node.close(), "leave", { "aria-label": "Close" });
  const node = el("dialog", { "aria-labelledby": "dialog-title" }, heading, body, leave); // last: Tab leads on, not out
  const dialog = {
    isBusy: false,
    isShown: () => node.isConnected,
    close: () => node.close(),
    show(next, ...step) {
      heading.textContent = next;
      body.replaceChildren(...step.flat().filter(Boolean));
      heading.focus();
      node.scrollTop = 0;
    },
  };
  node.addEventListener("cancel", (event) => { if (dialog.isBusy) event.preventDefault(); }); // Escape, while it is sent
  node.addEventListener("click", ignoreSecond, { capture: true });
  node.addEventListener("close", () => { node.remove(); goBack(opener); });
  document.getElementById("portal").append(node);
  node.showModal();
  return dialog;
}

// The second click of a double click was meant for the button that was there before, not for the one that is now.
function ignoreSecond(event) {
  if (event.detail < 2 || !event.target.closest("button")) return;
  event.preventDefault();
  event.stopPropagation();
}

// The table may have been drawn anew meanwhile: then it is the button of the same name, else the first of the page.
function goBack(opener) {
  const now = opener?.isConnected ? opener : document.getElementById(opener?.id);
  (now ?? document.getElementById("new-order"))?.focus();
}

// Do one thing at a time in a dialog, and never so fast that a second tap of the finger meets the next step.
export async function unhurried(dialog, pressed, doing) {
  if (dialog.isBusy) return;
  dialog.isBusy = true;
  pressed.setAttribute("aria-busy", "true");
  const shortest = new Promise((resolve) => { setTimeout(resolve, SHORTEST); });
  try {
    const next = await doing();
    await shortest;
    if (dialog.isShown()) next();
  } finally {
    dialog.isBusy = false;
    pressed.removeAttribute("aria-busy");
  }
}

export const buttons = (...all) => el("div", { class: "buttons" }, all.flat().filter(Boolean));
