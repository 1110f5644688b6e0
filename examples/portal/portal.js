// The portal: asks who is signed in, shows it, and forgets everything when nobody is.

import { endSession, call, readSession, signInUrl } from "./api.js";
import { badge, button, el, errorCard } from "./elements.js";
import { EXAMPLES } from "./examples.js";
import { clock, dayAndTime } from "./format.js";
import { content, SECTIONS } from "./sections.js";

const ASK_EVERY = 60_000; // milliseconds; a background question, so it does not keep an idle session alive
const HERE = new Set(["localhost", "127.0.0.1", "[::1]"]);
const SIGNED_OUT = new Set(["not-signed-in", "session-expired"]);

const portal = document.getElementById("portal");
const spoken = document.getElementById("spoken");
let asking = 0; // grows with each change of view, so that late answers of an older one are dropped

start();
window.addEventListener("pageshow", (event) => { if (event.persisted) start(); }); // Back must show nothing stale
setInterval(lookAgain, ASK_EVERY);

async function start() {
  const view = ++asking;
  portal.replaceChildren();
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

function showSignedOut(why) {
  asking += 1;
  portal.dataset.view = "signed-out";
  portal.replaceChildren(el("main", { class: "welcome" },
    el("img", { src: "favicon.svg", alt: "", width: "56", height: "56" }),
    el("h1", {}, "Your money, at a glance"),
    why ? el("p", { class: "notice", role: "alert" }, `${why}. Please sign in again.`) : null,
    el("p", {}, "Sign in with your broker to see your funds, holdings, positions and orders. Your password stays with Gopocket."),
    el("a", { class: "primary", href: signInUrl(), "data-testid": "sign-in" }, "Sign in with Gopocket")),
  errorGallery());
  say(why ? `${why}. Please sign in again.` : "Nobody is signed in.");
}

function showFailure(problem) {
  portal.dataset.view = "failure";
  portal.replaceChildren(el("main", { class: "welcome" }, errorCard(problem, start)));
}

function showSignedIn(session) {
  portal.dataset.view = "signed-in";
  portal.replaceChildren(header(session), banner(session.broker), el("main", { class: "sections" }, SECTIONS.map(sectionCard)), errorGallery());
  say(`Signed in as ${session.user.name ?? session.user.id}.`);
}

function header(session) {
  const { user, broker } = session;
  return el("header", {},
    el("div", { class: "who" },
      el("img", { src: "favicon.svg", alt: "", width: "36", height: "36" }),
      el("div", {},
        el("strong", { "data-testid": "investor-name" }, user.name ?? user.id),
        el("small", { "data-testid": "session-ends" },
          `${user.id} · signed in until ${dayAndTime(session.expiresAt)}, unused until ${dayAndTime(session.idleExpiresAt)}`))),
    el("div", { class: "tools" },
      badge(broker.connected ? `Gopocket until ${dayAndTime(broker.expiresAt)}` : "Gopocket session ended", broker.connected ? "good" : "bad"),
      button("Log out", logOut, "quiet", { "data-testid": "log-out" })));
}

function banner(broker) {
  const shown = el("div", { class: "banner", "data-testid": "banner", role: "alert", hidden: broker.connected },
    el("span", {}, "Your session at Gopocket has ended. What you see here is not up to date until you sign in again."),
    el("a", { class: "primary", href: signInUrl() }, "Sign in again"));
  return shown;
}

function sectionCard(section) {
  const asOf = el("small", { class: "as-of" });
  const body = el("div", { class: "body" });
  const card = el("section", { class: `card ${section.id}`, "data-testid": section.id, "aria-labelledby": `title-${section.id}` },
    el("div", { class: "head" }, el("h2", { id: `title-${section.id}` }, section.title), asOf,
      button("Refresh", () => load(section, card, body, asOf), "quiet small", { "aria-label": `Refresh ${section.title.toLowerCase()}` })),
    body);
  load(section, card, body, asOf);
  return card;
}

async function load(section, card, body, asOf) {
  const view = asking;
  card.dataset.state = "loading";
  if (!body.childElementCount) body.replaceChildren(el("div", { class: "skeleton", "aria-hidden": "true" }));
  try {
    const answer = await call(section.path);
    if (view !== asking) return;
    body.replaceChildren(content(section, answer));
    asOf.textContent = answer.asOf ? `as of ${clock(answer.asOf)}` : "";
    card.dataset.state = section.rows && !answer[section.rows].length ? "empty" : "ready";
  } catch (problem) {
    if (view === asking) failed(problem, card, body, asOf, () => load(section, card, body, asOf));
  }
}

function failed(problem, card, body, asOf, retry) {
  if (SIGNED_OUT.has(problem.slug)) return showSignedOut(problem.title);
  const isDead = problem.slug === "broker-session-expired";
  body.replaceChildren(isDead ? el("p", { class: "empty" }, "Not known until you sign in again.") : errorCard(problem, retry));
  asOf.textContent = "";
  card.dataset.state = "error";
  if (isDead && portal.querySelector(".banner").hidden) brokerEnded();
}

function brokerEnded() {
  portal.querySelector(".banner").hidden = false;
  lookAgain(); // the header tells the same as soon as the service does
}

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
    portal.querySelector("header").replaceWith(header(session));
    portal.querySelector(".banner").hidden = session.broker.connected;
  } catch (problem) {
    if (view === asking && SIGNED_OUT.has(problem.slug)) showSignedOut(problem.title);
  }
}

function errorGallery() {
  return el("details", { class: "gallery" }, el("summary", {}, "What errors look like"),
    el("p", {}, "Each problem has a page that says what a client should do."),
    el("div", { class: "examples" }, EXAMPLES.map((example) => el("div", {},
      errorCard(example), el("a", { href: `/problems/${example.slug}` }, `About ${example.slug}`)))));
}

function say(text) {
  spoken.textContent = text;
}
