// How one part of the page tells the others, without knowing them: what has changed, and what concerns everybody.

const news = new EventTarget();
let live = "off"; // "live", "reconnecting" or "off": whether changes come by themselves

export function listen(what, hear, signal) {
  news.addEventListener(what, (event) => hear(event.detail), { signal });
}

const tell = (what, detail) => news.dispatchEvent(new CustomEvent(what, { detail }));

// Sections that are worth reading again, by their ids.
export const tellChanged = (...sections) => tell("changed", { sections });

// The same because of something that was seen at a moment: an answer from before it does not tell of it.
export const tellSeen = (section, seenAt) => tell("changed", { sections: [section], seenAt });

// What has happened to an order, as the service tells it.
export const tellOrder = (event) => tell("order", event);

// A problem that ends more than the call it came from: nobody is signed in any more, here or at the broker.
export const tellProblem = (problem) => tell("problem", problem);

// Nobody can say any more whether the sessions live: somebody had better ask.
export const tellUnsure = () => tell("unsure");

// Something has just been read successfully.
export const tellRead = () => tell("read");

// Whether changes come by themselves; `isExplained` where the page says why they don't.
export function tellLive(state, isExplained = false) {
  if (state === live) return;
  live = state;
  tell("live", { state, isExplained });
}

export const isLive = () => live === "live";

// Listen for news of one section from now on. Gives {next, stop}; `next` waits until there is some since the last time,
// for at most so many milliseconds (null: for as long as it takes), and for a change of what `isLive` says.
export function ears(section) {
  const ending = new AbortController();
  let hasNews = false;
  let wake = null;
  const hear = () => {
    hasNews = true;
    wake?.();
  };
  listen("changed", ({ sections }) => { if (sections.includes(section)) hear(); }, ending.signal);
  listen("live", hear, ending.signal);
  const next = (milliseconds) => new Promise((resolve) => {
    const timer = milliseconds === null || hasNews ? null : setTimeout(() => wake(), milliseconds);
    wake = () => {
      clearTimeout(timer);
      wake = null;
      hasNews = false;
      resolve();
    };
    if (hasNews) wake();
  });
  return { next, stop: () => ending.abort() };
}
