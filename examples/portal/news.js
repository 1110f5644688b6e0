// How one part of the page tells the others, without knowing them: what has changed, and what concerns everybody.

const news = new EventTarget();

export const listen = (what, hear) => news.addEventListener(what, (event) => hear(event.detail));

const tell = (what, detail) => news.dispatchEvent(new CustomEvent(what, { detail }));

// Sections that are worth reading again, by their ids.
export const tellChanged = (...sections) => tell("changed", sections);

// A problem that ends more than the call it came from: nobody is signed in any more, here or at the broker.
export const tellProblem = (problem) => tell("problem", problem);
