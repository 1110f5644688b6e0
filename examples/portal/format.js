// How figures and times are shown. Money comes as a decimal string and stays one: no float ever touches it.

export const NONE = "–";

// "-236.09999" → "−236.10", "25000.5" → "25,000.50": Indian grouping, at least two decimals, at most four.
export function rupees(text) {
  if (text === null || text === undefined) return NONE;
  const negative = text.startsWith("-");
  const [whole, fraction = ""] = text.replace("-", "").split(".");
  const shown = `${grouped(whole)}.${(trimmed(fraction) || "").padEnd(2, "0")}`;
  return negative && /[1-9]/.test(shown) ? `−${shown}` : shown;
}

// Profit and loss, rounded to paise and with its sign.
export function signed(text) {
  if (text === null || text === undefined) return NONE;
  const rounded = toPaise(text);
  return direction(rounded) > 0 ? `+${rupees(rounded)}` : rupees(rounded);
}

export function direction(text) {
  if (!text || !/[1-9]/.test(text)) return 0;
  return text.startsWith("-") ? -1 : 1;
}

export function quantity(number) {
  if (number === null || number === undefined) return NONE;
  return number < 0 ? `−${grouped(String(-number))}` : grouped(String(number));
}

const CLOCK = new Intl.DateTimeFormat("en-IN", {
  timeZone: "Asia/Kolkata", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false,
});
const DAY = new Intl.DateTimeFormat("en-IN", {
  timeZone: "Asia/Kolkata", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hour12: false,
});

export const clock = (moment) => (moment ? `${CLOCK.format(new Date(moment))} IST` : NONE);
export const dayAndTime = (moment) => (moment ? `${DAY.format(new Date(moment))} IST` : NONE);
export const words = (text) => (text === null || text === undefined || text === "" ? NONE : String(text));

function grouped(digits) {
  const last = digits.slice(-3);
  const rest = digits.slice(0, -3).replace(/\B(?=(\d{2})+$)/g, ",");
  return rest ? `${rest},${last}` : last;
}

function toPaise(text) {
  const [whole, fraction = ""] = text.replace("-", "").split(".");
  const thousandths = BigInt(whole + fraction.padEnd(3, "0").slice(0, 3));
  const paise = String((thousandths + 5n) / 10n).padStart(3, "0");
  return `${text.startsWith("-") ? "-" : ""}${paise.slice(0, -2)}.${paise.slice(-2)}`;
}

function trimmed(fraction) {
  return fraction.length > 2 ? fraction.slice(0, 4).replace(/0+$/, "") : fraction;
}
