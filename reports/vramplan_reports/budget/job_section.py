"""A job on the page: its plan, its memory, its room to move, the other ways, and what to copy."""

from __future__ import annotations

from vramplan.budget.result import Budget, HeatCell, JobBudget

from ..figures import gib, many
from ..header import VERDICTS
from ..page.chart import Chart, figure
from ..page.markup import Html, el, join
from ..page.table import Col, table
from . import words
from .grounds import code, code_lines
from .memory_charts import PARTS, legend, peak_parts, peaks_chart, phase_parts, phase_rows, phases_chart
from .money_charts import ways_chart

MOST_OPEN = 3
"""Projects of more jobs show them closed."""
SHOWN_WAYS = 8
"""In the table; JSON has all."""
_OFTEN_ASKED = (
    "batch",
    "seq_len",
    "grad_accum",
    "rank",
    "quant",
    "dtype",
    "optimizer",
    "checkpointing",
    "attention",
    "loss",
)
_CLASSES = {"fits": "fits", "tight": "tight", "does_not_fit": "over"}


def job_sections(budget: Budget, charts: list[Chart]) -> Html:
    """All jobs in a table and at their peaks, then each by itself."""
    held = [(job, job.estimate) for job in budget.jobs if job.estimate]
    parts = [_overview(budget)]
    if held:
        chart = peaks_chart("chart-peaks", held)
        charts.append(chart)
        parts.append(figure(chart, _peaks_table(budget), legend(peak_parts(held), limit=True)))
    opened = len(budget.jobs) <= MOST_OPEN
    parts += [_job(f"job-{number}", job, charts, opened) for number, job in enumerate(budget.jobs, 1)]
    return join(*parts)


def _overview(budget: Budget) -> Html:
    columns = (
        Col("job", wrap=True), Col("model", wrap=True), Col("method"), Col("on", wrap=True), Col("memory"),
        Col("hours", True), Col("USD", True), Col("likely", True), Col("begins", True), Col("done", True),
    )  # fmt: skip
    return table("Every job: where, how long, how much", columns, map(_overview_row, budget.jobs))


def _overview_row(job: JobBudget) -> tuple[object, ...]:
    way = job.way
    if way is None or job.usd is None or job.hours is None:
        return job.plan.name, words.model(job.model.id), "-", el("span", job.problem or "", class_="bad"), *("-",) * 6
    cell = VERDICTS[way.verdict]
    return (
        job.plan.name, words.model(job.model.id), way.recipe.method, words.hire(way),
        el("span", cell.text, class_=cell.tone), f"{job.hours.value:,.1f}", words.usd(job.usd.value),
        words.spread(job.usd), words.day(job.start), words.day(job.end),
    )  # fmt: skip


def _peaks_table(budget: Budget) -> Html:
    rows = []
    for job in budget.jobs:
        if job.estimate and job.way:
            memory, low_high = job.estimate.memory, job.estimate.memory.device_interval_bytes
            rows.append(
                (
                    job.plan.name, memory.binding_phase.replace("_", " "), gib(memory.device_bytes, 2),
                    f"{gib(low_high[0], 2)} – {gib(low_high[1], 2)}", gib(job.way.gpu.capacity_bytes, 2),
                    job.way.gpu.name,
                )
            )  # fmt: skip
    columns = (Col("job"), Col("peak in"), Col("GiB", True), Col("likely", True), Col("limit", True), Col("card"))
    return table("Memory at the peak", columns, rows)


def _job(id: str, job: JobBudget, charts: list[Chart], opened: bool) -> Html:
    title = el("h3", job.plan.name, id=id)
    if job.way is None or job.estimate is None:
        return join(title, el("p", job.problem or "", class_="bad"))
    parts: list[object] = [el("p", job.plan.note) if job.plan.note else "", _recipe(job)]
    if job.problem:
        parts.append(el("p", job.problem, class_="bad"))
    phases = phases_chart(f"chart-{id}-phases", job, job.estimate)
    charts.append(phases)
    columns = (Col("phase"), *(Col(part, True) for part in PARTS), Col("sum", True))
    memory = job.estimate.memory
    behind = table(f"{job.plan.name}: GiB in each phase", columns, phase_rows(memory))
    parts.append(figure(phases, behind, legend(phase_parts(memory))))
    parts.append(_heat(job))
    if len([way for way in job.ways if way.usd]) > 1:
        ways = ways_chart(f"chart-{id}-ways", job)
        charts.append(ways)
        parts.append(figure(ways, _ways_table(job)))
    if job.notes:
        parts += [el("h4", "Notes"), el("ul", *(el("li", note) for note in job.notes), class_="notes")]
    parts.append(el("h4", "The same again"))
    parts.append(code_lines(f"{id}-commands", job.commands, f"commands of {job.plan.name}"))
    if job.config:
        text = code(f"{id}-config", job.config.text, f"configuration of {job.plan.name}")
        parts.append(el("details", el("summary", f"Configuration for TRL: {job.config.name}"), text, class_="data"))
    return el(
        "details", el("summary", title, el("span", _sentence(job), class_="soft")), *parts, class_="job", open=opened
    )


def _sentence(job: JobBudget) -> str:
    way = job.way
    if way is None or job.usd is None or job.hours is None:
        return job.problem or ""
    return (
        f"{way.recipe.method} of {job.model.id} on {words.hire(way)}: {words.hours(job.hours.value)}, "
        f"{words.usd(job.usd.value)} USD (likely {words.spread(job.usd)})"
    )


def _recipe(job: JobBudget) -> Html:
    way, work = job.way, job.work
    assert way is not None
    knobs = way.recipe.as_dict()
    facts = [("model", job.model.id), ("parameters", many(job.model.parameters)), ("stack", job.plan.stack)]
    facts += [("method", way.recipe.method)]
    facts += [
        (name.replace("_", "-"), _knob(knobs[name]))
        for name in _OFTEN_ASKED
        if not (name == "rank" and not knobs[name])
    ]
    if work is not None:
        facts += [("steps of a run", f"{work.steps:,}"), ("tokens of a run", many(work.tokens))]
    if way.speed is not None:
        low, high = way.speed.interval
        facts.append(
            (
                "tokens/s per GPU",
                f"{way.speed.tokens_per_s_per_gpu:,.0f} ({low:,.0f} – {high:,.0f}), {way.speed.source}",
            )
        )
    return el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in facts), class_="recipe")


def _knob(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _heat(job: JobBudget) -> Html:
    """Batch against length: a table, so that it needs no picture of itself."""
    way = job.way
    if way is None or not job.heat:
        return Html("")
    lengths = sorted({cell.seq_len for cell in job.heat})
    cells = {(cell.batch, cell.seq_len): cell for cell in job.heat}
    caption = f"{job.plan.name}: batch against length, percent of a {way.gpu.name} at the cautious end"
    head = el(
        "tr",
        el("th", "batch \\ length", scope="col"),
        *(el("th", f"{n:,}", scope="col", class_="number") for n in lengths),
    )
    rows = (
        el("tr", el("th", f"{batch:,}", scope="row"), *(_heat_cell(cells[batch, n], job) for n in lengths))
        for batch in sorted({cell.batch for cell in job.heat})
    )
    inner = el("table", el("caption", caption), el("thead", head), el("tbody", *rows))
    key = el(
        "p", el("span", "fits", class_="fits"), el("span", "tight", class_="tight"),
        el("span", "does not fit", class_="over"), "framed: as planned", class_="key",
    )  # fmt: skip
    return join(el("div", inner, class_="scroll heat", role="region", aria_label=caption, tabindex="0"), key)


def _heat_cell(cell: HeatCell, job: JobBudget) -> Html:
    assert job.way is not None
    recipe, capacity = job.way.recipe, job.way.gpu.capacity_bytes
    planned = (cell.batch, cell.seq_len) == (recipe.batch, recipe.seq_len)
    words_of_it = [VERDICTS[cell.verdict].text] if cell.verdict != "fits" else []
    spoken = ", ".join((*words_of_it, *(("planned",) if planned else ())))
    percent = f"{100 * cell.need_bytes / capacity:,.0f} %"
    return el(
        "td",
        percent,
        el("span", f" {spoken}", class_="unseen") if spoken else "",
        class_=_CLASSES[cell.verdict] + (" planned" if planned else ""),
    )


def _ways_table(job: JobBudget) -> Html:
    columns = (
        Col("machines"), Col("method"), Col("memory"), Col("GiB at most", True), Col("USD per hour", True),
        Col("hours", True), Col("USD", True), Col("likely", True), Col("price of", True), Col("front"),
    )  # fmt: skip
    rows = (
        (
            words.hire(way), way.recipe.method, VERDICTS[way.verdict].text, gib(way.need_bytes),
            f"{way.hire.usd_per_hour:,f}" if way.hire else "-", f"{way.hours.value:,.1f}" if way.hours else "-",
            words.usd(way.usd.value) if way.usd else "-", words.spread(way.usd) if way.usd else "-",
            words.day(way.hire.price.date) if way.hire else "-", "yes" if way.on_front else "",
        )
        for way in job.ways[:SHOWN_WAYS]
    )  # fmt: skip
    more = f", the first {SHOWN_WAYS} of {len(job.ways)}" if len(job.ways) > SHOWN_WAYS else ""
    return table(f"Ways to run {job.plan.name}{more}", columns, rows)
