// What each error looks like to an investor, without having to break anything.

export const EXAMPLES = [
  { slug: "broker-session-expired", status: 401, title: "The session at the broker has ended", detail: "Only a new login renews it.", loginUrl: "/sso/login" },
  { slug: "session-expired", status: 401, title: "The session has expired", detail: "It was idle for too long.", loginUrl: "/sso/login" },
  { slug: "login-refused", status: 403, title: "The broker refused the login", detail: "The broker says: Invalid auth code", loginUrl: "/sso/login" },
  { slug: "broker-timeout", status: 504, title: "The broker did not answer in time" },
  { slug: "broker-unavailable", status: 503, title: "The broker can't be reached" },
  { slug: "broker-rate-limited", status: 503, title: "The broker limits its calls", retryAfter: 5 },
  { slug: "broker-fault", status: 502, title: "The broker's answer could not be used", detail: "The broker answered with something that can't be read." },
  { slug: "temporarily-unavailable", status: 503, title: "The service is temporarily unavailable", retryAfter: 2 },
  { slug: "internal-error", status: 500, title: "Something went wrong on our side", requestId: "3f6ea784f3860520" },
];
