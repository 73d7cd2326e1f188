"""Data files: lengths, padding and packing against simulation and TRL's own code; files gone wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vramplan.data import Lengths, epoch, read_data
from vramplan.data.fields import text_of
from vramplan.data.packing import best_fit_sequences, wrapped_sequences
from vramplan.data.padding import expected_longest, grouped_tokens, padding_waste, shuffled_tokens
from vramplan.data.tokens import CharacterEstimate
from vramplan.errors import VramplanError

some_lengths = st.lists(st.integers(1, 300), min_size=1, max_size=80)


def skewed(count: int, seed: int = 1) -> list[int]:
    draw = random.Random(seed)
    return [int(draw.lognormvariate(4, 1)) + 1 for _ in range(count)]


def test_histogram() -> None:
    lengths = Lengths.from_examples([5, 1, 3, 3, 0])
    assert (lengths.lengths, lengths.counts, lengths.examples, lengths.tokens) == ((1, 3, 5), (1, 2, 1), 4, 12)
    assert [lengths.quantile(share) for share in (0.0, 0.25, 0.26, 0.75, 0.76, 1.0)] == [1, 1, 3, 3, 5, 5]
    assert (lengths.longer_than(2), lengths.longer_than(3), lengths.longer_than(5)) == (3, 1, 0)
    assert lengths.cut(3).tokens == 10
    assert (Lengths.of({}).examples, Lengths.of({}).quantile(0.5), Lengths.of({}).mean) == (0, 0, 0.0)


def test_padding_on_paper() -> None:
    # Pairs of 1, 2, 3: {1,2} {1,3} {2,3} have the longest 2, 3, 3: 8/3 on average.
    lengths = Lengths.from_examples([1, 2, 3])
    assert expected_longest(lengths, 2) == pytest.approx(8 / 3)
    assert expected_longest(lengths, 1) == 2
    assert expected_longest(lengths, 9) == 3
    # One batch of two and the one that is left: 2 x 8/3 + 2.
    assert shuffled_tokens(lengths, 2) == pytest.approx(22 / 3)
    assert padding_waste(6, 8.0) == 0.25


@pytest.mark.parametrize("batch", [2, 4, 16, 64])
def test_padding_against_simulation(batch: int) -> None:
    """Shuffled exactly, grouped as transformers groups."""
    examples, draw = skewed(4000), random.Random(2)
    group = batch * min(len(examples) // (batch * 4), 50)

    def padded(order: list[int]) -> int:
        return sum(max(order[i : i + batch]) * len(order[i : i + batch]) for i in range(0, len(order), batch))

    shuffled = grouped = 0.0
    for _ in range(100):
        draw.shuffle(examples)
        shuffled += padded(examples) / 100
        groups = (sorted(examples[i : i + group], reverse=True) for i in range(0, len(examples), group))
        grouped += padded([length for part in groups for length in part]) / 100
    lengths = Lengths.from_examples(examples)
    assert shuffled_tokens(lengths, batch) == pytest.approx(shuffled, rel=0.01)
    assert grouped_tokens(lengths, batch) == pytest.approx(grouped, rel=0.01)


@given(examples=some_lengths, batch=st.integers(1, 20), seq_len=st.integers(1, 400))
def test_laws_of_an_epoch(examples: list[int], batch: int, seq_len: int) -> None:
    lengths = Lengths.from_examples(examples)
    shuffled = epoch(lengths, seq_len=seq_len, batch=batch)
    grouped = epoch(lengths, seq_len=seq_len, batch=batch, group_by_length=True)
    packed = epoch(lengths, seq_len=seq_len, batch=batch, packing="bfd")
    wrapped = epoch(lengths, seq_len=seq_len, batch=batch, packing="wrapped")
    for once in (shuffled, grouped, packed, wrapped):
        assert 0 <= once.padding_waste < 1
        assert once.tokens <= once.processed_tokens <= once.sequences * max(seq_len, once.tokens)
        assert once.tokens + once.cut_tokens == sum(examples)
        assert once.steps == -(-once.sequences // batch)
    assert grouped.processed_tokens <= shuffled.processed_tokens
    assert wrapped.sequences <= -(-sum(examples) // seq_len)
    assert -(-packed.tokens // seq_len) <= packed.sequences <= len(examples)
    if batch == 1:
        assert shuffled.padding_waste == 0


@given(examples=some_lengths, seq_len=st.integers(1, 400))
def test_packing_is_best_fit_decreasing(examples: list[int], seq_len: int) -> None:
    """The histogram against a plain loop over the examples."""
    rooms: list[int] = []
    for length in sorted((min(length, seq_len) for length in examples), reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else seq_len) - length)
    assert best_fit_sequences(Lengths.from_examples(examples), seq_len) == len(rooms)


@pytest.mark.rig
@pytest.mark.parametrize("seq_len", [64, 256, 2048])
def test_packing_against_trl(seq_len: int) -> None:
    pyarrow, data_utils = pytest.importorskip("pyarrow"), pytest.importorskip("trl.data_utils")
    examples = skewed(3000)
    table = pyarrow.table({"input_ids": pyarrow.array([[1] * length for length in examples])})
    lengths = Lengths.from_examples(examples)
    assert best_fit_sequences(lengths, seq_len) == len(data_utils._pack_bfd(table, seq_len))
    assert wrapped_sequences(lengths, seq_len) == len(data_utils._pack_wrapped(table, seq_len))


TEXTS = ("a" * 394, "bb", "", "c" * 40)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], str]:
    """The same texts in every format."""

    def write(suffix: str) -> str:
        path = tmp_path / f"data.{suffix}"
        objects = [{"text": text, "id": place} for place, text in enumerate(TEXTS)]
        if suffix == "jsonl":
            path.write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
        elif suffix == "json":
            path.write_text(json.dumps(objects), encoding="utf-8")
        elif suffix == "txt":
            path.write_text("\n".join(TEXTS), encoding="utf-8")
        elif suffix == "csv":
            path.write_text("id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(TEXTS)), encoding="utf-8")
        else:
            pyarrow = pytest.importorskip("pyarrow")
            pytest.importorskip("pyarrow.parquet").write_table(
                pyarrow.table({"text": list(TEXTS), "id": [0, 1, 2, 3]}), path, row_group_size=2
            )
        return str(path)

    return write


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "txt", "parquet"])
def test_every_format_says_the_same(written: Callable[[str], str], suffix: str) -> None:
    found = read_data(written(suffix))
    assert (found.lengths.lengths, found.lengths.counts) == ((1, 11, 100), (1, 1, 1))
    assert (found.empty, found.bad, found.exact) == (1, 0, False)
    assert found.schemas == {"text": 4}


def test_characters_are_rounded_up_and_messages_have_words_of_their_own() -> None:
    chat = text_of({"messages": [{"role": "user", "content": "a" * 39}, {"role": "assistant", "content": "b"}]})
    plain = text_of({"text": "a" * 8})
    assert CharacterEstimate().count([chat, plain]) == [11 + 2 * 5, 3]
    assert CharacterEstimate(2.0).count([plain]) == [4]


CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo!"}]
READABLE: dict[str, tuple[dict[str, Any], str, int]] = {
    "messages": ({"messages": CHAT}, "messages", 5),
    "conversations": ({"conversations": [{"from": "human", "value": "Hi"}]}, "messages", 2),
    "parts": ({"messages": [{"role": "user", "content": [{"type": "text", "text": "H"}, "i", {"text": 5}, None]}]},
              "messages", 2),
    "tool call": ({"messages": [{"role": "assistant", "content": None, "tool_calls": []}]}, "messages", 0),
    "prompt": ({"prompt": "ab", "completion": "cd"}, "prompt-completion", 4),
    "prompt chat": ({"prompt": CHAT[:1], "completion": CHAT[1:]}, "prompt-completion", 5),
    "text": ({"text": "abc", "label": 1}, "text", 3),
}  # fmt: skip


@pytest.mark.parametrize("case", READABLE)
def test_fields_that_trl_knows(case: str) -> None:
    example, schema, characters = READABLE[case]
    found = text_of(example)
    assert found.schema == schema
    assert len(found.text) + sum(len(message["content"]) for message in found.messages) == characters


@pytest.mark.parametrize(
    ("example", "said"),
    [
        ({"instruction": "a", "output": "b"}, "there are: instruction, output"),
        ({}, "none at all"),
        ({"messages": "hello"}, "not a list of messages"),
        ({"messages": [{"content": "x"}]}, "neither `role` nor `from`"),
        ({"messages": [{"role": "user", "content": 5}]}, "no text"),
        ({"prompt": "x"}, "no field that TRL knows"),
        ({"text": None}, "text: not a string but NoneType"),
    ],
)
def test_fields_that_it_does_not(example: dict[str, Any], said: str) -> None:
    with pytest.raises(VramplanError, match=said):
        text_of(example)


def test_named_fields() -> None:
    assert text_of({"a": "x", "b": [1], "c": None}, ("a", "b", "c")).text == "x\n[1]\n"
    with pytest.raises(VramplanError, match="no field 'd'; there are: a"):
        text_of({"a": "x"}, ("d",))


def test_a_half_broken_file(tmp_path: Path) -> None:
    """Bad lines are counted and named by their number, the rest is used."""
    good = b'{"text": "abcd"}\n'
    lines = [good, b'{"text": "ab\n', b"\n", b'{"text": "\xe9"}\n', b"[1]\n", b'{"words": "x"}\n', good, b'{"text"']
    path = tmp_path / "half.jsonl"
    path.write_bytes(b"".join(lines))
    found = read_data(str(path))
    assert found.lengths.examples == 2
    assert found.bad == 5
    assert [line.line for line in found.bad_lines] == [2, 4, 5, 6, 8]
    said = " ".join(line.reason for line in found.bad_lines)
    for word in ("not JSON", "not UTF-8 at byte 11", "not an object but list", "there are: words"):
        assert word in said
    assert "5 lines cannot be used; 2 examples count" in found.notes


def test_zero_bytes_cost_their_lines(tmp_path: Path) -> None:
    """What a crash leaves in a log; and blank lines before the first example."""
    path = tmp_path / "zeros.jsonl"
    path.write_bytes(b"\n" * 5000 + b'{"text": "abcd"}\n' * 9 + b'{"text": "a\0b"}\n' + b"\0" * 40 + b"\n")
    found = read_data(str(path))
    assert (found.lengths.examples, [line.line for line in found.bad_lines]) == (9, [5010, 5011])


def test_a_half_broken_table(tmp_path: Path) -> None:
    path = tmp_path / "half.csv"
    path.write_bytes(b'id,text\n1,"two\nlines"\n2,b\n3\n\xff,c\n4,d\n5,"open\nx\ny\n')
    found = read_data(str(path))
    assert found.lengths.examples == 3
    assert [(line.line, line.count) for line in found.bad_lines] == [(5, 1), (6, 1), (8, 3)]


def test_many_bad_lines_are_counted_and_the_first_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"text": "x"}\n' + "?\n" * 1000, encoding="utf-8")
    found = read_data(str(path))
    assert (found.bad, len(found.bad_lines), found.bad_lines[-1].line) == (1000, 20, 21)


def test_mixed_schemas_are_said(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"text": "abc"}\n' + json.dumps({"messages": CHAT}) + "\n", encoding="utf-8")
    found = read_data(str(path))
    assert found.schemas == {"text": 1, "messages": 1}
    assert any("mixed schemas (1 text, 1 messages)" in note for note in found.notes)


def _parquet(path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"words": ["a"], "id": [1]}), path)


UNUSABLE: dict[str, tuple[str, bytes | Callable[[Path], None], str]] = {
    "empty": ("a.jsonl", b"", "the file is empty"),
    "blank": ("a.jsonl", b"\n\n", "the file is empty"),
    "utf-16": ("a.jsonl", '{"text": "x"}\n'.encode("utf-16"), "not in UTF-8"),
    "utf-16 without mark": ("a.txt", "text".encode("utf-16-le"), "not in UTF-8"),
    "nothing usable": ("a.jsonl", b"{\n[]\n", "no example in 2 lines can be used; line 1: not JSON"),
    "no field": ("a.csv", b"instruction,output\na,b\n", "there are: instruction, output"),
    "empty examples": ("a.jsonl", b'{"text": ""}\n', "all of its 1 examples are empty"),
    "header only": ("a.csv", b"id,text\n", "no example in 0 lines"),
    "header not utf-8": ("a.csv", b"id,t\xe9xt\n1,2\n", "header cannot be read"),
    "broken array": ("a.json", b'[{"text": "x"},', "not JSON"),
    "unknown name": ("a.bin", b"text", "what is it"),
    "not parquet": ("a.parquet", b"PAR1 and no more", "not a whole Parquet file"),
    "parquet without a field": ("a.parquet", _parquet, "there are: words, id"),
    "deep": ("a.jsonl", b"[" * 100_000, "no example in 1 lines"),
    "long number": ("a.jsonl", b'{"text": ' + b"9" * 10_000 + b"}\n", "no example in 1 lines"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_files_that_cannot_be_used(tmp_path: Path, case: str) -> None:
    name, content, said = UNUSABLE[case]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(VramplanError, match=said) as refused:
        read_data(str(path))
    assert len(str(refused.value).splitlines()) == 1


@given(
    content=st.one_of(st.binary(max_size=200), st.lists(st.text(max_size=20)).map(lambda t: "\n".join(t).encode())),
    suffix=st.sampled_from(("jsonl", "json", "csv", "tsv", "txt", "parquet", "bin")),
)
def test_garbage_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, suffix: str) -> None:
    path = tmp_path_factory.mktemp("garbage") / f"data.{suffix}"
    path.write_bytes(content)
    try:
        found = read_data(str(path))
    except VramplanError as refused:
        assert len(str(refused).splitlines()) == 1
        return
    assert found.lengths.examples > 0
    assert found.bad >= len(found.bad_lines)


junk = st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)), lambda inner: st.one_of(
    st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(("role", "content", "from", "value", "text")), inner)
), max_leaves=6)  # fmt: skip


@given(example=st.dictionaries(st.sampled_from(("messages", "conversations", "prompt", "completion", "text")), junk))
def test_examples_gone_wrong(example: dict[str, Any]) -> None:
    try:
        assert CharacterEstimate().count([text_of(example)])[0] >= 0
    except VramplanError as refused:
        assert str(refused)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(VramplanError, match="a folder"):
        read_data(str(tmp_path))
    with pytest.raises(VramplanError, match="no such file"):
        read_data(str(tmp_path / "none.jsonl"))


def test_a_damaged_group_of_rows_is_named(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    texts = [f"{place} " * 50 for place in range(40)]
    parquet.write_table(pyarrow.table({"text": texts}), path, row_group_size=10, compression="gzip")
    data = bytearray(path.read_bytes())
    start = parquet.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    data[start + 30 : start + 60] = b"\0" * 30
    path.write_bytes(data)
    found = read_data(str(path))
    assert found.lengths.examples == 30
    assert [(line.line, line.count) for line in found.bad_lines] == [(11, 10)]


@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=60), at_a_time=st.integers(1, 7))
def test_a_stream_is_the_same_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], at_a_time: int
) -> None:
    """Whatever the size of the pieces, the histogram is that of all examples counted in memory."""
    whole = Lengths.from_examples(CharacterEstimate().count([text_of({"text": text}) for text in texts]))
    path = tmp_path_factory.mktemp("stream") / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vramplan.data.inspect.TEXTS_AT_A_TIME", at_a_time)
        if not whole.examples:
            with pytest.raises(VramplanError, match="empty"):
                read_data(str(path))
            return
        assert read_data(str(path)).lengths == whole


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "long.jsonl"
    line = json.dumps({"text": "word " * 2000}) + "\n"
    with path.open("w", encoding="utf-8") as file:
        file.writelines([line] * 4000)  # 40 MB
    tracemalloc.start()
    found = read_data(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.lengths.examples == 4000
    assert peak < 16 * 2**20


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A folder with a word-level tokenizer that puts a start token before a text, and a chat template."""
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: place for place, word in enumerate(("[UNK]", "<s>", "</s>", "hello", "world", "user", "bot"))}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    made.post_processor = tokenizers.processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder = tmp_path / "model"
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    template = "{% for m in messages %}{{ m.role }} {{ m.content }} {{ eos_token }} {% endfor %}"
    config = {"eos_token": {"content": "</s>"}, "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_a_tokenizer_counts(tokenizer: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    chat = {"messages": [{"role": "user", "content": "hello world"}, {"role": "bot", "content": "hello"}]}
    path.write_text('{"text": "hello world"}\n' + json.dumps(chat) + "\n", encoding="utf-8")
    found = read_data(str(path), str(tokenizer))
    # <s> hello world </s>; user hello world </s> bot hello </s>
    assert (found.lengths.lengths, found.exact) == ((4, 7), True)
    # Without the folder there is no template: 3 words, 5 tokens around each of two messages.
    assert read_data(str(path), str(tokenizer / "tokenizer.json")).lengths.lengths == (4, 13)


def test_a_template_that_refuses_an_example_names_its_line(tokenizer: Path, tmp_path: Path) -> None:
    template = "{% if messages[0].role == 'bot' %}{{ raise_exception('user first') }}{% endif %}{{ messages | tojson }}"
    (tokenizer / "chat_template.jinja").write_text(template, encoding="utf-8")
    path = tmp_path / "data.jsonl"
    lines = [{"messages": [{"role": role, "content": "hello"}]} for role in ("user", "bot", "user")]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    found = read_data(str(path), str(tokenizer))
    assert (found.lengths.examples, [line.line for line in found.bad_lines]) == (2, [2])
    assert "user first" in found.bad_lines[0].reason


def test_half_a_character_spoils_its_own_line_only(tokenizer: Path, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "hello"}\n{"text": "\\ud800"}\n{"text": "world"}\n', encoding="utf-8")
    found = read_data(str(path), str(tokenizer))
    assert found.lengths.examples == 2
    assert [(line.line, line.reason[:21]) for line in found.bad_lines] == [(2, "the tokenizer refuses")]
    assert read_data(str(path)).lengths.examples == 3


def test_tokenizers_that_are_none(tmp_path: Path) -> None:
    data = tmp_path / "a.txt"
    data.write_text("hello\n", encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    for path, said in ((tmp_path / "none", "no such file"), (tmp_path, "not a tokenizer.json")):
        with pytest.raises(VramplanError, match=said):
            read_data(str(data), str(path))
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(VramplanError, match="no tokenizer.json in this folder"):
        read_data(str(data), str(tmp_path))
