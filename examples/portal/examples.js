// What each error looks like to an investor, without having to break anything.

export const EXAMPLES = [
  { slug: "broker-session-expired", status: 401, title: "The session at the broker has ended", detail: "Only a new login renews it.", loginUrl: "/sso/login" },
  { slug: "session-expired", status: 401, title: "The session has expired", detail: "It was idle for too long.", loginUrl: "/sso/login" },
  { slug: "login-refused", status: 403, title: "The broker refused the login", detail: "The broker says: Invalid auth code", loginUrl: "/sso/login" },
  { slug: "order-refused", status: 422, title: "The order was refused", detail: "The broker says: RED:Margin Shortfall:INR 7,412.40" },
  { slug: "placement-unresolved", status: 409, title: "An equal order is still unknown", detail: "Nothing has been sent. Wait for the first, or say that you mean a second one." },
  {
    slug: "invalid-request", status: 422, title: "The request is not valid",
    errors: [{ pointer: "/triggerPrice", detail: "must not be above price when buying" }, { pointer: "/product", detail: "is not open to this account" }],
  },
  { slug: "cap-exceeded", status: 422, title: "The order is over a cap", detail: "The order is for 5000 units; at most 1000 are allowed in one order." },
  { slug: "trading-halted", status: 403, title: "Trading is halted", detail: "The exchange has an outage. Cancels still pass." },
  { slug: "idempotency-key-in-use", status: 409, title: "The first request with this key is still running", retryAfter: 1 },
  { slug: "idempotency-key-reused", status: 422, title: "The key belongs to another request", detail: "Nothing has been sent." },
  { slug: "idempotency-key-missing", status: 400, title: "There is no Idempotency-Key", detail: "Nothing has been sent." },
  { slug: "broker-timeout", status: 504, title: "The broker did not answer in time" },
  { slug: "broker-unavailable", status: 503, title: "The broker can't be reached" },
  { slug: "broker-rate-limited", status: 503, title: "The broker limits its calls", retryAfter: 5 },
  { slug: "broker-fault", status: 502, title: "The broker's answer could not be used", detail: "The broker answered with something that can't be read." },
  { slug: "temporarily-unavailable", status: 503, title: "The service is temporarily unavailable", retryAfter: 2 },
  { slug: "internal-error", status: 500, title: "Something went wrong on our side", requestId: "3f6ea784f3860520" },
];
