"""How many tokens a text has: counted by the model's own tokenizer, else estimated from its characters."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, Protocol

from ..errors import VramplanError, one_line
from ..files import read_object, read_text
from .fields import Text

CHARACTERS_PER_TOKEN = 3.94
"""Of English web text in Llama 3's tokenizer; Llama 2's had 3.17 (The Llama 3 Herd of Models, arXiv 2407.21783, section
3.2). Code and other languages have fewer."""
TOKENS_PER_MESSAGE = 5
"""Of ChatML around a message: <|im_start|>, role, newline, <|im_end|>, newline (Qwen's chat_template)."""
LARGEST_TOKENIZER_BYTES = 256 * 2**20


class TokenCounter(Protocol):
    """Counts the tokens of many texts at once."""

    description: str
    exact: bool

    def count(self, texts: Sequence[Text]) -> list[int]: ...


class CharacterEstimate:
    """Characters / `characters_per_token`, rounded up; a chat takes 5 tokens more for every message."""

    exact = False

    def __init__(self, characters_per_token: float | None = None) -> None:
        self.characters_per_token = characters_per_token or CHARACTERS_PER_TOKEN
        source = "as given" if characters_per_token else "English in Llama 3's tokenizer, arXiv 2407.21783"
        self.description = f"{self.characters_per_token:g} characters a token ({source})"

    def count(self, texts: Sequence[Text]) -> list[int]:
        return [self._tokens(text) for text in texts]

    def _tokens(self, text: Text) -> int:
        characters = len(text.text) + sum(len(message["content"]) for message in text.messages)
        return ceil(characters / self.characters_per_token - 1e-9) + TOKENS_PER_MESSAGE * len(text.messages)


class FileTokenizer:
    """A tokenizer.json through the `tokenizers` package, as TRL uses it: chats through the folder's chat template
    without further special tokens, texts with an end token behind them."""

    exact = True

    def __init__(self, path: str) -> None:
        file = os.path.join(path, "tokenizer.json") if os.path.isdir(path) else path
        if not os.path.isfile(file):
            missing = "no tokenizer.json in this folder" if os.path.isdir(path) else "no such file"
            raise VramplanError(f"--tokenizer {path}: {missing}")
        self._tokenizer = _load(file)
        config = _config(os.path.dirname(file)) if os.path.isdir(path) else {}
        self._render = _template(os.path.dirname(file), config) if os.path.isdir(path) else None
        self.description = f"tokenizer {path}"
        if self._render is None:
            self.description += f", {TOKENS_PER_MESSAGE} tokens around each message of a chat (no chat template)"

    def count(self, texts: Sequence[Text]) -> list[int]:
        counts = [0] * len(texts)
        for chat in (False, True):
            places = [i for i, text in enumerate(texts) if bool(text.messages) == chat]
            written = [self._written(texts[i]) for i in places]
            encoded = self._encoded(written, add_special_tokens=not chat)
            for place, tokens in zip(places, encoded, strict=True):
                counts[place] = len(tokens) + self._around(texts[place])
        return counts

    def _encoded(self, written: list[str], *, add_special_tokens: bool) -> list[Any]:
        try:
            encoded: list[Any] = self._tokenizer.encode_batch_fast(written, add_special_tokens=add_special_tokens)
        except Exception as error:  # half a surrogate pair, or what else the package refuses
            raise VramplanError(f"the tokenizer refuses it: {one_line(error)}") from None
        return encoded

    def _written(self, text: Text) -> str:
        if not text.messages:
            return text.text
        if self._render is None:
            return "\n".join(message["content"] for message in text.messages)
        return self._render(text)

    def _around(self, text: Text) -> int:
        """Tokens that are not in the encoded text: the end of a text, or what stands between messages."""
        if not text.messages:
            return 1 if text.text else 0
        return 0 if self._render else TOKENS_PER_MESSAGE * len(text.messages)


def token_counter(tokenizer: str | None, characters_per_token: float | None = None) -> TokenCounter:
    """The tokenizer at a path, or the estimate."""
    return FileTokenizer(tokenizer) if tokenizer else CharacterEstimate(characters_per_token)


def _load(file: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise VramplanError("--tokenizer needs the package tokenizers: pip install 'vramplan[data]'") from None
    if os.path.getsize(file) > LARGEST_TOKENIZER_BYTES:
        raise VramplanError(f"{file}: larger than {LARGEST_TOKENIZER_BYTES // 2**20} MiB, so not a tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(file)
    except Exception as error:  # the package raises bare Exception
        raise VramplanError(f"{file}: not a tokenizer.json: {one_line(error)}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _config(folder: str) -> dict[str, Any]:
    file = os.path.join(folder, "tokenizer_config.json")
    if not os.path.isfile(file):
        return {}
    return read_object(file, "a tokenizer_config.json", LARGEST_TOKENIZER_BYTES)


def _template(folder: str, config: dict[str, Any]) -> Callable[[Text], str] | None:
    """The chat template as transformers 5 reads it: chat_template.jinja, else the one in tokenizer_config.json."""
    file = os.path.join(folder, "chat_template.jinja")
    source = config.get("chat_template")
    if os.path.isfile(file):
        source = read_text(file, "a chat template", LARGEST_TOKENIZER_BYTES)
    elif isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    if not isinstance(source, str):
        return None
    from .template import chat_template

    return chat_template(source, {key: _word(value) for key, value in config.items() if key.endswith("_token")})


def _word(token: Any) -> Any:
    """Special tokens are texts, or descriptions of an added token."""
    return token.get("content") if isinstance(token, dict) else token
