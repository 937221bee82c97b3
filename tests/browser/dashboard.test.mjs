// What only a browser can show of the dashboard. Run by `npm test`, against the proxy that host/examples/dashboard pretends.
//
// FYKE_SERVE: the program (default: ../../target/debug/examples/dashboard); CHROMIUM: the browser (default: /usr/bin/chromium).
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { LOOKS, isGood, isLive, launch, ticks, visit } from "./helpers.mjs";
import { PAGES } from "./pages.mjs";

const program = process.env.FYKE_SERVE ?? new URL("../../target/debug/examples/dashboard", import.meta.url).pathname;

let base, browser;
const servers = [];

async function serve(...options) {
  const server = spawn(program, ["127.0.0.1:0", ...options], { stdio: ["ignore", "pipe", "inherit"] });
  servers.push(server);
  const line = await new Promise((resolve, reject) => {
    server.stdout.once("data", (data) => resolve(String(data)));
    server.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  return { server, base: line.match(/http:\/\/[^/]+/)[0] };
}

before(async () => {
  ({ base } = await serve());
  browser = await launch();
});

after(async () => {
  await browser?.close();
  servers.forEach((server) => server.kill());
});

const open = (path, options, work) => visit(browser, (options.base ?? base) + path, options, work);

const pretend = async (path) => assert.equal((await fetch(base + path, { method: "POST" })).status, 204);

for (const [name, path] of PAGES) {
  for (const { colorScheme, size, viewport } of LOOKS) {
    test(`${name} has no error and nothing serious for axe, ${colorScheme} and ${size}`, async () => {
      await open(path, { colorScheme, viewport, reducedMotion: "reduce" }, (page) => isGood(page, `pretended-${name}-${colorScheme}-${size}`));
    });
  }

  test(`${name} can be read without JavaScript`, async () => {
    await open(path, { javaScriptEnabled: false }, async (page) => {
      assert.ok((await page.locator("main h1").innerText()).length > 0);
      assert.ok((await page.locator("main").innerText()).length > 60);
      assert.equal(await page.locator("button.scripted:visible").count(), 0);
    });
  });
}

test("traffic is seen within two seconds", async () => {
  await open("/dashboard/endpoints?cluster=reports", {}, async (page) => {
    const rate = page.locator("tr", { hasText: "10.0.9.11:8090" }).locator("td").nth(3);
    await page.waitForFunction(() => document.getElementById("live").classList.contains("on"));
    assert.equal(await rate.innerText(), "0/s");
    const began = Date.now();
    await pretend("/fake/traffic?cluster=reports&rate=80");
    await page.waitForFunction(() => /^\d+\.\d\/s$/.test([...document.querySelectorAll("tr")].find((row) => row.textContent.includes("10.0.9.11:8090")).children[4].textContent), null, { timeout: 4000 });
    assert.ok(Date.now() - began <= 2000, `${Date.now() - began} ms`);
  });
  await open("/dashboard", {}, async (page) => {
    await page.locator("tr", { hasText: "reports" }).locator("td").first().filter({ hasText: /\d\/s/ }).waitFor();
  });
});

test("a killed endpoint turns red and says why, and recovers", async () => {
  await open("/dashboard/endpoints", {}, async (page) => {
    const row = page.locator("tr", { hasText: "10.0.2.12:8080" });
    await row.getByText("healthy", { exact: true }).waitFor();
    await pretend("/fake/kill?cluster=orders&address=10.0.2.12:8080");
    await row.getByText("unhealthy").waitFor({ timeout: 4000 });
    assert.match(await row.innerText(), /connection refused/);
    assert.match(await row.getAttribute("class"), /\bbad\b/);
    const [red, green, blue] = (await row.locator(".state").evaluate((one) => getComputedStyle(one).color)).match(/\d+/g).map(Number);
    assert.ok(red > green + 60 && red > blue + 60, `rgb(${red}, ${green}, ${blue})`);
    await pretend("/fake/revive?cluster=orders&address=10.0.2.12:8080");
    await row.getByText("healthy", { exact: true }).waitFor({ timeout: 4000 });
  });
});

test("an endpoint is drained after a question, and restored", async () => {
  await open("/dashboard/endpoints?cluster=users", {}, async (page) => {
    const row = page.locator("tr", { hasText: "10.0.1.13:8080" });
    await row.getByRole("button", { name: "Drain" }).click();
    const dialog = page.getByRole("dialog", { name: "Are you sure?" });
    await dialog.getByText("10.0.1.13:8080").waitFor();
    await dialog.getByRole("button", { name: "Cancel" }).click();
    assert.equal(await row.getByText("draining").count(), 0);
    await row.getByRole("button", { name: "Drain" }).click();
    await page.keyboard.press("Enter");
    await row.getByText("draining", { exact: true }).waitFor();
    await page.getByText("10.0.1.13:8080 drains.").waitFor();
    await row.getByRole("button", { name: "Restore" }).click();
    await row.getByText("healthy", { exact: true }).waitFor();
  });
});

test("a weight is set by keyboard, and what is being typed is left alone", async () => {
  await open("/dashboard/endpoints?cluster=users", {}, async (page) => {
    const field = page.getByLabel("Weight of 10.0.1.14:8080");
    await field.fill("7");
    await ticks(page, 3);
    assert.equal(await field.inputValue(), "7");
    assert.ok(await field.evaluate((one) => one === document.activeElement));
    await field.press("Enter");
    await page.getByText("10.0.1.14:8080 has weight 7.").waitFor();
    await page.reload();
    assert.equal(await page.getByLabel("Weight of 10.0.1.14:8080").inputValue(), "7");
  });
});

test("a filter is swapped from its page", async () => {
  await open("/dashboard/filters/tenant-headers", {}, async (page) => {
    await page.getByLabel("Module").fill("builtin:headers");
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await page.getByRole("dialog", { name: "Are you sure?" }).getByRole("button", { name: "Do it" }).click();
    await page.getByText("tenant-headers has been swapped.").waitFor();
    await page.locator("#versions").getByText("0.2.0").waitFor();
    await page.locator("#versions").getByText("ending").waitFor();
  });
});

test("a file goes on trial as a canary, is promoted, and is taken back", async () => {
  await open("/dashboard/filters/ext-authz", {}, async (page) => {
    await page.getByText("Swap, or try another version out").waitFor();
    await page.getByLabel("or a file").setInputFiles({ name: "next.wasm", mimeType: "application/wasm", buffer: Buffer.from("\0asm\x01\0\0\0") });
    await page.getByLabel("Canary").fill("10%");
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await page.keyboard.press("Enter");
    await page.locator("#canary").getByText("on 10%").waitFor();
    for (const name of ["Promote", "Roll back last change"]) {
      await page.getByRole("button", { name }).click();
      await page.getByRole("dialog", { name: "Are you sure?" }).getByRole("button", { name: "Do it" }).click();
      await page.getByRole("button", { name }).waitFor({ state: "detached" });
    }
  });
});

test("a refused module is reported where it was asked for", async () => {
  await open("/dashboard/filters/request-id", { mayFail: true }, async (page) => {
    await page.getByLabel("Module").fill("nonsense");
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await page.keyboard.press("Enter");
    await page.locator(".toast.bad").getByText("no builtin module").waitFor();
    assert.equal(await page.getByLabel("Module").inputValue(), "nonsense");
  });
});

test("everything can be done without JavaScript", async () => {
  await open("/dashboard/endpoints?cluster=search", { javaScriptEnabled: false }, async (page) => {
    await page.locator("tr", { hasText: "10.0.5.12:50051" }).getByRole("button", { name: "Drain" }).click();
    await page.getByRole("heading", { name: "Are you sure?" }).waitFor();
    await page.getByRole("button", { name: "Do it" }).click();
    await page.getByText("The endpoint drains.").waitFor();
    assert.match(page.url(), /\/dashboard\/endpoints\?cluster=search&done=drain$/);
    await page.locator("tr", { hasText: "10.0.5.12:50051" }).getByText("draining", { exact: true }).waitFor();
    await page.locator("tr", { hasText: "10.0.5.12:50051" }).getByRole("button", { name: "Restore" }).click();
    await page.getByLabel("Weight of 10.0.5.12:50051").fill("12");
    await page.getByLabel("Weight of 10.0.5.12:50051").press("Enter");
    await page.getByText("The weight is set.").waitFor();
    await page.getByRole("link", { name: "p99" }).click();
    assert.match(page.url(), /sort=-p99/);
    await page.goto(base + "/dashboard/filters/access-log");
    await page.getByLabel("or a file").setInputFiles({ name: "next.wasm", mimeType: "application/wasm", buffer: Buffer.from("\0asm\x01\0\0\0") });
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await page.getByText("The filter has been loaded.").waitFor();
    await page.getByText("uploaded, 8 bytes").first().waitFor();
  });
});

test("the keyboard leads everywhere", async () => {
  await open("/dashboard", {}, async (page) => {
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
    await page.keyboard.press("Enter");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard" }).waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.press("g");
    await page.keyboard.press("e");
    await page.waitForURL(/endpoints$/);
    await page.waitForFunction(() => document.getElementById("live").classList.contains("on"));
    await page.keyboard.press("/");
    await page.keyboard.type("refused");
    assert.equal(await page.evaluate(() => document.activeElement.name), "q");
    await page.keyboard.press("Control+A");
    await page.keyboard.type("10.0.6.13");
    await page.waitForURL(/q=10\.0\.6\.13/);
    await page.locator("tbody tr").filter({ hasText: "10.0.6.13:8443" }).waitFor();
    await page.locator("tbody tr").filter({ hasText: "10.0.1.11:8080" }).waitFor({ state: "detached" });
    assert.equal(await page.evaluate(() => document.activeElement.name), "q");
    await page.keyboard.press("Escape");
    await page.keyboard.press("g");
    await page.keyboard.press("f");
    await page.waitForURL(/flow$/);
  });
});

test("selected text and opened details stay while the page is live", async () => {
  await open("/dashboard/filters/billing", {}, async (page) => {
    await page.locator("details.trap summary").first().click();
    await ticks(page, 3);
    assert.ok(await page.locator("details.trap").first().evaluate((one) => one.open));
  });
  await open("/dashboard", {}, async (page) => {
    await page.waitForFunction(() => document.getElementById("live").classList.contains("on"));
    const selected = await page.evaluate(() => {
      const number = document.querySelector("#tiles b");
      getSelection().selectAllChildren(number);
      return String(getSelection());
    });
    await ticks(page, 3);
    assert.equal(await page.evaluate(() => String(getSelection())), selected);
    await page.evaluate(() => getSelection().removeAllRanges());
    await page.waitForFunction((old) => document.querySelector("#tiles b").textContent !== old, selected);
  });
});

test("pages with numbers move, and a pause holds them", async () => {
  await open("/dashboard/tap", {}, async (page) => {
    const first = () => page.locator("tbody tr").first().getAttribute("data-key");
    const before = await first();
    await page.waitForFunction((old) => document.querySelector("tbody tr").dataset.key !== old, before);
    await page.getByRole("button", { name: "Pause" }).click();
    const held = await first();
    // That nothing happens can only be seen by waiting.
    await page.waitForTimeout(2200);
    assert.equal(await first(), held);
    await page.keyboard.press("p");
    await page.waitForFunction((old) => document.querySelector("tbody tr").dataset.key !== old, held);
  });
});

test("the tap filters by status, header and latency", async () => {
  await open("/dashboard/tap", {}, async (page) => {
    await page.getByLabel("Status").fill("4xx");
    await page.getByLabel("Request header").fill("x-team: blue");
    await page.getByRole("button", { name: "Show" }).click();
    await page.waitForURL(/status=4xx/);
    await page.locator("tbody tr").first().waitFor({ timeout: 30000 });
    assert.ok((await page.locator("tbody tr td:nth-child(2)").allInnerTexts()).every((status) => /4\d\d/.test(status)));
    await page.getByLabel("At least").fill("soon");
    await page.getByRole("button", { name: "Show" }).click();
    await page.getByText("a latency is a number with its unit").waitFor();
  });
});

test("a chart says what it was at a moment", async () => {
  await open("/dashboard/services/cluster/users", {}, async (page) => {
    const over = page.locator("figure.chart .u-over").first();
    await over.waitFor();
    const legend = page.locator("figure.chart .legend b").first();
    const box = await over.boundingBox();
    const seen = new Set();
    for (const place of [0.1, 0.5, 0.9]) {
      await page.mouse.move(box.x + box.width * place, box.y + 40);
      await page.evaluate(() => new Promise(requestAnimationFrame));
      seen.add(await legend.innerText());
    }
    assert.ok(seen.size > 1, [...seen].join());
  });
});

test("colours follow the system, and a choice is kept", async () => {
  await open("/dashboard", { colorScheme: "dark" }, async (page) => {
    const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const dark = await ground();
    await page.getByRole("button", { name: "Colours: as the system" }).click();
    const light = await ground();
    assert.notEqual(light, dark);
    await page.reload();
    assert.equal(await ground(), light);
  });
});

test("a connection that breaks is told, and comes back", async () => {
  const { server, base: other } = await serve();
  await open("/dashboard", { base: other, mayFail: true }, async (page) => {
    await page.waitForFunction(() => document.getElementById("live").classList.contains("on"));
    server.kill();
    await page.getByRole("alert").getByText(/Not live since \d\d:\d\d:\d\d UTC/).waitFor({ timeout: 10000 });
    const again = spawn(program, [other.slice("http://".length)], { stdio: "ignore" });
    servers.push(again);
    await page.getByRole("alert").waitFor({ state: "hidden", timeout: 15000 });
    await page.waitForFunction(() => document.getElementById("live").classList.contains("on"));
  });
});

test("whoever has not signed in may look, and nothing else", async () => {
  const { base: guarded } = await serve("--sign-in");
  await open("/dashboard/endpoints", { base: guarded, mayFail: true }, async (page) => {
    assert.ok(await page.getByRole("button", { name: "Drain" }).first().isDisabled());
    await page.getByRole("link", { name: "Sign in" }).click();
    await page.getByLabel("Token").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText("This is not the token").waitFor();
    await page.getByLabel("Token").fill("fyke");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.waitForURL(/endpoints$/);
    assert.ok(await page.getByRole("button", { name: "Drain" }).first().isEnabled());
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("link", { name: "Sign in" }).waitFor();
  });
  const forged = await fetch(guarded + "/dashboard/act", { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" }, body: "action=reload&confirmed=yes&csrf=" });
  assert.equal(forged.status, 403);
});
