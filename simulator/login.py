"""The broker's login page: choose an investor, give the password, go back to the vendor with a code."""

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator.pages import login_page, refusal_page
from simulator.state import Broker


def routes() -> list[Route]:
    """Return the login's one address."""
    return [Route("/", _show, methods=["GET"]), Route("/", _log_in, methods=["POST"])]


async def _show(request: Request) -> Response:
    broker: Broker = request.app.state.broker
    return _refusal(request, broker) or HTMLResponse(login_page(broker, broker.config.app_code))


async def _log_in(request: Request) -> Response:
    """Hand out a code for the right password, and the page again for any other."""
    broker: Broker = request.app.state.broker
    refusal = _refusal(request, broker)
    if refusal:
        return refusal
    form = parse_qs((await request.body()).decode())
    investor = broker.investor(form.get("userId", [""])[0])
    if investor is None or form.get("password", [""])[0] != investor.password:
        chosen = investor.id if investor else ""
        page = login_page(broker, broker.config.app_code, "User id or password is wrong.", chosen)
        return HTMLResponse(page, status_code=200)
    code = broker.hand_out_code(investor)
    # By plain concatenation, as the broker does it (contract §1.1).
    return RedirectResponse(f"{broker.app.redirect_url}?authCode={code}&userId={investor.sso_id}", status_code=303)


def _refusal(request: Request, broker: Broker) -> Response | None:
    """Return the page that a wrong or not yet approved app leads to; the user never goes back from it."""
    if request.query_params.get("appcode") != broker.config.app_code:
        return HTMLResponse(refusal_page("There is no app with this code."))
    if not broker.app.approved:
        return HTMLResponse(refusal_page("The app has not been activated by Gopocket yet."))
    return None
