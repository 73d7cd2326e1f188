"""Every key of a scenario file, once: the reader, the published schema and the commented example follow from it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from ..cost.job import MOST_TOKENS
from ..data import PACKINGS
from ..price import KINDS
from ..recipe import CHOICES, LIMITS, METHODS
from .kinds import Choice, Day, Guessed, Key, Kind, Number, Rows, Schema, Several, Switch, Table, Text

NAME = Text(longest=120)
TOKENS = Number(low=1, high=MOST_TOKENS, whole=True, suffixes=True)
SHARE = Number(low=0, high=10)
COUNT = Number(low=0, high=100_000)
STEPS = Number(low=1, high=10**9, whole=True)
USD = Number(low=0, high=10**9)


def _knob(name: str, help: str) -> Key:
    kind: Kind = Choice(CHOICES[name]) if name in CHOICES else Number(low=1, high=LIMITS[name], whole=True)
    return Key(name, kind, help)


RECIPE = Table(
    (
        _knob("batch", "Sequences per GPU and forward pass (1)."),
        _knob("seq_len", "Tokens per sequence (2048)."),
        _knob("grad_accum", "Micro-batches per optimizer step (1)."),
        _knob("rank", "LoRA rank."),
        Key("targets", Text(longest=500), "all-linear, attention, or module names joined by commas."),
        Key("lora_dropout", Number(low=0, high=Decimal("0.999")), "Dropout on the input of adapters."),
        _knob("quant", "Format of the frozen weights."),
        _knob("dtype", "Type of weights that are not quantised."),
        _knob("autocast", "Type of torch.autocast in the forward pass."),
        _knob("adapter_dtype", "Type of adapter weights."),
        Key("kbit_prep", Switch(), "Upcast remaining 16-bit weights to fp32."),
        _knob("optimizer", "Optimizer."),
        Key("checkpointing", Switch(), "Recompute activations in backward."),
        _knob("attention", "Attention kernel."),
        _knob("loss", "Loss kernel."),
        _knob("gpus", "GPUs of a run (1)."),
        _knob("sharding", "How GPUs share the work (none)."),
    )
)

JOB = Table(
    (
        Key("name", NAME, "What people call the job.", True),
        Key("model", NAME, "Alias, hub id of the catalogue, or a folder or file with a config.json.", True),
        Key("method", Several(Choice(METHODS)), "Way of training; of several the cheapest that fits is taken.", True),
        Key("stack", NAME, "Software (trl)."),
        Key("profile", NAME, "Fitted profile or its file; none = without."),
        Key("gpus", Several(NAME), "Cards of this job, in place of those of the limits."),
        Key("tokens", Guessed(TOKENS), "Tokens of an epoch; or examples with length, or data."),
        Key("examples", Guessed(TOKENS), "Examples of an epoch."),
        Key("length", Number(low=1, high=LIMITS["seq_len"], whole=True), "Tokens of an example."),
        Key("data", Text(), "Data file: JSONL, Parquet, CSV or text."),
        Key("tokenizer", Text(), "tokenizer.json, or its folder, for the data file."),
        Key("epochs", Guessed(Number(low=0, high=10_000, above=True)), "Passes over the data (1)."),
        Key("packing", Choice(PACKINGS), "How examples share a sequence (none)."),
        Key("group_by_length", Switch(), "Examples of like length in a batch (false)."),
        Key("runs", Guessed(COUNT), "Full runs (1)."),
        Key("sweep_runs", Guessed(COUNT), "Shorter runs that look for settings (none)."),
        Key("sweep_share", Guessed(Number(low=0, high=1, above=True)), "Part of a full run that each of them is."),
        Key("evaluation_tokens", TOKENS, "Tokens of one pass over the evaluation set (no evaluation)."),
        Key("evaluate_every_steps", STEPS, "Optimizer steps between evaluations (once an epoch)."),
        Key("save_every_steps", STEPS, "Optimizer steps between checkpoints (once, at the end)."),
        Key("startup_s", Number(low=0, high=10**6, whole=True), "From renting a machine to the first step (300 s)."),
        Key("start", Day(), "Not before this day."),
        Key("every_days", Number(low=1, high=3650, whole=True), "The job comes back after so many days."),
        Key("times", Guessed(Number(low=1, high=10_000, whole=True)), "How often it runs, the first time included."),
        Key("note", Text(), "For people."),
        Key("recipe", RECIPE, "Knobs of the training; those left out come from the stack."),
    )
)

PROJECT = Table(
    (
        Key("name", NAME, "Title of the report.", True),
        Key("date", Day(), "Day of the plan: prices age from it.", True),
        Key("start", Day(), "First day of work (the day of the plan)."),
        Key("owner", NAME, "Who answers for it."),
        Key("summary", Text(), "What it is for, in a sentence or two."),
        Key("records", Several(Text(), empty=True), "Files of measured runs, shown against predictions."),
    )
)

LIMITS_TABLE = Table(
    (
        Key("gpus", Several(NAME), "Cards that may be rented (see `vramplan gpus`).", True),
        Key("providers", Several(NAME, empty=True), "Providers (any)."),
        Key("regions", Several(NAME, empty=True), "Regions (any)."),
        Key("kinds", Several(Choice(KINDS)), "Kinds of price (on_demand)."),
        Key("usd_per_gpu_hour", Guessed(Number(low=0, high=10_000)), "A price of one's own for every card."),
        Key("budget_usd", Number(low=0, high=10**12, above=True), "What may be spent, contingency included."),
        Key("deadline", Day(), "Last day."),
        Key("machines", Number(low=1, high=1_000, whole=True), "Jobs that run side by side (1)."),
    )
)

HABITS = Table(
    (
        Key("idle_share", Guessed(SHARE), "Paid hours in which nothing runs, for each hour of running."),
        Key("failed_share", Guessed(SHARE), "Runs that are lost and done again, for each run that counts."),
        Key("hours_per_day", Guessed(Number(low=0, high=24, above=True)), "Hours of a day in which runs go on (24)."),
    )
)

ELECTRICITY = Table(
    (
        Key("grams_co2_per_kwh", Number(low=0, high=10_000), "Of the grid."),
        Key("usd_per_kwh", Number(low=0, high=100), "Only for hardware of one's own: hires include it."),
        Key("pue", Number(low=1, high=10), "Power of the data centre over that of its machines."),
    )
)

OTHER_LINE = Table(
    (
        Key("label", NAME, "What is paid.", True),
        Key("quantity", Guessed(Number(low=0, high=10**12)), "How much of it.", True),
        Key("unit", Text(longest=40), "Of the quantity: TB months, hours.", True),
        Key("unit_price_usd", Guessed(USD), "USD for one.", True),
        Key("reason", Text(), "Where the figures come from.", True),
        Key("start", Day(), "First day on which it is paid."),
    )
)

STATEMENT = Table((Key("text", Text(), "What is taken to be so.", True), Key("reason", Text(), "Why.", True)))

SCENARIO = Table(
    (
        Key("project", PROJECT, "What this is.", True),
        Key("limits", LIMITS_TABLE, "What may be rented, and what it must keep to.", True),
        Key("job", Rows(JOB, least=1), "What is to be trained.", True),
        Key("contingency", Guessed(Number(low=0, high=5)), "Share of the costs that is set aside."),
        Key("habits", HABITS, "How people work with rented machines."),
        Key("electricity", ELECTRICITY, "For energy and emissions."),
        Key("line", Rows(OTHER_LINE), "Costs that are not computed: storage, people, licences."),
        Key("assumption", Rows(STATEMENT), "Assumptions without a number."),
    )
)


def scenario_schema() -> Schema:
    """JSON Schema of a scenario file, as it is published in `scenario.schema.json`."""
    head: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vramplan scenario",
        "description": "A project of fine-tunes: `vramplan report build` makes its budget.",
    }
    return head | SCENARIO.schema()
