// What the job keeps, questions to its views, and what went wrong.
"use strict";

// The most rows of an answer.
const MOST = 10_000;

let known = null;

// A value of a row as people read it.
const plain = value => (value === null ? "–" : typeof value === "object" ? JSON.stringify(value) : typeof value === "number" ? String(value) : value);

// Fills the choice of views, and keeps what was chosen.
function offerViews(views) {
  const choice = $("ask-view");
  if ([...choice.options].map(o => o.value).join("\n") !== views.join("\n")) {
    const chosen = choice.value;
    choice.replaceChildren(...views.map(view => new Option(view, view, false, view === chosen)));
  }
  $("ask").hidden = views.length === 0;
  $("no-views").hidden = views.length > 0;
}

// Reads JSON. Numbers beyond 2^53 would lose digits, so they stay texts.
const exact = text => JSON.parse(text, (key, value, context) =>
  (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) ? context?.source ?? value : value));

// A table of rows, a column for each of their parts. Rows with names have these as titles.
function rowTable(label, rows) {
  const names = rows.every(row => row && typeof row === "object" && !Array.isArray(row)) ? [...new Set(rows.flatMap(Object.keys))] : [];
  if (names.length) {
    return table(label, names.map(name => [name, row => plain(row[name] ?? null), rows.some(row => typeof row[name] !== "number")]), rows);
  }
  const width = Math.max(1, ...rows.map(row => (Array.isArray(row) ? row.length : 1)));
  const part = (row, i) => (Array.isArray(row) ? (i < row.length ? plain(row[i]) : "") : i ? "" : plain(row));
  const isText = i => rows.some(row => typeof (Array.isArray(row) ? row[i] : row) !== "number");
  const title = i => (width === 1 ? "Row" : i === 0 ? "Key" : width === 2 ? "Value" : `Value ${i}`);
  return table(label, Array.from({ length: width }, (_, i) => [title(i), row => part(row, i), isText(i)]), rows);
}

// The rows of a view that the form asks for, as of a batch, or of the newest one.
async function rowsOf(view, at, most) {
  const parts = new URLSearchParams();
  for (const name of ["key", "prefix", "from_key", "until_key", "top", "limit"]) {
    const value = $(`ask-${name}`).value.trim();
    if (value) parts.set(name, value);
  }
  if (most && !parts.has("limit")) parts.set("limit", most);
  if (at) parts.set("at", at);
  const answer = await fetch(`api/v1/views/${encodeURIComponent(view)}?${parts}`);
  const text = await answer.text();
  if (!answer.ok) throw new Error(text.trim());
  return exact(text);
}

// What differs between two answers: each key with its values then and now. A row without parts is its own key.
function difference(then, now) {
  const whole = [then, now].find(({ rows, matched }) => rows.length < matched);
  if (whole) throw new Error(`${many(whole.matched, "row")}, more than the ${count(whole.rows.length)} that were asked for: ask for fewer keys, or for more rows.`);
  const values = new Map();
  [then, now].forEach(({ rows }, i) => rows.forEach(row => {
    const parts = Array.isArray(row) && row.length > 1 ? row : [row, "there"];
    const key = JSON.stringify(parts.slice(0, -1));
    values.has(key) || values.set(key, { key: parts.slice(0, -1).map(plain).join(", "), pair: [null, null] });
    values.get(key).pair[i] = plain(parts.at(-1));
  }));
  return [...values.values()].filter(({ pair: [before, after] }) => before !== after);
}

// Asks a view what the form says.
async function ask() {
  const [view, at, since] = ["view", "at", "since"].map(name => $(`ask-${name}`).value.trim());
  const holder = $("answer");
  const of = time => `the batch of ${moment(time)} (${time})`;
  try {
    if (since) {
      const [then, now] = [await rowsOf(view, since, MOST), await rowsOf(view, at, MOST)];
      const rows = difference(then, now);
      const columns = [["Key", row => row.key, true], ...["Then", "Now"].map((title, i) => [title, row => row.pair[i] ?? "–", true])];
      const said = `${many(rows.length, "difference")} between ${of(then.time)} and ${of(now.time)}.`;
      holder.replaceChildren(element("p", said), ...(rows.length ? [table(`differences of ${view}`, columns, rows)] : []));
      return;
    }
    const { rows, time, matched } = await rowsOf(view, at);
    const said = `${many(matched, "row")}${matched > rows.length ? `, ${count(rows.length)} of them here` : ""}, as of ${of(time)}.`;
    holder.replaceChildren(element("p", said), ...(rows.length ? [rowTable(`rows of ${view}`, rows)] : []));
  } catch (e) {
    holder.replaceChildren(element("p", String(e.message || e), "wrong"));
  }
}

// The text of what is shown, by path.
const texts = new Map();

// Reads a part of the API, and shows it if it is not what was shown last.
async function follow(path, show) {
  if (document.hidden || gone) return;
  try {
    const answer = await read(path);
    const text = JSON.stringify(answer);
    if (text === texts.get(path)) return;
    texts.set(path, text);
    show(answer);
  } catch {
    // The sentence on top says that the job does not answer.
  }
}

// What each output has done, and the first rows that came out last.
const showOutputs = () => follow("outputs", outputs => {
  const columns = [
    ["Output", o => o.name, true], ["Batches", o => count(o.batches)], ["Tries", o => count(o.tries)], ["Time in all", o => duration(o.ms)], ["Rows", o => count(o.rows)], ["Bytes", o => bytes(o.bytes)],
  ];
  const last = ({ name, last }) => {
    const title = element("h4", `${name}, batch `);
    const link = element("a", moment(last.time));
    link.href = `#${last.time}`;
    title.append(link);
    // A long row is cut off, so it is no JSON.
    const row = text => {
      try {
        return exact(text);
      } catch {
        return text;
      }
    };
    const box = document.createElement("div");
    box.append(title, rowTable(`first rows of ${name}`, last.first_rows.map(row)));
    return box;
  };
  const shown = outputs.filter(o => o.last);
  const boxes = element("div", undefined, "boxes");
  boxes.append(...shown.map(last));
  $("outputs").replaceChildren(
    outputs.length ? table("outputs", columns, outputs) : element("p", "None yet.", "none"),
    ...(shown.length ? [element("h3", "What came out last: the first rows of the last batch that had some"), boxes] : []),
  );
});

function restartText(c) {
  const { from, bytes: size, batches: n, records, ms, complete } = c.restart;
  const load = from === null ? "A restart would begin at the first batch" : `A restart would load the checkpoint of ${moment(from)}, ${bytes(size)}`;
  const again = n ? `${complete ? "" : "at least "}${many(n, "batch")} with ${many(records, "record")} again, for which it took ${duration(ms)}` : "no batch again";
  return `${load}, and run ${again}.`;
}

let inMemory = null;

// What the workers hold in memory now, and what each process uses.
function showMemory(m) {
  const text = JSON.stringify(m);
  if (text === inMemory) return;
  inMemory = text;
  const panes = m.states.some(s => s.panes);
  const columns = [
    ["State", s => s.name, true], ["What it is", s => s.kind, true], ["Keys", s => count(s.keys)],
    ...(panes ? [["Panes", s => (s.panes ? count(s.panes) : "–")]] : []),
    ["Memory", s => bytes(s.bytes)], ["Keys of each worker", s => s.workers.map(w => count(w.keys)).join(" · ")],
  ];
  const processes = [
    ["Process", p => String(p.process), true], ["Memory", p => bytes(p.resident_bytes)], ["Processor time", p => duration(p.cpu_seconds * 1000)],
  ];
  const total = m.states.reduce((sum, s) => sum + s.bytes, 0);
  const shared = `Dictionaries hold ${many(m.dictionaries.keys, "key")} in ${bytes(m.dictionaries.bytes)}, and arrangements of views take ${bytes(m.arrangements.bytes)}.`;
  $("memory").replaceChildren(
    element("h3", `States in memory: about ${bytes(total)}`),
    m.states.length ? table("states in memory", columns, [...m.states].sort((a, b) => b.bytes - a.bytes)) : element("p", "None.", "none"),
    ...(m.dictionaries.keys ? [element("p", shared)] : []),
    ...(m.processes.length > 1 ? [element("h3", "Processes"), table("processes", processes, m.processes)] : []),
  );
}

let askedKafka = 0;

// How the clients of Kafka in all processes are connected. They say it each five seconds.
// The producers of an exactly-once sink are one row.
async function showKafka() {
  if (Date.now() - askedKafka < 2000) return;
  askedKafka = Date.now();
  const rows = (await read("kafka")).flatMap(c => c.brokers.map(b => ({ ...c, ...b })));
  const client = r => [
    `${r.clients > 1 ? many(r.clients, r.client) : r.client}${r.transactional_id_prefix ? ` ${r.transactional_id_prefix}…` : ""}`,
    ...(r.transaction ? [r.transaction] : []),
  ].join(", ");
  const columns = [
    ...(rows.some(r => r.process) ? [["Process", r => String(r.process), true]] : []),
    ["Broker", r => r.broker, true], ["Client", client, true], ["State", r => r.state, true],
    ["Round trip", r => (r.rtt_ms === null ? "–" : duration(r.rtt_ms))], ["99 % within", r => (r.rtt_p99_ms === null ? "–" : duration(r.rtt_p99_ms))],
    ["Requests that wait", r => count(r.requests)], ["Failed", r => count(r.errors)], ["Records in its queues", r => count(r.records)],
  ];
  $("kafka").replaceChildren(...(rows.length ? [element("h3", "Clients of Kafka"), table("clients of Kafka", columns, rows)] : []));
}

async function showState() {
  if (document.hidden || gone) return;
  try {
    await showKafka();
    const { views, memory, checkpoint: c } = await read("state");
    offerViews(views);
    showMemory(memory);
    const text = JSON.stringify(c);
    if (text === known) return;
    known = text;
    if (!c) {
      $("state").replaceChildren(element("p", "There is no checkpoint directory: a restart begins with empty states.", "none"));
      return;
    }
    const began = c.began_with === null ? "a new directory" : `the checkpoint of ${moment(c.began_with)}, ran ${many(c.ran_again, "batch")} again`;
    const about = `Run ${c.generation} of ${c.directory}. It began with ${began}. ${restartText(c)}`;
    const states = [
      ["State", s => s.name, true], ["What it is", s => s.kind, true], ["Size", s => bytes(s.bytes)], ["Pieces", s => count(s.chunks)],
    ];
    const tried = [
      ["Batch", t => moment(t.time), true], ["Time to make it", t => duration(t.ms)], ["Size", t => (t.failure ? "–" : bytes(t.bytes))],
      ["Failure", t => t.failure ?? "", true],
    ];
    const total = c.states.reduce((sum, s) => sum + s.bytes, 0);
    $("state").replaceChildren(
      element("p", about),
      element("h3", `States in the newest checkpoint: ${bytes(total)}`),
      c.states.length ? table("states", states, [...c.states].sort((a, b) => b.bytes - a.bytes)) : element("p", "None.", "none"),
      element("h3", "Checkpoints of this run"),
      c.tried.length ? table("checkpoints", tried, c.tried.slice(0, 10)) : element("p", "None yet.", "none"),
    );
  } catch {
    // The sentence on top says that the job does not answer.
  }
}

const showErrors = () => follow("errors", e => {
  const parts = [];
  const part = (title, label, columns, rows) => rows.length && parts.push(element("h3", title), table(label, columns, rows.slice(0, 20)));
  part("Bad records", "bad records by verb", [
    ["Verb", b => b.stream, true], ["Records", b => count(b.records)], ["Taken", b => (b.taken ? "a stream takes them" : "no stream takes them"), true],
  ], e.bad_by_stream);
  const linked = b => {
    const link = element("a", moment(b.time));
    link.href = `#${b.time}`;
    return link;
  };
  part("The last of them, one for each batch, verb and worker", "last bad records", [["Batch", linked, true], ["Verb", b => b.stream, true], ["What is wrong", b => b.what, true]], e.bad);
  part("Outputs that were tried again", "outputs that were tried again", [
    ["Batch", linked, true], ["Output", o => o.output, true], ["Tries", o => count(o.tries)], ["Time", o => duration(o.ms)],
  ], e.outputs);
  part("Checkpoints that failed", "checkpoints that failed", [["Batch", linked, true], ["Why", c => c.why, true]], e.checkpoints);
  part("Restarts", "restarts", [["When", r => moment(r.at_ms), true], ["Why", r => r.why, true]], e.restarts);
  if (e.lost) parts.push(element("p", `${many(e.lost, "position")} of the sources had gone before they were read.`));
  const { requests, last_ms, why } = e.refused;
  if (requests) parts.push(element("p", `${many(requests, "request")} to this port refused, the last at ${moment(last_ms)}: ${why}.`));
  for (const r of e.refused_connections) {
    parts.push(element("p", `${many(r.connections, "connection")} to the cluster's port of process ${r.process} refused, the last at ${moment(r.last_ms)}: ${r.why}.`));
  }
  $("errors").replaceChildren(...(parts.length ? parts : [element("p", "Nothing went wrong since the job was started.", "none")]));
});

$("ask").addEventListener("submit", e => {
  e.preventDefault();
  ask();
});
