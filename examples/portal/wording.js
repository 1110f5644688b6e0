// The words of the trade, and how outcomes are told. Honest first: nothing here says more than is known.

import { quantity, rupees } from "./format.js";

export const SIDES = { BUY: "Buy", SELL: "Sell" };
export const EXCHANGES = { NSE: "NSE", BSE: "BSE", NFO: "NFO", BFO: "BFO", CDS: "CDS", BCD: "BCD", MCX: "MCX" };
export const PRODUCTS = { CNC: "Delivery (CNC)", MIS: "Intraday (MIS)", NRML: "Carry forward (NRML)", MTF: "Margin funding (MTF)" };
export const ORDER_TYPES = { LIMIT: "Limit", MARKET: "Market", SL: "Stop limit", "SL-M": "Stop market" };
export const VALIDITIES = { DAY: "Day", IOC: "Immediate or cancel" };
export const VARIETIES = { REGULAR: "Regular", AMO: "After market" };

export const hasPrice = (orderType) => orderType === "LIMIT" || orderType === "SL";
export const hasTrigger = (orderType) => orderType === "SL" || orderType === "SL-M";

const FINAL = new Set(["COMPLETE", "CANCELLED", "REJECTED"]);
export const isFinal = (status) => FINAL.has(status);

// "Buy 10 IDEA-EQ"
export const headline = (order) =>
  `${SIDES[order.transactionType] ?? order.transactionType} ${quantity(order.quantity)} ${order.tradingSymbol}`;

// "NSE · CNC · Limit 14.10 · trigger 14.00 · IOC · after market"
export function terms(order) {
  return [
    order.exchange, order.product,
    order.price && hasPrice(order.orderType) ? `${ORDER_TYPES[order.orderType]} ${rupees(order.price)}` : ORDER_TYPES[order.orderType] ?? order.orderType,
    order.triggerPrice ? `trigger ${rupees(order.triggerPrice)}` : null,
    order.validity === "IOC" ? "IOC" : null,
    order.variety === "AMO" ? "after market" : null,
  ].filter(Boolean).join(" · ");
}

const NOUNS = { PLACE: "order", MODIFY: "change", CANCEL: "cancel", CONVERT: "conversion" };
// The first sign that is found counts: most of them also say that they are Safari.
const BROWSERS = [["Edg", "Edge"], ["OPR/", "Opera"], ["SamsungBrowser", "Samsung Internet"], ["Firefox", "Firefox"], ["FxiOS", "Firefox"],
  ["CriOS", "Chrome"], ["Chrome", "Chrome"], ["Safari", "Safari"]];
const SYSTEMS = [["Android", "Android"], ["iPhone", "iPhone"], ["iPad", "iPad"], ["Windows", "Windows"], ["Mac OS", "macOS"], ["CrOS", "ChromeOS"],
  ["Linux", "Linux"]];

export const nounOf = (action) => NOUNS[action] ?? "request";

export function outcomeTitle({ action, outcome }) {
  const noun = nounOf(action);
  if (outcome === "accepted") return `The broker has taken the ${noun}`;
  return outcome === "refused" ? `The ${noun} was refused` : `Nobody knows yet whether the broker has the ${noun}`;
}

export function outcomeAdvice({ action, outcome }) {
  if (outcome === "unknown") return "Don't send it again: it may be there already. We are finding out, and tell it here as soon as it is known.";
  if (outcome === "accepted" && action === "PLACE") return "That is not a fill yet: below is what the order book says of it.";
  return "";
}

const REASONS = {
  "not-sent": "Nothing was sent: there was no connection to the broker in time.",
  "not-found-at-broker": "It never reached the broker's book.",
  "not-in-the-book": "The broker's book does not show it so far, which proves nothing yet.",
  "may-be-one-of-candidates": "The broker's book shows orders that might be this one.",
  "sender-lost": "We were interrupted while sending it.",
  "outcome-not-stored": "We could not write down what the broker said.",
  "trading-day-over": "The trading day ended before it was known. The broker can tell.",
  "broker-session-expired": "The broker no longer knew your session. Sign in again.",
  "broker-rate-limited": "The broker had too many calls.",
  "broker-timeout": "The broker did not answer in time.",
  "broker-unavailable": "The connection to the broker broke.",
  "broker-fault": "The broker's answer made no sense.",
};

// What the end of the stream says of the sessions, as the problem that the next request would meet.
export const ENDS = {
  "signed-out": { slug: "not-signed-in", title: "Nobody is signed in" },
  "session-expired": { slug: "session-expired", title: "The session has expired" },
  "user-blocked": { slug: "user-blocked", status: 403, title: "This user is blocked", detail: "Nothing is shown and nothing can be ordered. Please ask us." },
  "broker-session-expired": { slug: "broker-session-expired", title: "The session at the broker has ended" },
};

export const isFill = ({ type }) => type === "PARTLY_FILLED" || type === "FILLED";
export const FINAL_TONES = { FILLED: "good", REJECTED: "bad", CANCELLED: "calm", EXPIRED: "calm" };

// Whether an event only shows an order for the first time, of which the broker knew for longer than so many
// milliseconds by then: to whoever has just opened the page that is the day so far, and no news.
export const isFirstSight = ({ changes, brokerAt, seenAt }, milliseconds) =>
  !changes.length && brokerAt !== null && Math.abs(Date.parse(seenAt) - Date.parse(brokerAt)) > milliseconds;

// "IDEA-EQ: rejected, RED:Margin Shortfall:INR 12"
export function eventText({ type, order }) {
  const average = order.averagePrice ? ` at ${rupees(order.averagePrice)}` : "";
  const told = {
    FILLED: `filled, ${quantity(order.filledQuantity)}${average}`,
    REJECTED: ["rejected", order.rejectionReason].filter(Boolean).join(", "),
    CANCELLED: `cancelled, ${quantity(order.filledQuantity ?? 0)} of ${quantity(order.quantity)} filled`,
    EXPIRED: `expired, ${quantity(order.filledQuantity ?? 0)} of ${quantity(order.quantity)} filled`,
  };
  return `${order.tradingSymbol ?? `Order ${order.orderNo}`}: ${told[type] ?? type}`;
}

// A reason is a slug of ours or the broker's own words.
export const reasonText = (reason) => (reason ? REASONS[reason] ?? `The broker says: ${reason}` : "");

// "Firefox on Android": what browsers say of themselves is long, and each names all the others too.
export function deviceName(userAgent) {
  const browser = BROWSERS.find(([sign]) => userAgent?.includes(sign))?.[1];
  const system = SYSTEMS.find(([sign]) => userAgent?.includes(sign))?.[1];
  return [browser ?? userAgent?.split(/[ /]/)[0] ?? "Unknown browser", system].filter(Boolean).join(" on ");
}
