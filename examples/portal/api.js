// The one place that calls the backend. Every failure becomes a ProblemError; nothing is kept anywhere.

const PATIENCE = 30_000; // milliseconds; the service itself gives up on the broker long before

export class ProblemError extends Error {
  constructor(problem, answer) {
    super(problem.title ?? "Something went wrong");
    this.slug = String(problem.type ?? "").split("/").pop();
    this.title = this.message;
    this.detail = problem.detail;
    this.status = problem.status ?? answer?.status ?? 0;
    this.errors = problem.errors ?? []; // of invalid-request: [{pointer, detail}]
    this.reason = problem.reason; // of order-refused: the broker's words or a slug
    this.placementId = problem.placementId; // what is remembered of the order that it is about
    this.loginUrl = problem.loginUrl;
    this.retryAfter = Number(answer?.headers.get("Retry-After")) || null;
    this.requestId = answer?.headers.get("X-Request-ID") ?? null;
  }

  // Whether the request may have been carried out all the same. Only the same key makes it safe to ask again.
  get leavesOpen() {
    return this.status === 0 || this.status >= 500 || this.slug === "idempotency-key-in-use";
  }
}

const UNREACHABLE = {
  type: "unreachable",
  title: "The service can't be reached",
  detail: "Check your connection and try again.",
};

// Call one route; gives the parsed answer, or null where there is none. Throws a ProblemError.
export const call = async (path, options) => (await exchange(path, options)).body;

// The same, with what the headers tell beside it: where to ask what becomes of it, and whether it is a replay.
export async function exchange(path, { method = "GET", content, key, isBackground = false, isFresh = false } = {}) {
  const headers = { Accept: "application/json" };
  if (content) headers["Content-Type"] = "application/json";
  if (key) headers["Idempotency-Key"] = key;
  if (isBackground) headers["X-Background"] = "true"; // a timer's question keeps nobody signed in
  if (isFresh) headers["Cache-Control"] = "no-cache"; // a person asks again: not what was read some seconds ago
  let answer;
  let body = null;
  try {
    answer = await fetch(path, {
      method, headers, body: content && JSON.stringify(content),
      // Without `cache: "no-store"`: nothing of ours is kept anyway, and with it our own wish could not be told apart.
      credentials: "include", signal: AbortSignal.timeout(PATIENCE),
    });
    if (answer.status !== 204) body = await answer.json();
  } catch {
    throw new ProblemError(UNREACHABLE, answer); // also what breaks off half-way: an order's fate is open then
  }
  if (!answer.ok) throw new ProblemError(body, answer);
  return { body, location: answer.headers.get("Location"), isReplay: answer.headers.has("Idempotency-Replayed") };
}

export const readSession = (options) => call("/v1/session", options);
export const endSession = () => call("/v1/session", { method: "DELETE" });
export const readSessions = () => call("/v1/sessions");
export const endOneSession = (id) => call(`/v1/sessions/${encodeURIComponent(id)}`, { method: "DELETE" });
export const endEverySession = () => call("/v1/sessions", { method: "DELETE" });
export const readOrder = (orderNo) => call(orderPath(orderNo));
export const previewMargin = (terms) => call("/v1/orders/margin", { method: "POST", content: terms });
export const orderPath = (orderNo) => `/v1/orders/${encodeURIComponent(orderNo)}`;
export const placementPath = (placementId) => `/v1/placements/${encodeURIComponent(placementId)}`;

// Where the browser goes to sign in and come back to this very page.
export function signInUrl() {
  const here = new URL(location.href);
  here.search = here.hash = "";
  return `/sso/login?return_to=${encodeURIComponent(here.href)}`;
}
