"""The sandbox's pages: plain HTML that works by keyboard, in the dark, and without scripts."""

from collections.abc import Iterable, Mapping
from html import escape

from service.sandbox.responses import Answer

HTML = "text/html; charset=utf-8"
_STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:34rem;"
    "padding:0 1rem}label{display:block;margin-top:.75rem}input,select{font:inherit;width:100%;box-sizing:border-box;"
    "padding:.4rem}button{font:inherit;padding:.5rem 1rem;margin:1rem .5rem 0 0}.note{font-size:.875rem}"
    ".error{border-left:.25rem solid;padding-left:.75rem}"
)


def page(title: str, *parts: str, status: int = 200) -> Answer:
    """A whole page; ``parts`` are HTML already."""
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} | Sentry (sandbox)</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body><main>'
        f'<p class="note">A stand-in for Sentry: everything here is made up.</p><h1>{escape(title)}</h1>'
        f"{''.join(parts)}</main></body></html>"
    )
    return Answer(status, body.encode(), HTML)


def text(content: str, *, style: str = "") -> str:
    """A paragraph."""
    return f'<p class="{style}">{escape(content)}</p>' if style else f"<p>{escape(content)}</p>"


def bullets(items: Iterable[str]) -> str:
    """A list."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def form(action: str, hidden: Mapping[str, str], *parts: str) -> str:
    """A form that posts; ``hidden`` are its fields beside those in ``parts``."""
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in hidden.items()
    )
    return f'<form action="{escape(action)}" method="post">{fields}{"".join(parts)}</form>'


def field(label: str, name: str, value: str, *, kind: str = "text", autocomplete: str = "off") -> str:
    """A labelled input; its id is ``id_`` and its name, as on a real server."""
    return (
        f'<label for="id_{escape(name)}">{escape(label)}</label><input type="{kind}" id="id_{escape(name)}" '
        f'name="{escape(name)}" value="{escape(value)}" autocomplete="{autocomplete}" required>'
    )


def choice(label: str, name: str, options: Iterable[tuple[str, str]], chosen: str = "") -> str:
    """A labelled choice of (value, text)."""
    shown = "".join(
        f'<option value="{escape(value)}"{" selected" if value == chosen else ""}>{escape(said)}</option>'
        for value, said in options
    )
    return f'<label for="id_{name}">{escape(label)}</label><select id="id_{name}" name="{name}">{shown}</select>'


def button(said: str, name: str = "", value: str = "") -> str:
    """A button that submits its form."""
    named = f' name="{escape(name)}" value="{escape(value)}"' if name else ""
    return f'<button type="submit"{named}>{escape(said)}</button>'
