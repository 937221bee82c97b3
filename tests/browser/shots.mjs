// Screenshots of every page: node shots.mjs http://127.0.0.1:9900 DIRECTORY [name ...]
import { mkdirSync } from "node:fs";
import { chromium } from "playwright-core";
import { PAGES } from "./pages.mjs";

const [base, directory, ...wanted] = process.argv.slice(2);
mkdirSync(directory, { recursive: true });
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
for (const [name, path] of PAGES.filter(([name]) => wanted.length === 0 || wanted.includes(name))) {
  for (const [kind, options] of Object.entries({
    light: { colorScheme: "light", viewport: { width: 1440, height: 900 } },
    dark: { colorScheme: "dark", viewport: { width: 1440, height: 900 } },
    narrow: { colorScheme: "light", viewport: { width: 420, height: 860 } },
    plain: { colorScheme: "light", viewport: { width: 1440, height: 900 }, javaScriptEnabled: false },
  })) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.on("console", (message) => { if (message.type() === "error") console.log(name, kind, message.text()); });
    page.on("pageerror", (error) => console.log(name, kind, String(error)));
    await page.goto(base + path);
    await page.waitForTimeout(options.javaScriptEnabled === false ? 100 : 1500);
    await page.screenshot({ path: `${directory}/${name}-${kind}.png`, fullPage: kind !== "narrow" });
    await context.close();
  }
}
await browser.close();
