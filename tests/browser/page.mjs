// Tests the page of `tidemill demo`, and that of a job with checkpoints, in Chromium: node page.mjs PROGRAM FOLDER writes screenshots into the
// folder. PROGRAM is `tidemill`; `stateful_network_wordcount` is beside it. A third argument is a folder for the pictures of the guide.
// scripts/browser runs this.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { chromium } from "playwright-core";

const [program, folder, pictures] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const PATIENCE = 60_000;
let [passed, failed] = [0, 0];

async function check(what, work) {
  try {
    await work();
    passed++;
    console.log(`ok      ${what}`);
  } catch (e) {
    failed++;
    console.log(`FAILED  ${what}: ${e.message}`);
  }
}

// Starts a job, and waits for the line that says where its page is.
async function start(program, ...args) {
  const job = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, RUST_LOG: "info" } });
  let said = "";
  const url = await new Promise((resolve, reject) => {
    job.stderr.on("data", data => {
      said += data;
      const line = said.match(/(http:\/\/[0-9.]+:[0-9]+\/)/);
      if (line) resolve(line[1]);
    });
    job.on("exit", () => reject(new Error(`${program} has ended:\n${said}`)));
  });
  return { job, url };
}

const { job, url } = await start(program, "demo", "--batches", "2000", "--interval", "500ms", "--rate", "800", "--workers", "2");

mkdirSync(folder, { recursive: true });
const executablePath = execFileSync("sh", ["-c", "command -v chromium || command -v chromium-browser"], { encoding: "utf8" }).trim();
const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args });
const faults = [];

async function open(colorScheme, width, at = url) {
  const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } });
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", e => faults.push(e.message));
  page.on("console", m => m.type() === "error" && faults.push(m.text()));
  page.on("request", r => r.url().startsWith(at) || faults.push(`a request leaves the host: ${r.url()}`));
  await page.goto(at);
  // The table has batches, and the table of sources partitions.
  await page.waitForFunction(() => document.querySelectorAll("#batches a").length >= 8
    && ["#sources td", "#graph .box", "#errors *", "#state *"].every(part => document.querySelector(part)));
  return page;
}

const text = async (page, selector) => (await page.locator(selector).first().textContent()).trim();
const shoot = (page, name) => page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });

for (const scheme of ["light", "dark"]) {
  for (const width of [1280, 390]) {
    const page = await open(scheme, width);
    await page.locator("#batches a").nth(3).click();
    await page.waitForSelector("#batch-body table");
    await page.locator("#ask-top").fill("5");
    await page.locator("#ask button").click();
    await page.waitForSelector("#answer table");
    await page.locator("#graph .box").nth(1).click();
    await page.waitForSelector("#graph table");
    await check(`${scheme}, ${width} px: nothing is wider than the window`, async () => {
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width);
    });
    await check(`${scheme}, ${width} px: axe finds no fault`, async () => {
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => window.axe.run());
      assert.deepEqual(violations.map(v => `${v.id}: ${v.nodes.map(n => n.html).join(" ")}`), []);
    });
    await shoot(page, `${scheme}-${width}`);
    await page.close();
  }
}

const page = await open("light", 1280);
await check("the figures of the page are those of the API", async () => {
  const rows = await page.evaluate(() => [...document.querySelectorAll("#batches tr")].map(row => {
    const number = i => Number(row.cells[i].textContent.replaceAll(",", ""));
    return { time: Number(row.querySelector("a").hash.slice(1)), records: number(1), lag: number(5), bad: number(6) };
  }));
  const api = await page.evaluate(() => fetch("api/v1/batches").then(answer => answer.json()));
  for (const row of rows) {
    const { time, records, lag, bad } = api.find(b => b.time === row.time);
    assert.deepEqual(row, { time, records, lag, bad });
  }
  assert.ok(rows.length >= 8);
});
await check("a new batch appears by itself", async () => {
  const newest = await text(page, "#batches a");
  await page.waitForFunction(before => document.querySelector("#batches a").textContent !== before, newest);
});
await check("histograms show their last bar, and count each batch", async () => {
  // The charts of page.js.
  const shown = await page.evaluate(() => charts.map(c => [c.bars.scales.x.max >= c.top, c.bars.data[1].reduce((a, b) => a + b), c.timeLine.data[0].length]));
  assert.ok(shown.every(([whole, counted, all]) => whole && counted === all), JSON.stringify(shown));
});
await check("the keyboard opens a batch, whose inputs add up to its records", async () => {
  await page.locator("#batches a").nth(4).focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("#batch-body table");
  const summary = await text(page, "#batch-body p");
  const inputs = await page.evaluate(() => [...document.querySelectorAll("#batch-body table:first-of-type")][0].querySelectorAll("tbody tr").length);
  const records = await page.evaluate(() => [...document.querySelectorAll("#batch-body .wide")[0].querySelectorAll("tbody tr")]
    .reduce((sum, row) => sum + Number(row.cells[5].textContent.replaceAll(",", "")), 0));
  assert.ok(inputs > 0 && Number(summary.replaceAll(",", "").match(/^\d+/)[0]) === records, summary);
  assert.equal(await page.evaluate(() => document.activeElement.id), "batch");
});
await check("an operator shows its workers, whose rows add up", async () => {
  await page.locator("#operators button", { hasText: "count_by" }).first().click();
  await page.waitForSelector("#operators span.worker");
  const rows = await page.evaluate(() => [...document.querySelectorAll("#operators tbody tr")].map(row =>
    [row.querySelector("span.worker") !== null, Number(row.cells[2].textContent.replaceAll(",", ""))]));
  const first = rows.findIndex(([worker]) => worker);
  const workers = rows.slice(first).filter(([worker]) => worker);
  assert.equal(workers.length, 2);
  assert.equal(workers.reduce((sum, [, n]) => sum + n, 0), rows[first - 1][1]);
  assert.match(await text(page, "#operators p"), /Most time: .+ on worker [01], /);
});
await check("the graph has the operators of the table, and a key shows the workers of one", async () => {
  const boxes = await page.evaluate(() => [...document.querySelectorAll("#graph .box")].map(b => b.querySelector("title").textContent));
  const { operators, edges } = await page.evaluate(() => fetch("api/v1/operators").then(answer => answer.json()));
  const places = new Set(edges.flat());
  assert.ok(places.size >= 6, JSON.stringify(edges));
  assert.equal(boxes.length, places.size);
  for (const place of places) assert.ok(boxes.some(b => b.startsWith(operators[place].name)), operators[place].name);
  await page.locator("#graph .box").nth(2).focus();
  const chosen = await page.evaluate(() => document.activeElement.dataset.place);
  await page.keyboard.press("Enter");
  await page.waitForSelector("#graph table");
  assert.equal(await page.evaluate(() => document.activeElement.dataset.place), chosen);
  assert.equal(await text(page, "#graph h3"), operators[chosen].name);
  assert.equal(await page.locator("#graph tbody tr").count(), 2);
});
if (pictures) {
  mkdirSync(pictures, { recursive: true });
  await page.locator("#graph").screenshot({ path: `${pictures}/page-graph.png` });
  await page.locator("section[aria-labelledby='outputs-title']").screenshot({ path: `${pictures}/page-outputs.png` });
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: `${pictures}/page.png` });
}
await check("the form asks a view, and shows what the job answers", async () => {
  await page.locator("#ask-top").fill("3");
  const asked = page.waitForResponse(r => r.url().includes("api/v1/views/authors?"));
  await page.locator("#ask-top").press("Enter");
  const answer = await (await asked).json();
  await page.waitForSelector("#answer table");
  const rows = await page.evaluate(() => [...document.querySelectorAll("#answer tbody tr")].map(row => [...row.cells].map(cell => cell.textContent)));
  assert.deepEqual(rows, answer.rows.map(row => row.map(String)));
  assert.equal(rows.length, 3);
  assert.match(await text(page, "#answer p"), new RegExp(`${answer.matched.toLocaleString("en-US")} rows.*as of the batch of .*\\(${answer.time}\\)`));
  await page.locator("#ask-top").fill("");
  await page.locator("#ask-key").fill(rows[1][0]);
  await page.locator("#ask button").click();
  await page.waitForFunction(() => document.querySelectorAll("#answer tbody tr").length === 1);
  assert.equal(await page.evaluate(() => document.querySelector("#answer td").textContent), rows[1][0]);
  // A refusal is an error on the console of the browser, too.
  const before = faults.length;
  await page.locator("#ask-at").fill("1");
  await page.locator("#ask button").click();
  await page.waitForSelector("#answer .wrong");
  assert.match(await text(page, "#answer .wrong"), /the batch of .* is not held any more/);
  assert.ok(faults.splice(before).every(fault => fault.includes("409")));
});
await check("the form asks a range of keys, and what differs between two batches", async () => {
  const fill = (name, value) => page.locator(`#ask-${name}`).fill(value);
  await fill("key", "");
  await fill("at", "");
  await fill("from_key", "m");
  await fill("until_key", "n");
  await page.locator("#ask button").click();
  await page.waitForSelector("#answer tbody tr");
  const keys = await page.evaluate(() => [...document.querySelectorAll("#answer tbody tr")].map(row => row.cells[0].textContent));
  assert.deepEqual(keys.filter(key => !key.startsWith("m")), []);
  const time = Number((await text(page, "#answer p")).match(/\((\d+)\)/)[1]);
  await page.waitForFunction(before => fetch("api/v1/batches").then(answer => answer.json()).then(all => all[0].time > before), time);
  await fill("from_key", "");
  await fill("until_key", "");
  await fill("since", String(time));
  await page.locator("#ask button").click();
  await page.waitForSelector("[aria-label='Table of differences of authors'] tbody tr");
  const rows = await page.evaluate(() => [...document.querySelectorAll("#answer tbody tr")].map(row => [...row.cells].map(cell => cell.textContent)));
  assert.ok(rows.length > 0);
  assert.match(await text(page, "#answer p"), new RegExp(`^${rows.length.toLocaleString("en-US")} differences? between the batch of .*\\(${time}\\) and the batch of `));
  for (const [key, then, now] of rows) assert.notEqual(then, now, key);
  const [key, then] = rows[0];
  const asked = await page.evaluate(path => fetch(path).then(answer => answer.json()), `api/v1/views/authors?at=${time}&key=${encodeURIComponent(key)}`);
  assert.equal(asked.rows.length ? String(asked.rows[0][1]) : "–", then, key);
  await fill("since", "");
});
await check("what came out last is there for each output", async () => {
  const shown = page.locator("#outputs h4");
  await shown.first().waitFor();
  const outputs = await page.evaluate(() => fetch("api/v1/outputs").then(answer => answer.json()));
  assert.equal(await page.locator("[aria-label='Table of outputs'] tbody tr").count(), outputs.length);
  assert.equal(await shown.count(), outputs.filter(o => o.last).length);
  assert.ok(await page.locator("#outputs .wide[aria-label^='Table of first rows of'] tbody tr").count() > 0);
});
await check("each client of Kafka has a row for each of its brokers", async () => {
  const row = page.locator("[aria-label='Table of clients of Kafka'] tbody tr");
  await row.first().waitFor();
  const clients = await page.evaluate(() => fetch("api/v1/kafka").then(answer => answer.json()));
  assert.equal(await row.count(), clients.flatMap(c => c.brokers).length, JSON.stringify(clients));
  assert.deepEqual(clients.filter(c => c.process !== 0 || c.clients !== 1 || c.transactional_id_prefix !== null), []);
});
await check("the sentence says how the job is", async () => {
  assert.match(await text(page, "#sentence"), /^(It |No batch)/);
  assert.match(await page.title(), /^demo: /);
});
await check("no fault on the console, and no request to another host", async () => assert.deepEqual(faults, []));
await check("a page says that its job was killed", async () => {
  job.removeAllListeners("exit");
  job.kill("SIGKILL");
  await page.waitForSelector('#sentence[data-pace="gone"]', { timeout: 10_000 });
  assert.match(await text(page, "#sentence"), /does not answer/);
  await shoot(page, "gone");
});

// A job with a checkpoint directory, which is killed and started again.
const folderOfState = mkdtempSync(join(tmpdir(), "tidemill-page-"));
const feed = createServer(socket => {
  const words = setInterval(() => socket.write("tide mill tide race\n".repeat(50)), 50);
  // A line that is no text.
  socket.write(Buffer.from([0x74, 0xff, 0xfe, 0x0a]));
  socket.on("error", () => {}).on("close", () => clearInterval(words));
});
await new Promise(resolve => feed.listen(0, "127.0.0.1", resolve));
const counts = () => start(join(dirname(program), "stateful_network_wordcount"), "127.0.0.1", String(feed.address().port), "--interval", "200ms",
  "--checkpoint", join(folderOfState, "state"), "--checkpoint-interval", "1s", "--listen", "127.0.0.1:0");
const first = await counts();
const state = await open("light", 1280, first.url);
await check("the state of a job is there: checkpoints, states, and what a restart would do", async () => {
  await state.waitForSelector("[aria-label='Table of checkpoints'] tbody tr");
  assert.match(await text(state, "#state p"), /^Run 1 of .+ It began with a new directory\. A restart would load the checkpoint of .+, and run .+ again.*\.$/);
  const c = (await state.evaluate(() => fetch("api/v1/state").then(answer => answer.json()))).checkpoint;
  assert.ok(c.states.length === 1 && c.states[0].bytes > 0 && c.tried[0].failure === null, JSON.stringify(c));
  assert.equal(await state.locator("[aria-label='Table of states'] tbody tr").count(), 1);
  await state.waitForSelector("[aria-label='Table of states in memory'] tbody tr");
  const held = (await state.evaluate(() => fetch("api/v1/state").then(answer => answer.json()))).memory;
  assert.ok(held.states.length === 1 && held.states[0].keys > 0 && held.states[0].bytes > 0, JSON.stringify(held));
  assert.equal(await text(state, "#no-views"), "No view of this job can be asked: queryable names one.");
});
if (pictures) {
  mkdirSync(pictures, { recursive: true });
  await state.locator("section[aria-labelledby='state-title']").screenshot({ path: `${pictures}/page-state.png` });
}
await check("bad records are there with their verbs and their batches", async () => {
  await state.waitForSelector("[aria-label='Table of last bad records'] a");
  const rows = label => state.evaluate(l => [...document.querySelectorAll(`[aria-label="Table of ${l}"] tbody tr`)].map(r => [...r.cells].map(c => c.textContent)), label);
  const errors = await state.evaluate(() => fetch("api/v1/errors").then(answer => answer.json()));
  const { stream, records } = errors.bad_by_stream[0];
  assert.deepEqual(await rows("bad records by verb"), [[stream, String(records), "no stream takes them"]]);
  const [, verb, what] = (await rows("last bad records"))[0];
  assert.deepEqual([verb, what], [stream, errors.bad[0].what]);
  await shoot(state, "state");
});
first.job.removeAllListeners("exit");
first.job.kill("SIGKILL");
const second = await counts();
const resumed = await open("dark", 390, second.url);
await check("after a kill the state says with what the next run began", async () => {
  assert.match(await text(resumed, "#state p"), /^Run 2 of .+ It began with the checkpoint of .+, ran \d+ batch(es)? again\. A restart/);
  assert.ok((await resumed.evaluate(() => document.documentElement.scrollWidth)) <= 390);
  await shoot(resumed, "state-390");
});
second.job.kill("SIGKILL");
feed.close();

await browser.close();
rmSync(folderOfState, { recursive: true, force: true });
job.kill("SIGKILL");
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
