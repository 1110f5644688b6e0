"""The few pages that a person sees of us: plain, readable without scripts, everything from outside escaped."""

import base64
import hashlib
import re
from dataclasses import dataclass
from html import escape

_STYLE = """
:root{color-scheme:light dark;--ink:#16202c;--soft:#5b6776;--paper:#f5f7fa;--card:#fff;--line:#dde3ea;--accent:#0b6b4f}
@media(prefers-color-scheme:dark){:root{--ink:#e8edf3;--soft:#9aa7b6;--paper:#10161d;--card:#18212b;--line:#2a3644;--accent:#39b98d}}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:var(--paper);color:var(--ink);
font:16px/1.6 system-ui,sans-serif}
main{max-width:34rem;margin:1.5rem;padding:2.25rem 2.5rem;background:var(--card);border:1px solid var(--line);
border-radius:14px}
h1{margin:0 0 .75rem;font-size:1.4rem;line-height:1.3}p{margin:.6rem 0}
.soft{color:var(--soft);font-size:.875rem;overflow-wrap:anywhere}
button,a.button{display:inline-block;margin-top:1rem;padding:.65rem 1.3rem;border:0;border-radius:9px;
background:var(--accent);color:#fff;font:inherit;font-weight:600;text-decoration:none;cursor:pointer}
""".strip()

_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()


@dataclass(frozen=True)
class Button:
    """A button that asks `action` by GET, with `fields` in the query."""

    label: str
    action: str
    fields: tuple[tuple[str, str], ...] = ()


def page(title: str, paragraphs: list[str], *, button: Button | None = None, small_print: str = "") -> str:
    """Return one whole HTML page; every text given is shown as text, whatever it holds."""
    body = "".join(f"<p>{_marked(escape(text))}</p>" for text in paragraphs if text)
    small = f'<p class="soft">{escape(small_print)}</p>' if small_print else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}{_form(button) if button else ''}{small}</main></body></html>"
    )


def content_security_policy(*form_targets: str) -> str:
    """Return the policy of such a page: its own style, forms to us and to where a form's redirect may lead."""
    targets = " ".join(["'self'", *form_targets])
    return (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action {targets}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )


def _marked(escaped: str) -> str:
    """Show what stands between back-quotes as code, as our docstrings mean it."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)


def _form(button: Button) -> str:
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(text)}">' for name, text in button.fields
    )
    return f'<form method="get" action="{escape(button.action)}">{hidden}<button>{escape(button.label)}</button></form>'
