"""The few pages of the role itself, as HTML: no script, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from starlette.responses import HTMLResponse

from hounsfield.servers.web.headers import PAGE_POLICY

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; color: #1b2733; background: #f3f5f7; }
main { max-width: 60rem; margin: 3rem auto; padding: 1.5rem 2rem; background: #fff;
       border: 1px solid #d5dce3; }
main.narrow { max-width: 22rem; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
label { display: block; margin: .75rem 0; }
input { display: block; width: 100%; box-sizing: border-box; padding: .5rem; font: inherit;
        border: 1px solid #8595a5; }
button { padding: .5rem 1rem; font: inherit; color: #fff; background: #14527d; border: 0; cursor: pointer; }
a { color: #14527d; }
.wrong { color: #9c1c1c; }
code { background: #eef1f4; padding: 0 .25rem; }
table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0;
         border-bottom: 1px solid #e3e8ec; }
@media (prefers-color-scheme: dark) {
  body { color: #dce3ea; background: #11171d; }
  main { background: #1a222b; border-color: #2f3b47; }
  input, code { color: inherit; background: #11171d; }
  a { color: #7db9e3; } .wrong { color: #ef8d8d; }
  td, th { border-color: #2f3b47; }
}
"""
_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {"Content-Security-Policy": f"{PAGE_POLICY}; style-src 'self' 'sha256-{_DIGEST}'"}


def page(title: str, body: str, *, status: int = 200, narrow: bool = False) -> HTMLResponse:
    """`title` is text; `body` is HTML whose every value was escaped by who put it in (`text`)."""
    kind = ' class="narrow"' if narrow else ""
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head>'
        f"<body><main{kind}><h1>{text(title)}</h1>{body}</main></body></html>",
        status,
        _HEADERS,
    )


def text(value: object) -> str:
    """A value as text of a page, or within the quotes of an attribute."""
    return escape(str(value), quote=True)
