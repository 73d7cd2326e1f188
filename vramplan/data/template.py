"""Chat templates: the model's own words around the messages, written in Jinja.

Templates come with models from anywhere, so they run in Jinja's sandbox, as in transformers (5.23,
utils/chat_template_utils.py, whose extensions and filters are the ones here).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import VramplanError, one_line
from .fields import Text

if TYPE_CHECKING:
    from jinja2.sandbox import ImmutableSandboxedEnvironment


def chat_template(source: str, special_tokens: dict[str, Any]) -> Callable[[Text], str]:
    """A function that writes the messages of a text out. Raises VramplanError where the template cannot be read."""
    environment = _environment()
    from jinja2 import TemplateError

    try:
        template = environment.from_string(source)
    except TemplateError as error:
        raise VramplanError(f"the chat template cannot be read: {error}") from None

    def render(text: Text) -> str:
        try:
            return template.render(
                messages=list(text.messages), tools=text.tools, documents=None, add_generation_prompt=False,
                **special_tokens,
            )  # fmt: skip
        except Exception as error:  # a template may fail in any way on one example
            raise VramplanError(f"the chat template refuses it: {one_line(error)}") from None

    return render


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as transformers sets it up."""
    try:
        from jinja2 import TemplateError, nodes
        from jinja2.ext import Extension, loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise VramplanError("a chat template needs the package jinja2: pip install 'vramplan[data]'") from None

    class Generation(Extension):
        """{% generation %} marks what the loss is taken of; the text is the same."""

        tags = {"generation"}  # noqa: RUF012  # jinja's own form

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body).set_lineno(line)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _as_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _as_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)
