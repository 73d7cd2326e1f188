"""Scenario files: everything that is wrong is said at once, with file, line, key and the nearest right thing."""

from __future__ import annotations

import json
import tomllib
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vramplan.budget.example import example
from vramplan.budget.keys import scenario_schema
from vramplan.budget.scenario import Guess, Scenario
from vramplan.budget.scenario_file import ScenarioError, read_scenario
from vramplan.errors import VramplanError

ROOT = Path(__file__).parents[2]
GALLERY = sorted((ROOT / "reports" / "examples").glob("*.toml"))
HEAD = '[project]\nname = "x"\ndate = 2026-10-15\n[limits]\ngpus = ["l40s"]\n'
JOB = '[[job]]\nname = "a"\nmodel = "llama-8b"\nmethod = "qlora"\ntokens = "1M"\n'


def read(tmp_path: Path, text: str, name: str = "s.toml") -> Scenario:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return read_scenario(path)


def mistakes(tmp_path: Path, text: str, name: str = "s.toml") -> list[str]:
    """Line and message of each."""
    with pytest.raises(ScenarioError) as caught:
        read(tmp_path, text, name)
    assert all(mistake.startswith(str(tmp_path / name)) for mistake in caught.value.mistakes)
    return [mistake.removeprefix(str(tmp_path / name)).lstrip(":") for mistake in caught.value.mistakes]


def test_example(tmp_path: Path) -> None:
    plan = read(tmp_path, example())
    assert [job.name for job in plan.jobs] == ["Tune", "Weekly refresh"]
    tune = plan.jobs[0]
    assert tune.methods == ("lora", "qlora")
    assert tune.tokens == Guess(value=Decimal(20_000_000))
    assert tune.runs == Guess(value=Decimal(4), low=Decimal(3), high=Decimal(8), reason="one for each mix of data")
    assert (tune.recipe.batch, tune.recipe.grad_accum, tune.recipe.rank) == (4, 4, 16)
    assert plan.contingency == Guess(value=Decimal("0.15"), reason="house rule")
    assert plan.limits.gpus == ("rtx-4090", "l40s", "a100-80", "h100")


def test_yaml_says_the_same(tmp_path: Path) -> None:
    values = tomllib.loads(example())
    from_yaml = read(tmp_path, yaml.safe_dump(values, sort_keys=False), "s.yaml")
    from_toml = read(tmp_path, example())
    assert from_yaml.jobs == from_toml.jobs
    assert (from_yaml.limits, from_yaml.habits) == (from_toml.limits, from_toml.habits)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (HEAD + JOB + "[job.recipe]\nseq_lenght = 4\n", 12, "job 'a', recipe.seq_lenght: unknown key; nearest: seq"),
        (HEAD + JOB + "[job.recipe]\nbatch = 0\n", 12, "job 'a', recipe.batch: 0 is not a whole number from 1 to"),
        (HEAD + JOB.replace("llama-8b", "llama-8c"), 8, "job 'a', model: unknown model 'llama-8c'; nearest: llama-8b"),
        (HEAD + JOB.replace("qlora", "qlra"), 9, "job 'a', method: 'qlra' is none of full, lora, qlora; nearest: q"),
        (HEAD + JOB.replace("1M", "1 million"), 10, "job 'a', tokens: '1 million' is not a whole number"),
        (HEAD + JOB + "epochs = 0\n", 11, "job 'a', epochs: 0 is not a number above 0"),
        (HEAD + JOB + "epochs = { value = 3, low = 4, high = 5, reason = 'x' }\n", 11, "job 'a', epochs: the value"),
        (HEAD + JOB + "epochs = { value = 3 }\n", 11, "job 'a', epochs: reason is missing"),
        (HEAD + JOB + "epochs = { value = 3, low = 2, reason = 'x' }\n", 11, "job 'a', epochs: low and high go"),
        (HEAD + JOB.replace('tokens = "1M"\n', ""), 6, "job 'a': how much is to be trained is missing"),
        (HEAD + JOB + "examples = 10\nlength = 5\n", 11, "job 'a', examples: only one of"),
        (HEAD + JOB + "sweep_runs = 3\n", 11, "job 'a', sweep_runs: sweep_runs and sweep_share go together"),
        (HEAD + JOB + 'data = "none.jsonl"\n', 11, "job 'a', data: no such file"),
        (HEAD + JOB + JOB, 12, "job 'a', name: a second job called 'a'"),
        (HEAD.replace("l40s", "l40x") + JOB, 5, "limits.gpus: unknown GPU 'l40x'; nearest: l40"),
        (HEAD + "budget_usd = -1\n" + JOB, 6, "limits.budget_usd: -1 is not a number above 0"),
        (HEAD + "deadline = 2026-10-01\n" + JOB, 6, "limits.deadline: 2026-10-01 lies before the first day of work"),
        (HEAD + 'providers = ["awz"]\n' + JOB, 6, "limits.providers: unknown provider 'awz'; nearest: aws"),
        (HEAD + 'kinds = "sport"\n' + JOB, 6, "limits.kinds: 'sport' is none of"),
        (HEAD.replace("2026-10-15", '"soon"') + JOB, 3, "project.date: 'soon' is not a day"),
        (HEAD.replace("date = 2026-10-15\n", "") + JOB, 1, "project: date is missing"),
        (HEAD, None, "job is missing"),
        (HEAD + "[[job]]\n", 6, "job 1: name is missing"),
        (HEAD + "job = 3\n", 6, "limits.job: unknown key"),
        (HEAD + JOB + '[[line]]\nlabel = "x"\n', 11, "line 'x': quantity is missing"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, line: int | None, said: str) -> None:
    found = mistakes(tmp_path, text)
    place = f"{line}: " if line else " "
    assert any(mistake.startswith(f"{place}{said}") for mistake in found), found


def test_all_mistakes_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = HEAD.replace("l40s", "l40x") + JOB.replace("llama-8b", "nobody/nothing") + "epoch = 3\n" + JOB
    found = mistakes(tmp_path, text)
    assert [mistake.partition(":")[0] for mistake in found] == ["5", "8", "11", "13"]


def test_lines_of_yaml(tmp_path: Path) -> None:
    text = (
        "project:\n  name: x\n  date: 2026-10-15\nlimits:\n  gpus: [l40s, l40x]\njob:\n- name: a\n  modell: llama-8b\n"
    )
    found = mistakes(tmp_path, text, "s.yml")
    assert [mistake.partition(": ")[0] for mistake in found] == ["5", "7", "7", "7", "8"]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("s.toml", b"", "the file is empty"),
        ("s.toml", b"a = \n", r":1: not TOML"),
        ("s.toml", b"# x\n\n[project\n", r":3: not TOML"),
        ("s.toml", b"a = " + b"1" * 5000, "not TOML: Exceeds the limit"),
        ("s.toml", b"project = 0x" + b"f" * 5000, "so large a number is not a table"),
        ("s.yaml", b"a: [\n", r":2: not YAML"),
        ("s.toml", b"a = '\xff'", ":1: not a text file in UTF-8"),
        ("s.ini", b"", "a scenario is a file that ends in"),
        ("s.yaml", b"- 1\n", "is not a table"),
        ("s.yaml", b"42\n", "is not a table"),
    ],
)
def test_not_a_scenario(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(VramplanError, match=said):
        read_scenario(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(VramplanError, match="no such file"):
        read_scenario(tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(VramplanError, match="a folder, not a scenario"):
        read_scenario(tmp_path / "folder.toml")


def test_files_that_a_scenario_names_are_what_they_should_be(tmp_path: Path) -> None:
    (tmp_path / "d.xyz").write_text("a")
    (tmp_path / "r.jsonl").write_text("")
    head = HEAD.replace("date", 'records = ["r.jsonl", "gone.csv"]\ndate')
    found = mistakes(tmp_path, head + JOB.replace('tokens = "1M"', 'data = "d.xyz"'))
    assert [one.replace(f"{tmp_path}/", "").partition(" A name")[0] for one in found] == [
        "3: project.records 1: r.jsonl: the file holds no records",
        "3: project.records 2: no such file: gone.csv",
        "11: job 'a', data: d.xyz: what is it?",
    ]


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "d.jsonl").write_text('{"text": "a b c"}\n')
    path = tmp_path / "sub" / "s.toml"
    path.write_text(HEAD + JOB.replace('tokens = "1M"', 'data = "d.jsonl"'))
    assert read_scenario(path).jobs[0].data == str(tmp_path / "sub" / "d.jsonl")


@given(st.text(max_size=200))
def test_any_text_is_a_scenario_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name in ("s.toml", "s.yaml"):
        path = folder / name
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        with pytest.raises(VramplanError):
            read_scenario(path)


KEYS = st.sampled_from(["project", "limits", "job", "name", "gpus", "tokens", "model", "method", "value", "recipe"])
LEAVES = st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers()
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


@given(VALUES)
def test_any_values_are_a_scenario_or_an_error(tmp_path_factory: pytest.TempPathFactory, values: object) -> None:
    path = tmp_path_factory.mktemp("any") / "s.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(VramplanError):
        read_scenario(path)


def test_published_schema_is_the_parser_s() -> None:
    published = json.loads((ROOT / "vramplan" / "budget" / "scenario.schema.json").read_text())
    assert published == scenario_schema(), "vramplan report schema scenario > vramplan/budget/scenario.schema.json"


def plain(text: str) -> object:
    """TOML as JSON has it: days are texts."""
    return json.loads(json.dumps(tomllib.loads(text), default=str))


@pytest.mark.parametrize(
    "text", [example(), *(path.read_text() for path in GALLERY)], ids=["example", *(p.stem for p in GALLERY)]
)
def test_schema_takes_what_the_parser_takes(text: str) -> None:
    jsonschema.Draft202012Validator.check_schema(scenario_schema())
    jsonschema.validate(plain(text), scenario_schema())


@pytest.mark.parametrize(
    "text",
    [
        HEAD, HEAD + JOB + "typo = 1\n", HEAD + JOB + "epochs = 0\n", HEAD + JOB.replace("qlora", "qlra"),
        HEAD + JOB + "[job.recipe]\nbatch = 0\n", HEAD + JOB.replace("1M", "one"), HEAD + "budget_usd = -1\n" + JOB,
    ],
)  # fmt: skip
def test_schema_refuses_what_the_parser_refuses(tmp_path: Path, text: str) -> None:
    mistakes(tmp_path, text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain(text), scenario_schema())
