// The devices on which somebody is signed in: looked at, and ended one by one or all at once.

import { endEverySession, endOneSession, readSessions } from "./api.js";
import { buttons, openDialog, unhurried } from "./dialogs.js";
import { button, el, errorCard, table } from "./elements.js";
import { dayAndTime, NONE } from "./format.js";
import { tellProblem } from "./news.js";
import { deviceName } from "./wording.js";

// Open the list; `onGone` is called when this very device has been signed out.
export async function openDevices(onGone) {
  const dialog = openDialog("Your devices", el("p", {}, "One moment…"));
  await show(dialog, onGone);
}

async function show(dialog, onGone) {
  try {
    const { sessions } = await readSessions();
    dialog.show("Your devices", list(dialog, sessions, onGone));
  } catch (problem) {
    tellProblem(problem);
    dialog.show("Your devices", errorCard(problem, () => show(dialog, onGone)));
  }
}

function list(dialog, sessions, onGone) {
  const rows = table("Your devices", [
    { title: "Device", show: (each) => `${deviceName(each.userAgent)}${each.current ? " (this one)" : ""}` },
    { title: "Network", show: (each) => each.addressPrefix ?? NONE },
    { title: "Last used", kind: "time", show: (each) => dayAndTime(each.lastSeenAt) },
    { title: "End", kind: "actions", show: (each) => (each.current ? "" : endButton(dialog, each, onGone)) },
  ], sessions);
  const everywhere = button("Log out everywhere", () => end(dialog, everywhere, endEverySession, () => {
    dialog.close();
    onGone();
  }), "primary", { "data-testid": "log-out-everywhere" });
  return [rows, buttons(everywhere)];
}

function endButton(dialog, session, onGone) {
  const pressed = button("Log out", () => end(dialog, pressed, () => endOneSession(session.id), () => show(dialog, onGone)));
  return pressed;
}

// One that has ended by itself meanwhile is as good as ended.
function end(dialog, pressed, ending, next) {
  return unhurried(dialog, pressed, async () => {
    try {
      await ending();
    } catch (problem) {
      tellProblem(problem);
      if (problem.slug !== "not-found") return () => dialog.show("Your devices", errorCard(problem));
    }
    return next;
  });
}
