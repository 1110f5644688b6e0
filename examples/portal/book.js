// The order book as the stream keeps it: what an event says of an order takes the place of what was read of it.

// Gives the list with the event's order in it; where that is new, at the end at which the newest stand. Where they stand
// was told by the answer as it was read: it is kept with the list, since what is put in later may bear any time.
export function withOrder(answer, { type, order, seenAt }) {
  const at = placeOf(answer, order);
  const { orders, isNewestLast = areNewestLast(answer.orders) } = answer;
  const asOf = Date.parse(seenAt) > Date.parse(answer.asOf) ? seenAt : answer.asOf;
  const kept = { ...answer, asOf, isNewestLast };
  if (at >= 0) return { ...kept, orders: orders.with(at, order) };
  if (type === "EXPIRED") return kept; // of an earlier day, so it belongs to no book of today
  return { ...kept, orders: isNewestLast ? [...orders, order] : [order, ...orders] };
}

export const placeOf = ({ orders }, { orderNo }) => orders.findIndex((each) => each.orderNo === orderNo);

// Of events, those of which an answer does not tell yet: one for each order, the newest.
export const behind = (answer, events) => events.filter(({ seenAt }) => Date.parse(seenAt) > Date.parse(answer.asOf));
export const withNewest = (events, event) => [...events.filter(({ order }) => order.orderNo !== event.order.orderNo), event];

function areNewestLast(orders) {
  const times = orders.map(({ placedAt }) => Date.parse(placedAt)).filter((time) => !Number.isNaN(time));
  return times.length > 1 && times[0] < times.at(-1);
}
