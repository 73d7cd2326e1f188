"""Which fields of an example are trained on: those that TRL's SFTTrainer knows, or those that the user names.

TRL 1.16: `messages` (role, content) or `conversations` (from, value; data_utils.maybe_convert_to_chatml), `prompt` and
`completion` (text or messages), `text` (SFTConfig.dataset_text_field). The first of them that an example has decides.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

from ..errors import VramplanError

Schema: TypeAlias = Literal["messages", "prompt-completion", "text", "fields"]
KNOWN_FIELDS = ("messages", "conversations", "prompt", "completion", "text", "tools")

Message: TypeAlias = dict[str, Any]


class Text(NamedTuple):
    """What is turned into tokens: a text, or the messages of a chat."""

    schema: Schema
    text: str
    messages: tuple[Message, ...] = ()
    tools: Any = None


def text_of(example: Mapping[str, Any], fields: tuple[str, ...] = ()) -> Text:
    """The text of one example. Raises VramplanError that says which fields there are where none is known."""
    if fields:
        return Text("fields", "\n".join(_named(example, field) for field in fields))
    chat = example.get("messages", example.get("conversations"))
    if chat is not None:
        return Text("messages", "", _messages(chat), example.get("tools"))
    prompt, completion = example.get("prompt"), example.get("completion")
    if prompt is not None and completion is not None:
        if isinstance(prompt, str) and isinstance(completion, str):
            return Text("prompt-completion", prompt + completion)
        return Text("prompt-completion", "", _messages(prompt) + _messages(completion), example.get("tools"))
    if isinstance(example.get("text"), str):
        return Text("text", example["text"])
    if "text" in example:
        raise VramplanError(f"text: not a string but {type(example['text']).__name__}")
    raise VramplanError(f"no field that TRL knows (--field names others); there are: {listed(example)}")


def listed(example: Mapping[str, Any]) -> str:
    names = [name if name.isprintable() else repr(name) for name in (str(name)[:40] for name in example)]
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") if names else "none at all"


def _named(example: Mapping[str, Any], field: str) -> str:
    if field not in example:
        raise VramplanError(f"no field {field!r}; there are: {listed(example)}")
    value = example[field]
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _messages(chat: Any) -> tuple[Message, ...]:
    """Messages with `role` and `content`, from either spelling. Content is a text, or parts of which some are text."""
    if not isinstance(chat, list) or not all(isinstance(message, dict) for message in chat):
        raise VramplanError("messages: not a list of messages")
    return tuple(map(_message, chat))


def _message(message: Message) -> Message:
    role, content = message.get("role", message.get("from")), message.get("content", message.get("value"))
    if not isinstance(role, str):
        raise VramplanError("messages: one has neither `role` nor `from`")
    if isinstance(content, list):
        content = "".join(map(_part, content))
    if not isinstance(content, str):
        if message.get("tool_calls") is None and content is not None:
            raise VramplanError("messages: one has a `content` that is no text")
        content = ""
    return message | {"role": role, "content": content}


def _part(part: Any) -> str:
    """The text of a part of a message's content; pictures and sounds have none."""
    text = part.get("text") if isinstance(part, dict) else part
    return text if isinstance(text, str) else ""
