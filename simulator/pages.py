"""The simulator's two pages: the login that an investor sees, and the switches that a developer sees."""

from html import escape
from urllib.parse import quote

from simulator.calls import CALLS
from simulator.clock import now, time_first
from simulator.faults import ABOUT_FAULTS
from simulator.investors import Investor
from simulator.limits import LENGTHS, Limits
from simulator.orders import Order
from simulator.shapes import shape_names
from simulator.state import Broker
from simulator.webhooks import Webhooks

_CALLS = [("*", "every call"), *((call, call) for call in CALLS)]
_FAULTS = [(name, f"{name}: {about}") for name, about in ABOUT_FAULTS.items()]
_WEBHOOK_BUTTONS = (
    ("lose", "Lose all updates"), ("duplicate", "Post each twice"), ("forge", "Forge an update"),
    ("restore", "Put back"),
)  # fmt: skip

_STYLE = """
:root{color-scheme:light dark;--ink:#1d1530;--soft:#6b6480;--paper:#f6f4fb;--card:#fff;--line:#e2dcf0;--accent:#5b2bd9}
@media(prefers-color-scheme:dark){:root{--ink:#ece8f6;--soft:#a59dbb;--paper:#14101d;--card:#1d1729;--line:#352b49;
--accent:#9d7bff}}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
.strip{background:#b3261e;color:#fff;text-align:center;font-weight:700;letter-spacing:.25em;padding:.35rem}
main{max-width:34rem;margin:2rem auto;padding:2rem;background:var(--card);border:1px solid var(--line);
border-radius:14px}main.wide{max-width:72rem}
h1{margin:0 0 .25rem;font-size:1.4rem}p{color:var(--soft);margin:.4rem 0 1rem}
label.card{display:flex;gap:.8rem;align-items:center;padding:.7rem .9rem;margin:.5rem 0;border:1px solid var(--line);
border-radius:10px;cursor:pointer}label.card:has(:checked){border-color:var(--accent);outline:1px solid var(--accent)}
label.card small{display:block;color:var(--soft)}input[type=password],select{font:inherit;padding:.5rem;
border-radius:8px;border:1px solid var(--line);background:var(--paper);color:inherit}select{max-width:26rem}
button{font:inherit;font-weight:600;padding:.55rem 1.2rem;border:0;border-radius:9px;background:var(--accent);
color:#fff;cursor:pointer}.error{color:#b3261e;font-weight:600}table{border-collapse:collapse;width:100%;font-size:.9rem}
td,th{text-align:left;padding:.35rem .5rem;border-bottom:1px solid var(--line)}
form.row{display:flex;gap:.5rem;flex-wrap:wrap;margin:.35rem 0}
"""


def login_page(broker: Broker, app_code: str, error: str = "", chosen: str = "") -> str:
    """Return the page at which an investor proves who he is."""
    everybody = list(broker.investors.values())
    cards = "".join(_card(each, is_chosen=each.id == (chosen or everybody[0].id)) for each in everybody)
    told = f'<p class="error" role="alert">{escape(error)}</p>' if error else ""
    return _page(
        "Log in to Gopocket (simulator)",
        f"<h1>Log in to Gopocket</h1><p>to go on to the app <b>{escape(app_code)}</b>. "
        "No real broker, no real money.</p>"
        f'{told}<form method="post" action="/?appcode={quote(app_code, safe="")}">{cards}'
        '<p><label>Password <input type="password" name="password" value="demo" autocomplete="off"></label> '
        "<small>it is <code>demo</code>; type another one to be refused</small></p><button>Log in</button></form>",
    )


def refusal_page(text: str) -> str:
    """Return the page from which nobody comes back."""
    return _page("Gopocket (simulator)", f"<h1>This app can't be used</h1><p>{escape(text)}</p>")


def switches_page(broker: Broker) -> str:
    """Return the page on which a developer looks at the simulator and breaks it."""
    rows = "".join(_row(broker, investor) for investor in broker.investors.values())
    counts = {call: sum(each["call"] == call for each in broker.requests) for call in CALLS}
    calls = "".join(f"<tr><td>{call}</td><td>{count}</td></tr>" for call, count in counts.items())
    approved = "approved" if broker.app.approved else "not approved"
    return _page(
        "Simulator switches",
        f"<h1>Switches</h1><p>App {escape(broker.config.app_code)} is {approved}; logins return to "
        f"{escape(broker.app.redirect_url)}</p>"
        '<form class="row" method="post" action="/_simulator/switch"><button name="action" '
        'value="approve">Approve the app</button><button name="action" value="disapprove">Withdraw approval</button>'
        '<button name="action" value="reset">Reset everything</button></form>'
        f"<h2>Investors</h2><table><tr><th>Investor</th><th>Switched on</th><th>Switch</th></tr>{rows}</table>"
        f"{_orders(broker.books.taken(now()), is_moving=broker.books.market.is_moving)}"
        f"{_webhooks(broker.webhooks, list(broker.investors))}"
        f"{_limits(broker.limits)}"
        f"<h2>Requests received</h2><table><tr><th>Call</th><th>Count</th></tr>{calls}</table>",
        wide=True,
    )


def _card(investor: Investor, *, is_chosen: bool) -> str:
    checked = " checked" if is_chosen else ""
    return (
        f'<label class="card"><input type="radio" name="userId" value="{escape(investor.id)}"{checked}><span>'
        f"<b>{escape(investor.name)}</b> · {escape(investor.id)}<small>{escape(investor.about)}</small></span></label>"
    )


def _row(broker: Broker, investor: Investor) -> str:
    whose = {investor.id, "*"}
    faults = [
        f"{call}: {fault.name}{' after it' if fault.after else ''}"
        for (user, call), fault in broker.faults.items()
        if user in whose
    ]
    shapes = [f"{call}: {shape}" for (user, call), shape in broker.shapes.items() if user in whose]
    orders = [f"{name}: {value}" for name, value in broker.books.switches.shown(investor.id).items()]
    webhooks = [f"webhooks {name}: {value}" for name, value in broker.webhooks.switches.shown(investor.id).items()]
    named = [(f"{call}={shape}", f"{call}: {shape}") for call in CALLS for shape in shape_names(call)]
    return (
        f"<tr><td><b>{escape(investor.name)}</b><br>{escape(investor.id)}</td>"
        f"<td>{escape('; '.join([*faults, *shapes, *orders, *webhooks]) or 'nothing')}</td><td>"
        f'<form class="row" method="post" action="/_simulator/switch"><input type="hidden" name="userId" '
        f'value="{escape(investor.id)}"><select name="call" aria-label="call">{_options(_CALLS)}</select>'
        f'<select name="kind" aria-label="fault">{_options(_FAULTS)}</select>'
        '<label><input type="checkbox" name="after" value="yes"> after it was carried out</label>'
        '<button name="action" value="set">Set fault</button></form>'
        f'<form class="row" method="post" action="/_simulator/switch"><input type="hidden" name="userId" '
        f'value="{escape(investor.id)}"><select name="kind" aria-label="shape">{_options(named)}</select>'
        '<button name="action" value="shape">Set shape</button>'
        '<button name="action" value="clear">Clear</button><button name="action" value="expire">Expire session</button>'
        "</form></td></tr>"
    )


def _orders(taken: list[Order], *, is_moving: bool) -> str:
    """Return every order that was taken, numbered, so that one can count."""
    rows = "".join(_order(number, order) for number, order in enumerate(taken, 1))
    move = ("stop", "Hold the prices") if is_moving else ("move", "Let the prices move")
    buttons = "".join(
        f'<button name="action" value="{action}">{words}</button>'
        for action, words in (move, ("open", "Open the market"), ("end", "End the day"))
    )
    return (
        f"<h2>Orders taken: {len(taken)}</h2>"
        f'<form class="row" method="post" action="/_simulator/switch-market">{buttons}</form>'
        "<table><tr><th>No.</th><th>Time</th><th>Order</th><th>User</th><th>Symbol</th><th>Side</th><th>Qty</th>"
        f"<th>Price</th><th>Remarks</th><th>Status</th></tr>{rows}</table>"
    )


def _order(number: int, order: Order) -> str:
    row = order.row()
    named = ("orderNo", "userId", "tradingSymbol", "transType", "qty", "price")
    shown = [
        str(number), time_first(order.taken_at), *(str(row[name]) for name in named), order.remarks, order.status,
    ]  # fmt: skip
    return f"<tr>{''.join(f'<td>{escape(each)}</td>' for each in shown)}</tr>"


def _webhooks(webhooks: Webhooks, users: list[str]) -> str:
    """Return who is subscribed and what was posted; the end of a URL is a secret of the vendor and not shown."""
    rows = "".join(
        f"<tr><td>{escape(user_id)}</td><td>{escape(url.rstrip('/').rpartition('/')[0])}/…</td></tr>"
        for user_id, url in webhooks.subscriptions()
    )
    buttons = "".join(f'<button name="action" value="{action}">{words}</button>' for action, words in _WEBHOOK_BUTTONS)
    tally = webhooks.tally
    return (
        f"<h2>Webhooks</h2><p>Order updates posted: {tally.posted}; without an answer: {tally.failed}; never sent: "
        f"{tally.lost}</p>"
        '<form class="row" method="post" action="/_simulator/switch-webhooks"><select name="userId" '
        f'aria-label="whose webhooks">{_options([("*", "everybody"), *((user, user) for user in users)])}</select>'
        f"{buttons}</form><table><tr><th>User</th><th>Callback URL</th></tr>{rows}</table>"
    )


def _limits(limits: Limits) -> str:
    """Return how many calls were received, and how many of them were over a limit."""
    rows = "".join(
        f"<tr><td>{escape(category)}</td><td>{limits.received[category]}</td>"
        f"{''.join(f'<td>{limits.refused[category][seconds]}</td>' for seconds in LENGTHS)}</tr>"
        for category in limits.table
    )
    done = "answered with 429" if limits.is_enforced else "counted and carried out"
    windows = "".join(f"<th>Over in {seconds} s</th>" for seconds in LENGTHS)
    return (
        f"<h2>Limits</h2><p>Calls over a limit: {limits.refused_calls}, of which {limits.refused_at_an_exchange} over "
        f"that of an exchange; they are {done}</p>"
        f"<table><tr><th>Category</th><th>Received</th>{windows}</tr>{rows}</table>"
    )


def _options(named: list[tuple[str, str]]) -> str:
    return "".join(f'<option value="{escape(value)}">{escape(shown)}</option>' for value, shown in named)


def _page(title: str, body: str, *, wide: bool = False) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><title>{escape(title)}</title><style>{_STYLE}</style></head><body>'
        f'<div class="strip">SIMULATOR</div><main class="{"wide" if wide else ""}">{body}</main></body></html>'
    )
