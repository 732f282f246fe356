// The page of a job. It reads the batches once and then one event for each batch; api/v1 has the same figures.
"use strict";

const KEPT = 1000;
const ROWS = 50;
const SILENT = 6000;
const DRAW = 250;

const $ = id => document.getElementById(id);
const number = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
const dated = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

// A moment: with its date unless it is today, and with milliseconds if it has them.
function moment(ms) {
  const today = new Date(ms).toDateString() === new Date().toDateString();
  return (today ? clock : dated).format(ms) + (ms % 1000 ? `.${String(ms % 1000).padStart(3, "0")}` : "");
}


const count = n => (n === null || n === undefined ? "–" : number.format(n));
const bytes = n => ["B", "KiB", "MiB", "GiB"].reduce((t, unit, i) => (n >= 1024 ** i ? `${(n / 1024 ** i).toFixed(i && n / 1024 ** i < 100 ? 1 : 0)} ${unit}` : t), "0 B");
const many = (n, what) => `${number.format(n)} ${what}${n === 1 ? "" : /(ch|ss)$/.test(what) ? "es" : "s"}`;

function duration(ms) {
  if (ms < 10) return `${+ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${+(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  const [h, min, s] = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, Math.floor(ms / 1000) % 60];
  return h ? `${h} h ${min} min` : `${min} min ${s} s`;
}

function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

// A table, which the keyboard can scroll. Each column: its title, the text or element of a row, and whether it is text.
function table(label, columns, rows) {
  const [wide, made, head, body] = ["div", "table", "thead", "tbody"].map(tag => document.createElement(tag));
  [wide.className, wide.tabIndex] = ["wide", 0];
  wide.setAttribute("role", "region");
  wide.setAttribute("aria-label", `Table of ${label}`);
  const titles = head.appendChild(document.createElement("tr"));
  for (const [title, , isText] of columns) {
    const cell = titles.appendChild(element("th", title, isText ? "text" : ""));
    cell.scope = "col";
  }
  for (const row of rows) {
    const line = body.appendChild(document.createElement("tr"));
    for (const [, of, isText] of columns) {
      const cell = element("td", undefined, isText ? "text" : "");
      cell.append(of(row));
      line.append(cell);
    }
  }
  made.append(head, body);
  wide.append(made);
  return wide;
}

// The operators whose workers are shown, by place.
const opened = new Set();

// What the workers did in each operator, of a batch or of several. `label` names the table, and `again` shows it again.
function operators(label, of, again) {
  const all = of.operators.reduce((sum, o) => sum + o.ms, 0) || 1;
  const workers = (o, i) => (opened.has(i) ? o.workers.map((w, n) => ({ ...w, worker: n, most: o.max_ms })) : []);
  const rows = of.operators.flatMap((o, place) => [{ ...o, place, waited_ms: Math.max(...o.workers.map(w => w.waited_ms)) }, ...workers(o, place)]);
  const name = row => {
    if (row.worker !== undefined) return element("span", `worker ${row.worker}`, "worker");
    const made = element("button", row.name, "link");
    made.type = "button";
    made.setAttribute("aria-expanded", opened.has(row.place));
    made.dataset.place = row.place;
    made.addEventListener("click", () => {
      opened.delete(row.place) || opened.add(row.place);
      again();
    });
    return made;
  };
  const share = row => {
    const part = row.worker === undefined ? row.ms / all : row.ms / (row.most || 1);
    const bar = element("div", undefined, row.worker === undefined ? "share" : "share worker");
    bar.append(element("span", undefined, "bar"), row.worker === undefined ? `${Math.round(part * 100)} %` : "");
    bar.firstChild.style.width = `${part * 100}%`;
    return bar;
  };
  const spread = row => (row.worker === undefined ? [row.min_ms, row.median_ms, row.max_ms].map(duration).join(" · ") : duration(row.ms));
  const columns = [
    ["Operator", name, true], ["Share of time", share], ["Rows in", row => count(row.rows_in)], ["Rows out", row => count(row.rows_out)],
    ["Workers: least · median · most", spread], ["Waited for it, at most", row => duration(row.waited_ms)],
  ];
  const slow = ({ operator, worker, ms }) => `${operator} on worker ${worker}, ${duration(ms)}`;
  const said = [of.slowest && `Most time: ${slow(of.slowest)}.`, of.waited_for && `After the seal it waited most for ${slow(of.waited_for)}.`];
  const focused = document.activeElement?.closest(`[aria-label="Table of ${label}"]`) && document.activeElement.dataset.place;
  const made = table(label, columns, rows);
  if (focused) setTimeout(() => made.querySelector(`[data-place="${focused}"]`)?.focus({ preventScroll: true }));
  return [element("p", said.filter(Boolean).join(" ") || "Nothing was done."), made];
}

let job = null;
let batches = [];
let cpu = null;
let all = false;
let chosen = null;
let heard = Date.now();
let gone = null;
let due = null;
let reading = false;

const rate = b => (b.records * 1000) / (job.interval_ms * (1 + b.overdue));
const onClock = of => b => (b.on_clock ? of(b) : null);
const charts = [
  { title: "Input rate", note: "records a second", of: b => rate(b), text: v => short.format(v) },
  { title: "Scheduling delay", note: "from the batch time until its records were fixed", of: onClock(b => b.scheduling_delay_ms), text: duration },
  { title: "Processing time", note: "from then until all outputs had it", of: b => b.processing_ms, text: duration, limit: () => job?.interval_ms },
  { title: "Total delay", note: "from the batch time until all outputs had it", of: onClock(b => b.total_delay_ms), text: duration },
  { title: "Lag", note: "records that the sources had left; none if they do not know", of: b => b.lag, text: v => short.format(v) },
].map(chart => new Chart($("charts"), { ...chart, chosen: time => (location.hash = time) }));

async function read(path) {
  const answer = await fetch(`api/v1/${path}`);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

// Reads the batches after the last one that is known.
async function catchUp() {
  if (reading) return;
  reading = true;
  try {
    const last = batches.at(-1);
    add((await read(last ? `batches?after=${last.time}` : "batches")).reverse());
  } catch {
    // The next event tries again.
  } finally {
    reading = false;
  }
}

function add(more) {
  const last = batches.at(-1)?.time ?? -1;
  batches.push(...more.filter(b => b.time > last));
  batches.splice(0, batches.length - KEPT);
  draw();
}

// One event: the job, and its last batch.
function hear(news) {
  heard = Date.now();
  const again = job && (job.started_ms !== news.job.started_ms || job.process_id !== news.job.process_id);
  if (again) [batches, cpu] = [[], null];
  const before = again ? null : job;
  job = news.job;
  gone = null;
  const last = batches.at(-1);
  if (news.batch && news.batch.time !== last?.time) {
    const next = before && last && job.batches === before.batches + 1 + news.batch.overdue;
    next ? add([news.batch]) : catchUp();
  }
  draw();
}

function draw() {
  due ??= setTimeout(() => {
    due = null;
    if (!document.hidden) show();
  }, DRAW);
}

function say(sentence, pace) {
  const line = $("sentence");
  if (line.textContent !== sentence) line.textContent = sentence;
  line.dataset.pace = pace;
  document.body.classList.toggle("gone", pace === "gone");
  document.title = job ? `${job.name}: ${pace}` : "tidemill";
}

function show() {
  if (!job) return;
  $("name").textContent = job.name;
  $("version").textContent = job.version;
  gone ? say(gone, "gone") : say(job.sentence, job.pace);
  $("trouble").replaceChildren(...job.trouble.map(what => element("li", what)));
  $("about").textContent = about();
  const bad = taken => job.bad_by_stream.filter(b => b.taken === taken).map(({ stream, records }) => `${many(records, "bad record")} of ${stream}`).join(", ");
  $("bad").textContent = [bad(false) && `No stream takes ${bad(false)}.`, bad(true) && `A stream takes ${bad(true)}.`].filter(Boolean).join(" ");
  $("now").replaceChildren(...figures().map(([name, value, bad]) => {
    const box = document.createElement("div");
    box.append(element("dt", name), element("dd", value, bad ? "bad" : ""));
    return box;
  }));
  $("many").textContent = many(batches.length, "batch");
  charts.forEach(chart => chart.set(batches));
  showBatches();
}

function about() {
  const c = job.checkpoint;
  const held = job.held_by ? [`the next batch is due, and waits for ${job.held_by}`] : [];
  const made = c && c.last_time !== null
    ? `checkpoint of ${clock.format(c.last_time)} in ${c.directory}: ${bytes(c.bytes)}, made in ${duration(c.last_ms)}${c.failed ? `, ${c.failed} failed` : ""}`
    : c ? `no checkpoint yet in ${c.directory}` : "no checkpoint directory";
  const size = `${many(job.workers * job.processes, "worker")} in ${many(job.processes, "process")}`;
  return [`a batch every ${duration(job.interval_ms)}`, size, `since ${moment(job.started_ms - job.started_ms % 1000)}`, made, ...held].join(" · ");
}

function figures() {
  const recent = batches.slice(-10);
  const perSecond = recent.length ? recent.reduce((sum, b) => sum + rate(b), 0) / recent.length : 0;
  const load = cpu && job.now_ms > cpu.at ? (job.cpu_seconds - cpu.seconds) / ((job.now_ms - cpu.at) / 1000) : null;
  if (!cpu || job.now_ms - cpu.at > 5000) cpu = { at: job.now_ms, seconds: job.cpu_seconds };
  const one = job.processes > 1 ? ", process 0" : "";
  return [
    ["Records a second", count(perSecond)],
    ["Lag, records", count(job.lag)],
    ...(job.lag_ms === null ? [] : [["Lag, time", duration(job.lag_ms)]]),
    ["Records in all", count(job.records)],
    ["Batches in all", count(job.batches)],
    ["Bad records", count(job.bad), job.bad > 0],
    ...(job.lost ? [["Lost positions", count(job.lost), true]] : []),
    ...job.accumulators.map(({ name, value }) => [name, value.length > 40 ? `${value.slice(0, 40)}…` : value]),
    ["Batches in flight", count(job.in_flight)],
    ["Waits at outputs", bytes(job.waiting_bytes)],
    ...(job.rate_limit === null ? [] : [["Limit, records a second", count(job.rate_limit)]]),
    [`Memory${one}`, bytes(job.resident_bytes)],
    [`Busy cores${one}`, load === null ? "–" : load.toFixed(2)],
  ];
}

function showBatches() {
  const shown = batches.slice(all ? 0 : -ROWS).reverse();
  const focused = document.activeElement?.getAttribute("href");
  const delay = (b, ms) => (b.on_clock ? duration(ms) : "given");
  $("batches").replaceChildren(...shown.map(b => {
    const row = element("tr", undefined, b.time === chosen ? "chosen" : "");
    const link = element("a", moment(b.time));
    link.href = `#${b.time}`;
    const cells = [count(b.records), delay(b, b.scheduling_delay_ms), duration(b.processing_ms), delay(b, b.total_delay_ms), count(b.lag)];
    const first = document.createElement("td");
    first.append(link);
    row.append(first, ...cells.map(text => element("td", text)), element("td", count(b.bad), b.bad ? "bad" : ""));
    return row;
  }));
  // The rows are new: the one that had the keyboard has it again.
  if (focused?.startsWith("#")) $("batches").querySelector(`a[href="${focused}"]`)?.focus({ preventScroll: true });
  if (!shown.length) {
    const none = element("td", "None yet.", "none");
    none.colSpan = 7;
    $("batches").insertRow().append(none);
  }
  $("more").hidden = all || batches.length <= ROWS;
}

async function showOperators() {
  if (document.hidden || gone) return;
  try {
    const of = await read("operators");
    $("recent").textContent = of.batches ? `, the last ${many(of.batches, "batch")}` : "";
    showGraph(of);
    $("operators").replaceChildren(...(of.operators.length ? operators("operators", of, showOperators) : [element("p", "None yet.", "none")]));
  } catch {
    // The sentence on top says that the job does not answer.
  }
}

async function showSources() {
  if (document.hidden || gone) return;
  try {
    const sources = await read("sources");
    const known = sources.flatMap(s => s.splits.map(split => ({ ...split, name: s.name })));
    const whole = sources.filter(s => !s.splits.length).map(s => ({ ...s, topic: "", partition: null, position: null }));
    const columns = [
      ["Source", s => s.name, true], ["Topic", s => s.topic, true], ["Partition", s => count(s.partition)],
      ["Read until", s => count(s.position)], ["Records", s => count(s.records)], ["Lag", s => count(s.lag)],
      ["Lag, time", s => (s.lag_ms == null ? "–" : duration(s.lag_ms))],
    ];
    $("sources").replaceChildren(sources.length ? table("sources", columns, [...known, ...whole]) : element("p", "None yet.", "none"));
  } catch {
    // The sentence on top says that the job does not answer.
  }
}

async function showBatch() {
  chosen = Number(location.hash.slice(1)) || null;
  $("batch").hidden = chosen === null;
  showBatches();
  if (chosen === null) return;
  $("batch-title").textContent = `The batch of ${moment(chosen)}`;
  const body = $("batch-body");
  try {
    const b = await read(`batches/${chosen}`);
    const stages = [["Waited", b.on_clock ? b.scheduling_delay_ms : 0], ["planned", b.planning_ms], ["computed", b.computing_ms], ["written", b.output_ms - b.commit_ms],
      ...(b.commit_ms ? [["committed", b.commit_ms]] : [])];
    const bar = element("div", undefined, "stages");
    bar.setAttribute("aria-hidden", "true");
    bar.append(...stages.map(([, ms]) => {
      const part = document.createElement("span");
      part.style.flexGrow = ms;
      return part;
    }));
    const summary = `${many(b.records, "record")}, ${many(b.bad, "bad record")}${b.overdue ? `, ${many(b.overdue, "overdue batch")} after it` : ""}. `
      + stages.map(([name, ms], i) => `${name} ${i ? "in " : ""}${duration(ms)}`).join(", ") + ".";
    const inputs = [
      ["Source", i => i.name, true], ["Topic", i => i.topic, true], ["Partition", i => count(i.partition)], ["From", i => count(i.from)],
      ["Until", i => count(i.until)], ["Records", i => count(i.records)], ["Bytes", i => bytes(i.bytes)], ["Lag", i => count(i.lag)],
      ["Lag, time", i => (i.lag_ms === null ? "–" : duration(i.lag_ms))],
    ];
    const outputs = [
      ["Output", o => o.name, true], ["Tries", o => count(o.tries)], ["Time", o => duration(o.ms)], ["Of it until committed", o => (o.commit_ms ? duration(o.commit_ms) : "–")],
      ["Rows", o => count(o.rows)], ["Bytes", o => bytes(o.bytes)],
    ];
    body.replaceChildren(bar, element("p", summary));
    body.append(element("h3", "What it read"), table("inputs", inputs, b.inputs));
    body.append(element("h3", "What its operators did"), ...operators("operators of the batch", b, showBatch));
    body.append(element("h3", "What its outputs did"), table("outputs of the batch", outputs, b.outputs));
    if (b.lost.length) body.append(element("h3", "What the sources no longer had"), table("lost ranges", inputs.slice(1, 5), b.lost));
  } catch (e) {
    body.replaceChildren(element("p", String(e.message || e), "none"));
  }
  $("batch").focus({ preventScroll: true });
  $("batch").scrollIntoView({ block: "nearest" });
}

// The job is gone if it says so, if its connection breaks, or if it is silent.
function lose(why) {
  if (gone) return;
  gone = `${why} The figures are of ${clock.format(heard)}; this page waits for the job to come back.`;
  if (job) show();
  else say("The job does not answer. This page waits for it.", "gone");
}

let source = null;
function listen() {
  source?.close();
  source = new EventSource("api/v1/events");
  source.addEventListener("batch", e => hear(JSON.parse(e.data)));
  source.addEventListener("alive", e => hear(JSON.parse(e.data)));
  source.addEventListener("end", e => {
    hear(JSON.parse(e.data));
    lose("The job has ended.");
  });
  source.addEventListener("error", () => lose("The job does not answer: it has ended, or it was killed."));
}

listen();
setInterval(() => {
  if (Date.now() - heard > SILENT) lose("The job is silent.");
  if (source.readyState === EventSource.CLOSED) listen();
}, 1000);
const refresh = () => {
  showSources();
  showOperators();
  showOutputs();
  showState();
  showErrors();
};
setInterval(refresh, 2000);
// The other scripts come after this one.
addEventListener("DOMContentLoaded", refresh);
$("more").addEventListener("click", () => {
  all = true;
  showBatches();
});
addEventListener("hashchange", showBatch);
if (location.hash.length > 1) showBatch();
document.addEventListener("visibilitychange", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach(chart => chart.draw()));
