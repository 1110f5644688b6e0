// The portal: asks who is signed in, shows it, and forgets everything when nobody is.

import { endSession, readSession, signInUrl } from "./api.js";
import { forgetCards, sectionCard } from "./cards.js";
import { badge, button, el, errorCard, redraw, say } from "./elements.js";
import { openDevices } from "./devices.js";
import { EXAMPLES } from "./examples.js";
import { dayAndTime } from "./format.js";
import { liveBadge } from "./live.js";
import { isLive, listen, tellRead } from "./news.js";
import { clearNotices } from "./notices.js";
import { SECTIONS } from "./sections.js";
import { openTicket } from "./ticket.js";
import { begin, keep, leave } from "./updates.js";

const ASK_EVERY = 60_000; // milliseconds, while no stream tells; a background question keeps no idle session alive
const HERE = new Set(["localhost", "127.0.0.1", "[::1]"]);
const SIGNED_OUT = new Set(["not-signed-in", "session-expired"]);

const portal = document.getElementById("portal");
let asking = 0; // grows with each change of view, so that late answers of an older one are dropped

start();
window.addEventListener("pageshow", (event) => { if (event.persisted) start(); }); // Back must show nothing stale
document.addEventListener("visibilitychange", lookAgain); // somebody has come back to it
setInterval(() => { if (!isLive()) lookAgain(); }, ASK_EVERY);
listen("problem", judge);
listen("unsure", lookAgain);

async function start() {
  const view = ++asking;
  forget();
  portal.setAttribute("aria-busy", "true");
  try {
    const session = await readSession();
    if (view === asking) showSignedIn(session);
  } catch (problem) {
    if (goHome(problem.loginUrl)) return;
    if (view === asking) SIGNED_OUT.has(problem.slug) ? showSignedOut(problem.slug === "session-expired" && problem.title) : showFailure(problem);
  }
  portal.setAttribute("aria-busy", "false");
}

// This machine has two names, and cookies belong to one of them: go on under the name that the service knows.
function goHome(loginUrl) {
  const home = loginUrl ? new URL(loginUrl) : location;
  if (home.hostname === location.hostname || home.port !== location.port || !HERE.has(home.hostname)) return false;
  location.replace(home.origin + location.pathname);
  return true;
}

// Nothing of whoever was signed in stays, and nothing of his is heard any more.
function forget() {
  leave(true);
  forgetCards();
  clearNotices();
  say("");
  delete portal.dataset.user;
  portal.replaceChildren();
}

function showSignedOut(why) {
  asking += 1;
  forget();
  portal.dataset.view = "signed-out";
  portal.replaceChildren(el("main", { class: "welcome" },
    el("img", { src: "favicon.svg", alt: "", width: "56", height: "56" }),
    el("h1", {}, "Your money, at a glance"),
    why ? el("p", { class: "notice", role: "alert" }, `${why}. Please sign in again.`) : null,
    el("p", {}, "Sign in with your broker to see your funds, holdings and positions, and to place orders. Your password stays with Gopocket."),
    el("a", { class: "primary", href: signInUrl(), "data-testid": "sign-in" }, "Sign in with Gopocket")),
  errorGallery());
  say(why ? `${why}. Please sign in again.` : "Nobody is signed in.");
}

function showFailure(problem) {
  asking += 1;
  forget();
  portal.dataset.view = "failure";
  portal.replaceChildren(el("main", { class: "welcome" }, errorCard(problem, start)));
}

function showSignedIn(session) {
  portal.dataset.view = "signed-in";
  portal.dataset.user = session.user.id;
  const ready = begin(session.broker.connected, session.user.id);
  portal.replaceChildren(header(session), banner(session.broker),
    el("main", { class: "sections" }, SECTIONS.map((section) => sectionCard(section, ready))), errorGallery());
  // Whoever was signed in by another's doing sees here that the name is not his.
  say(`Signed in as ${session.user.name ?? session.user.id} at ${dayAndTime(session.signedInAt)}.`);
}

function header(session) {
  const { user, broker } = session;
  return el("header", {},
    el("div", { class: "who" },
      el("img", { src: "favicon.svg", alt: "", width: "36", height: "36" }),
      el("div", {},
        el("strong", { "data-testid": "investor-name" }, user.name ?? user.id), " ", liveBadge(),
        el("small", { "data-testid": "session-ends" },
          `${user.id} · signed in at ${dayAndTime(session.signedInAt)}, until ${dayAndTime(session.expiresAt)}, unused until ${dayAndTime(session.idleExpiresAt)}`))),
    el("div", { class: "tools" },
      broker.connected ? button("New order", () => openTicket(symbolsOnPage()), "primary", { id: "new-order" }) : null,
      badge(broker.connected ? `Gopocket until ${dayAndTime(broker.expiresAt)}` : "Gopocket session ended", broker.connected ? "good" : "bad"),
      button("Devices", () => openDevices(() => showSignedOut()), "quiet", { id: "devices", "data-testid": "devices" }),
      button("Log out", logOut, "quiet", { id: "log-out", "data-testid": "log-out" })));
}

function banner(broker) {
  const shown = el("div", { class: "banner", "data-testid": "banner", role: "alert", hidden: broker.connected },
    el("span", {}, "Your session at Gopocket has ended. What you see here is not up to date until you sign in again."),
    el("a", { class: "primary", href: signInUrl() }, "Sign in again"));
  return shown;
}

// A problem that somebody met, wherever it was: two of them concern the whole page.
function judge(problem) {
  if (SIGNED_OUT.has(problem.slug) && portal.dataset.view !== "signed-out") showSignedOut(problem.title);
  if (problem.slug === "user-blocked") showFailure(problem);
  if (problem.slug !== "broker-session-expired" || !portal.querySelector(".banner")?.hidden) return;
  portal.querySelector(".banner").hidden = false;
  lookAgain(); // the header tells the same as soon as the service does
}

const symbolsOnPage = () => [...new Set([...portal.querySelectorAll('td[data-title="Symbol"]')].map((cell) => cell.textContent))].sort();

async function logOut() {
  try {
    await endSession();
    showSignedOut();
  } catch (problem) {
    SIGNED_OUT.has(problem.slug) ? showSignedOut() : showFailure(problem);
  }
}

async function lookAgain() {
  if (portal.dataset.view !== "signed-in" || document.hidden) return;
  const view = asking;
  try {
    const session = await readSession({ isBackground: true });
    if (view !== asking) return;
    if (session.user.id !== portal.dataset.user) { // somebody else has signed in, in another tab
      start();
      return;
    }
    redraw(() => portal.querySelector("header").replaceWith(header(session)));
    portal.querySelector(".banner").hidden = session.broker.connected;
    keep(session.broker.connected);
    tellRead();
  } catch (problem) {
    if (view === asking) judge(problem);
  }
}

function errorGallery() {
  return el("details", { class: "gallery" }, el("summary", {}, "What errors look like"),
    el("p", {}, "Each problem has a page that says what a client should do."),
    el("div", { class: "examples" }, EXAMPLES.map((example) => el("div", {},
      errorCard(example), el("a", { href: `/problems/${example.slug}` }, `About ${example.slug}`)))));
}
