// The dashboard of a real proxy, with real endpoints, filters and requests.
//
// FYKE: the proxy (default: ../../target/debug/fyke); CHROMIUM: the browser; FYKE_SHOTS: where pictures of the pages are kept.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { LOOKS, isGood, isLive, launch, visit } from "./helpers.mjs";
import { trapping } from "./module.mjs";

const program = process.env.FYKE ?? new URL("../../target/debug/fyke", import.meta.url).pathname;
const folder = mkdtempSync(join(tmpdir(), "fyke-browser-"));
const upstreams = [];
let browser, proxy, admin, web, fragile, cookies, traffic;

// An endpoint that answers by its path: /slow takes its time, /bad is a 503.
const upstream = (name, port = 0) => new Promise((resolve) => {
  const server = createServer((asked, answer) => {
    const status = asked.url.startsWith("/bad") ? 503 : 200;
    const answered = () => { answer.writeHead(status, { "x-from": name }); answer.end(`${name}\n`); };
    if (asked.url.startsWith("/slow")) setTimeout(answered, 120); else answered();
  });
  server.listen(port, "127.0.0.1", () => { upstreams.push(server); resolve({ server, port: server.address().port }); });
});

const agent = new Agent({ keepAlive: true, maxSockets: 8 });
const get = (address, path, headers = {}) => new Promise((resolve, reject) => {
  const asked = request(`http://${address}${path}`, { agent, headers }, (answer) => { answer.resume(); answer.on("end", () => resolve({ status: answer.statusCode, from: answer.headers["x-from"] })); });
  asked.on("error", reject);
  asked.end();
});

const yaml = ([a, b, c], more = "") => `
workers: 2
state: ${JSON.stringify(join(folder, "state"))}
node: { id: edge-1, cluster: shop, zone: eu-1a }
admin: { address: 127.0.0.1:0, token_file: token }
listeners:
  web: { address: 127.0.0.1:0, filters: [request-id, stats, fault, tenant-headers, router] }
  fragile: { address: 127.0.0.1:0, filters: [breaks, router] }
filters:
  request-id: { module: builtin:request-id }
  stats:
    module: builtin:stats-tags
    config:
      labels:
        - { label: path, from: { path_template: ["/users/{id}", "/orders/{id}", "/slow", "/bad", "/fresh"] }, default: other }
        - { label: class, from: response_code, then: [status_class] }
  fault: { module: builtin:fault, config: { abort: { status: 429, fraction: 100% }, headers: { x-break: "1" } } }
  tenant-headers: { module: builtin:headers, config: { request: { set: { x-tenant: a } } } }
  breaks: { module: breaks.wasm }
  router:
    module: builtin:router
    config:
      routes:
        - { name: orders, match: { path_prefix: /orders }, cluster: orders }
        - { name: rest, match: { path_prefix: / }, cluster: app${more} }
clusters:
  app:
    load_balancer: round_robin
    health_check: { http: /healthz, interval: 200ms, no_traffic_interval: 200ms, healthy: 1, unhealthy: 1 }
    endpoints: [127.0.0.1:${a.port}, { address: 127.0.0.1:${b.port}, zone: eu-1b, weight: 1 }]
  orders: { endpoints: [127.0.0.1:${c.port}] }
`;

let ends;
before(async () => {
  ends = [await upstream("a"), await upstream("b"), await upstream("c")];
  writeFileSync(join(folder, "breaks.wasm"), trapping());
  writeFileSync(join(folder, "proxy.yaml"), yaml(ends));
  proxy = spawn(program, ["--log-format", "json", "run", join(folder, "proxy.yaml")], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  admin = await new Promise((resolve, reject) => {
    proxy.stderr.on("data", (data) => {
      log += data;
      const line = log.split("\n").find((one) => one.includes('"admin endpoint"'));
      const found = line && line.match(/"address":"([^"]+)"/);
      if (found) resolve(found[1]);
    });
    proxy.once("exit", (code) => reject(new Error(`the proxy ended with ${code}: ${log}`)));
  });
  const { bound } = await (await fetch(`http://${admin}/config`)).json();
  ({ web, fragile } = bound);
  browser = await launch();
  // Signing in is part of what is tested: everything else is done by whoever has.
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`http://${admin}/dashboard/sign-in`);
  await page.getByLabel("Token").fill(readFileSync(join(folder, "token"), "utf8").trim());
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
  cookies = await context.storageState();
  await context.close();
  await get(fragile, "/");
  const paths = ["/users/1", "/users/2", "/orders/3", "/slow", "/bad"];
  let turn = 0;
  traffic = setInterval(() => { const path = paths[turn++ % paths.length]; get(web, path, turn % 7 ? {} : { "x-break": "1" }).catch(() => {}); }, 20);
  await fetch(`http://${admin}/dashboard/tap`);
});

after(async () => {
  clearInterval(traffic);
  await browser?.close();
  proxy?.removeAllListeners("exit");
  proxy?.kill();
  agent.destroy();
  upstreams.forEach((server) => { server.closeAllConnections(); server.close(); });
  rmSync(folder, { recursive: true, force: true });
});

const open = (path, options, work) => visit(browser, `http://${admin}${path}`, { storageState: cookies, ...options }, work);
const sure = (page) => page.getByRole("dialog", { name: "Are you sure?" }).getByRole("button", { name: "Do it" }).click();
const endpoint = (page, one) => page.locator("tbody tr", { hasText: `127.0.0.1:${one.port}` });

test("traffic is seen within two seconds", async () => {
  await open("/dashboard/filters/stats/panels", {}, async (page) => {
    await isLive(page);
    assert.equal(await page.getByText("/fresh").count(), 0);
    const began = Date.now();
    for (let count = 0; count < 30; count += 1) await get(web, "/fresh");
    await page.locator(".panel", { hasText: "Most requests" }).getByText("/fresh · 2xx").first().waitFor({ timeout: 4000 });
    assert.ok(Date.now() - began <= 2500, `${Date.now() - began} ms`);
    await page.locator(".panel figure.chart .u-over").first().waitFor();
  });
});

const PAGES = [
  ["overview", "/dashboard"],
  ["service", "/dashboard/services/cluster/app"],
  ["listener", "/dashboard/services/listener/web"],
  ["flow", "/dashboard/flow"],
  ["endpoints", "/dashboard/endpoints"],
  ["filters", "/dashboard/filters"],
  ["filter", "/dashboard/filters/tenant-headers"],
  ["filter-traps", "/dashboard/filters/breaks"],
  ["panels", "/dashboard/filters/stats/panels"],
  ["panels-fault", "/dashboard/filters/fault/panels"],
  ["explain", "/dashboard/explain?url=%2Fusers%2F7&listener=web"],
  ["tap", "/dashboard/tap"],
  ["sources", "/dashboard/sources"],
  ["certificates", "/dashboard/certificates"],
  ["events", "/dashboard/events"],
  ["find", "/dashboard/find?q=app"],
];

for (const [name, path] of PAGES) {
  for (const { colorScheme, size, viewport } of LOOKS) {
    test(`${name} has no error and nothing serious for axe, ${colorScheme} and ${size}`, async () => {
      await open(path, { colorScheme, viewport, reducedMotion: "reduce" }, async (page) => {
        await isGood(page, `proxy-${name}-${colorScheme}-${size}`);
      });
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

test("an endpoint that is killed turns red and says why, and recovers", async () => {
  const [, b] = ends;
  await open("/dashboard/endpoints?cluster=app", {}, async (page) => {
    const row = endpoint(page, b);
    await row.getByText("healthy", { exact: true }).waitFor();
    b.server.close();
    b.server.closeAllConnections();
    await row.getByText("unhealthy").waitFor({ timeout: 4000 });
    assert.match(await row.innerText(), /refused/i);
    const [red, green, blue] = (await row.locator(".state").evaluate((one) => getComputedStyle(one).color)).match(/\d+/g).map(Number);
    assert.ok(red > green + 60 && red > blue + 60, `rgb(${red}, ${green}, ${blue})`);
    await upstream("b", b.port);
    await row.getByText("healthy", { exact: true }).waitFor({ timeout: 4000 });
  });
});

test("an endpoint is drained and restored from the page, and gets no request meanwhile", async () => {
  const [a] = ends;
  await open("/dashboard/endpoints?cluster=app", {}, async (page) => {
    const row = endpoint(page, a);
    await row.getByRole("button", { name: "Drain" }).click();
    await sure(page);
    await row.getByText("drained by an operator").waitFor();
    for (let count = 0; count < 10; count += 1) assert.equal((await get(web, "/users/1")).from, "b");
    const field = page.getByLabel(`Weight of 127.0.0.1:${a.port}`);
    await field.fill("3");
    await field.press("Enter");
    await page.getByText("has weight 3.").waitFor();
    await row.getByRole("button", { name: "Restore" }).click();
    await row.getByText("healthy", { exact: true }).waitFor();
    const { app } = await (await fetch(`http://${admin}/clusters`)).json();
    assert.equal(app.endpoints[0].weight, 3);
  });
});

test("a filter is swapped from its page", async () => {
  await open("/dashboard/filters/tenant-headers", {}, async (page) => {
    await page.getByText("Swap, or try another version out").waitFor();
    await page.getByLabel("Module").fill("builtin:headers");
    await page.getByLabel("Configuration").first().fill('{"request":{"set":{"x-tenant":"b"}}}');
    await page.getByRole("button", { name: "Load", exact: true }).click();
    await sure(page);
    await page.getByText("tenant-headers has been swapped.").waitFor();
    const { generation } = await (await fetch(`http://${admin}/config`)).json();
    assert.ok(generation >= 2);
  });
});

test("a trap is shown with its backtrace", async () => {
  assert.equal((await get(fragile, "/")).status, 503);
  await open("/dashboard/filters/breaks", {}, async (page) => {
    const trap = page.locator("details.trap").first();
    await trap.locator("summary").click();
    await trap.getByText("shop::price_of_nothing").waitFor();
    await trap.getByText("request_headers").first().waitFor();
  });
});

test("the tester answers without JavaScript too", async () => {
  for (const javaScriptEnabled of [true, false]) {
    await open("/dashboard/explain", { javaScriptEnabled }, async (page) => {
      await page.getByLabel("URL or path").fill("/orders/9");
      await page.getByLabel("Listener").selectOption("web");
      await page.getByRole("button", { name: "Explain" }).click();
      await page.locator(".verdict").getByRole("link", { name: "orders" }).waitFor();
      await page.locator("ol.steps li", { hasText: "orders" }).first().waitFor();
      assert.ok(await page.locator("ol.steps li.passed, ol.steps li.unseen").count() > 0);
    });
  }
});

test("the tap is live, and filters by header, status and latency", async () => {
  await open("/dashboard/tap", {}, async (page) => {
    await page.getByLabel("At least").fill("100ms");
    await page.getByRole("button", { name: "Show" }).click();
    await page.waitForURL(/latency=100ms/);
    await page.locator("tbody tr", { hasText: "/slow" }).first().waitFor();
    assert.ok((await page.locator("tbody tr th.path").allInnerTexts()).every((path) => path.includes("/slow")));
    await page.getByLabel("At least").fill("");
    await page.getByLabel("Request header").fill("x-break: 1");
    await page.getByLabel("Status").fill("4xx");
    await page.getByRole("button", { name: "Show" }).click();
    await page.waitForURL(/status=4xx/);
    const first = page.locator("tbody tr").first();
    await first.waitFor();
    const key = await first.getAttribute("data-key");
    await page.waitForFunction((old) => document.querySelector("tbody tr").dataset.key !== old, key);
    assert.ok((await page.locator("tbody tr td:nth-child(2)").allInnerTexts()).every((status) => /429/.test(status)));
  });
});

test("a reload is shown with what it changed, line by line", async () => {
  writeFileSync(join(folder, "proxy.yaml"), yaml(ends, ", timeout: 7s"));
  await open("/dashboard", {}, async (page) => {
    await page.getByRole("button", { name: "Reload" }).first().click();
    await sure(page);
    await page.getByText("The configuration has been read again.").waitFor();
    const diff = page.locator("pre.diff").first();
    await diff.waitFor({ state: "attached" });
    assert.match(await diff.textContent(), /timeout: 7s/);
  });
});

test("whoever has not signed in may look, but not at what users send", async () => {
  await open("/dashboard/tap", { storageState: undefined }, async (page) => {
    await page.getByText("they show what users send").waitFor();
    assert.equal(await page.locator("tbody tr").count(), 0);
  });
});
