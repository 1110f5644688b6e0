"""What stands before the broker: a proxy that can be taken away, so that nobody answers at the broker's address."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.environment import inherited
from tests.support.proxied import need_nginx
from workbench.children import Child, free_port, is_free

_CONFIGURATION = """
worker_processes 1;
pid gate.pid;
error_log stderr crit;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path bodies;
    proxy_temp_path answers;
    fastcgi_temp_path unused;
    uwsgi_temp_path unused;
    scgi_temp_path unused;
    upstream broker {{ server 127.0.0.1:{broker}; keepalive 64; keepalive_timeout 4s; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        large_client_header_buffers 4 32k;
        client_body_buffer_size 128k;
        location / {{
            proxy_pass http://broker;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;  # what it repeated would be told of us
            proxy_read_timeout 120s;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""


@contextmanager
def gate_before(broker_port: int, folder: Path) -> Iterator[tuple[Child, str]]:
    """Run a gate to the broker; gives it, to be killed and started again, and its URL."""
    nginx, port = need_nginx(), free_port()
    folder.mkdir(exist_ok=True)
    path = folder / "gate.conf"
    path.write_text(_CONFIGURATION.format(broker=broker_port, port=port), "utf-8")
    argv = [nginx, "-p", str(folder), "-c", str(path), "-g", "daemon off;"]

    def is_up() -> bool:
        return not is_free(port)

    with Child("the gate", argv, environment=inherited(), log=folder / "errors.log", is_ready=is_up) as gate:
        yield gate, f"http://127.0.0.1:{port}"
