// What both tests need: a browser, pages that fail on any error, and what is true of every page.
import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

export const DESKTOP = { width: 1440, height: 900 };
export const NARROW = { width: 420, height: 860 };

export const launch = () => chromium.launch({ executablePath, args: ["--no-sandbox"] });

// A page that fails the test when anything is written to its console, or refused by the policy.
export async function visit(browser, address, options, work) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  const troubles = [];
  try {
    const page = await context.newPage();
    page.setDefaultTimeout(5000);
    page.on("console", (message) => { if (["error", "warning"].includes(message.type())) troubles.push(message.text()); });
    page.on("pageerror", (error) => troubles.push(String(error)));
    page.on("response", (answer) => { if (answer.status() >= 400 && !options.mayFail) troubles.push(`${answer.status()} ${answer.url()}`); });
    await page.goto(address);
    await work(page);
    if (!options.mayFail) assert.deepEqual(troubles, []);
  } finally {
    await context.close();
  }
}

export const isLive = (page) => page.waitForFunction(() => !document.body.dataset.live || document.getElementById("live").classList.contains("on"));

// Waits until the page has been told so often that it is up to date.
export async function ticks(page, count) {
  for (let left = count; left > 0; left -= 1) {
    const before = await page.locator("#live").innerText();
    await page.waitForFunction((old) => document.getElementById("live").textContent !== old, before);
  }
}

// Nothing serious for axe, nothing wider than the window. Where FYKE_SHOTS names a directory, a picture is kept there.
export async function isGood(page, name) {
  await isLive(page);
  const shots = process.env.FYKE_SHOTS;
  if (shots) {
    mkdirSync(shots, { recursive: true });
    await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
  }
  await page.evaluate(() => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
  // By the protocol of the browser: the page's own policy would not let it in.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => axe.run());
  const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.slice(0, 3).map((node) => node.html + " " + node.failureSummary)]), []);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} pixels wider than its window`);
}

export const LOOKS = ["light", "dark"].flatMap((colorScheme) => [["wide", DESKTOP], ["narrow", NARROW]].map(([size, viewport]) => ({ colorScheme, size, viewport })));
