// Tests the page of `tidemill demo` in Chromium: node page.mjs PROGRAM FOLDER writes screenshots into the folder. scripts/browser runs it.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const [program, folder] = process.argv.slice(2);
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

const job = spawn(program, ["demo", "--batches", "2000", "--interval", "500ms", "--rate", "800", "--workers", "2"], { stdio: ["ignore", "ignore", "pipe"] });
let said = "";
const url = await new Promise((resolve, reject) => {
  job.stderr.on("data", data => {
    said += data;
    const line = said.match(/^page +(http:\S+)/m);
    if (line) resolve(line[1]);
  });
  job.on("exit", () => reject(new Error(`the demo has ended:\n${said}`)));
});

mkdirSync(folder, { recursive: true });
const executablePath = execFileSync("sh", ["-c", "command -v chromium || command -v chromium-browser"], { encoding: "utf8" }).trim();
const args = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, args });
const faults = [];

async function open(colorScheme, width) {
  const page = await browser.newPage({ colorScheme, viewport: { width, height: 900 } });
  page.setDefaultTimeout(PATIENCE);
  page.on("pageerror", e => faults.push(e.message));
  page.on("console", m => m.type() === "error" && faults.push(m.text()));
  page.on("request", r => r.url().startsWith(url) || faults.push(`a request leaves the host: ${r.url()}`));
  await page.goto(url);
  // The table has batches, and the table of sources partitions.
  await page.waitForFunction(() => document.querySelectorAll("#batches a").length >= 8 && document.querySelector("#sources td"));
  return page;
}

const text = async (page, selector) => (await page.locator(selector).first().textContent()).trim();
const shoot = (page, name) => page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });

for (const scheme of ["light", "dark"]) {
  for (const width of [1280, 390]) {
    const page = await open(scheme, width);
    await page.locator("#batches a").nth(3).click();
    await page.waitForSelector("#batch-body table");
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
  const shown = await page.evaluate(() => charts.map(c => [c.bars.scales.x.max >= c.top, c.bars.data[1].reduce((a, b) => a + b), c.batches.length]));
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

await browser.close();
job.kill("SIGKILL");
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
