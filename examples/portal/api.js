// The one place that calls the backend. Every failure becomes a ProblemError; nothing is kept anywhere.

export class ProblemError extends Error {
  constructor(problem, answer) {
    super(problem.title ?? "Something went wrong");
    this.slug = String(problem.type ?? "").split("/").pop();
    this.type = problem.type;
    this.title = problem.title;
    this.detail = problem.detail;
    this.status = problem.status;
    this.loginUrl = problem.loginUrl;
    this.retryAfter = Number(answer?.headers.get("Retry-After")) || null;
    this.requestId = answer?.headers.get("X-Request-ID") ?? null;
  }
}

const UNREACHABLE = {
  type: "unreachable",
  title: "The service can't be reached",
  detail: "Check your connection and try again.",
  status: 0,
};

// Call one route; gives the parsed answer, or null where there is none. Throws a ProblemError.
export async function call(path, { method = "GET", isBackground = false } = {}) {
  const headers = { Accept: "application/json" };
  if (isBackground) headers["X-Background"] = "true";
  let answer;
  try {
    answer = await fetch(path, { method, headers, credentials: "include", cache: "no-store" });
  } catch {
    throw new ProblemError(UNREACHABLE);
  }
  if (answer.status === 204) return null;
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ProblemError(body, answer);
  return body;
}

export const readSession = (options) => call("/v1/session", options);
export const endSession = () => call("/v1/session", { method: "DELETE" });
export const readOrder = (orderNo) => call(`/v1/orders/${encodeURIComponent(orderNo)}`);

// Where the browser goes to sign in and come back to this very page.
export function signInUrl() {
  const here = new URL(location.href);
  here.search = here.hash = "";
  return `/sso/login?return_to=${encodeURIComponent(here.href)}`;
}
