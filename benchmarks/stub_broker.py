"""A broker outside Python, so that it takes little of the core that it shares: nginx, with an answer for each path.

Whose book is asked for stands in the token, as at the real one.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from app.clock import IST, Clock
from app.settings import EXCHANGE_PATHS
from benchmarks import broker_samples as samples
from workbench.children import Child, answers, free_port

SLOW = "SLOW"
"""Users of such names wait for their books, each a twentieth of a second longer than the one before."""

_CONFIG = """\
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    default_type application/json;
    sendfile on;
    tcp_nodelay on;
    keepalive_timeout 300s;
    keepalive_requests 100000000;
    open_file_cache max=200 inactive=1h;
    open_file_cache_valid 1h;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_authorization $whose {{ default nobody; "~^Bearer (?<named>[A-Z0-9]+)[.]" $named; }}
    map $whose $queue {{ default ""; "~^{slow}" slow; }}
    map "$connection/$connection_requests" $order_no {{
        "~^(?<made>[0-9]+)/(?<asked>[0-9]+)$" "{day}${{made}}00000$asked";
    }}
    limit_req_zone $queue zone=slow:1m rate=20r/s;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {folder}/answers;
        location = /healthz {{ return 200 '{{}}'; }}
        location = /od-rest/info/orderbook {{ limit_req zone=slow burst=500; rewrite ^ /book.$whose.json break; }}
        location = /client-rest/profile/getclientdetails {{ rewrite ^ /profile.$whose.json break; }}
        location = /od-rest/info/history {{ return 200 '{nothing}'; }}
        location = /od-rest/orders/execute {{ return 200 '{placed}'; }}
        location = /order-notify/webhook/subscribe {{ return 200 '{fine}'; }}
        location = /{exchange} {{ error_page 404 405 =200 /exchange.json; }}
        location = /exchange.json {{ open_file_cache off; }}
    }}
}}
"""


class StubBroker:
    """The running stand-in."""

    def __init__(self, port: int, answers_folder: Path, today: datetime) -> None:
        self.port = port
        self._answers = answers_folder
        self._today = today

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def know(self, user_id: str, *, rows: int = 6, is_whole: bool = False) -> None:
        """Keep a book of so many rows for a user; lean ones, or with every field there is."""
        made = (
            samples.whole_row(each, self._today, user_id) if is_whole else samples.lean_row(each, self._today)
            for each in range(rows)
        )  # fmt: skip
        self._write(f"book.{user_id}.json", samples.ok(made))
        self._write(f"profile.{user_id}.json", samples.profile(user_id))

    def expect_login(self, user_id: str) -> None:
        """Let the next exchange be this user's."""
        self._write("exchange.json", samples.logged_in(user_id))

    def book_size(self, user_id: str) -> int:
        """Return the bytes of a user's book."""
        return (self._answers / f"book.{user_id}.json").stat().st_size

    def _write(self, name: str, content: str) -> None:
        (self._answers / name).write_text(content, "utf-8")


def config(folder: Path, port: int, today: datetime) -> str:
    """Return nginx's configuration for a folder of ours that has the answers in `answers/`."""
    return _CONFIG.format(
        folder=folder,
        port=port,
        slow=SLOW,
        day=f"{today:%y%m%d}",
        exchange=EXCHANGE_PATHS[0],
        placed=samples.placed("$order_no", today),
        nothing=samples.nothing(),
        fine=samples.ok([]),
    )


@contextmanager
def stub_broker(folder: Path, environment: Mapping[str, str]) -> Iterator[StubBroker]:
    """Run the stand-in beside the load generator, and end it."""
    today, port, nginx = Clock().now().astimezone(IST), free_port(), shutil.which("nginx") or "nginx"
    (folder / "answers").mkdir(parents=True)
    (folder / "nginx.conf").write_text(config(folder, port, today), "utf-8")
    argv = [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    ready = answers(port, "/healthz")
    with Child("nginx", argv, environment=environment, log=folder / "nginx.log", is_ready=ready):
        yield StubBroker(port, folder / "answers", today)
