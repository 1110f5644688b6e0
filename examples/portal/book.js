// The order book as the stream keeps it: what an event says of an order takes the place of what was read of it.

// Gives the list with the event's order in it; where that is new, at the end at which the newest stand.
export function withOrder(answer, { type, order, seenAt }) {
  const at = placeOf(answer, order);
  const asOf = Date.parse(seenAt) > Date.parse(answer.asOf) ? seenAt : answer.asOf;
  if (at >= 0) return { ...answer, asOf, orders: answer.orders.with(at, order) };
  if (type === "EXPIRED") return { ...answer, asOf }; // of an earlier day, so it belongs to no book of today
  const { orders } = answer;
  const isNewestLast = orders.length > 1 && Date.parse(orders[0].placedAt) < Date.parse(orders.at(-1).placedAt);
  return { ...answer, asOf, orders: isNewestLast ? [...orders, order] : [order, ...orders] };
}

export const placeOf = ({ orders }, { orderNo }) => orders.findIndex((each) => each.orderNo === orderNo);

// Of events, those of which an answer does not tell yet: one for each order, the newest.
export const behind = (answer, events) => events.filter(({ seenAt }) => Date.parse(seenAt) > Date.parse(answer.asOf));
export const withNewest = (events, event) => [...events.filter(({ order }) => order.orderNo !== event.order.orderNo), event];
