// Lighthouse on each page of a dashboard, as on a phone: measure.js ADDRESS EMAIL, with the password on stdin. The exit code is 1 where
// performance or accessibility is below 95, or where something moves while a page loads.
import { readFileSync } from "node:fs";
import { launch } from "chrome-launcher";
import lighthouse from "lighthouse";
import puppeteer from "puppeteer-core";

const LEAST = 95;
const [address, email] = process.argv.slice(2);
const password = readFileSync(0, "utf8").trimEnd();

const form = new URLSearchParams({ email, password });
const signedIn = await fetch(`${address}/login`, { method: "POST", body: form, redirect: "manual" });
if (signedIn.status !== 303) throw new Error(`signing in: ${signedIn.status}`);
const cookie = signedIn.headers.getSetCookie().map((set) => set.split(";")[0]).join("; ");

// The page that the first link of another page leads to.
const first = async (path, link) => {
  const html = await (await fetch(address + path, { headers: { cookie } })).text();
  const found = html.match(link);
  if (!found) throw new Error(`${path} has no link like ${link}`);
  return found[1];
};
const pages = [
  "/",
  "/tools?period=7d&compare=previous",
  await first("/tools?period=7d", /href="(\/tools\/[^"?]+)/),
  "/live",
  "/admin",
  "/admin/users",
  await first("/admin/users", /href="(\/admin\/users\/[0-9a-f]{24})"/),
  "/admin/suggestions",
  await first("/admin/suggestions", /href="(\/admin\/suggestions\/[0-9a-f]{24})"/),
  "/admin/config",
  await first("/admin/config", /href="(\/admin\/config\/[^"]+)"/),
];

const chrome = await launch({ chromeFlags: ["--headless=new", "--no-sandbox"] });
const browser = await puppeteer.connect({ browserURL: `http://127.0.0.1:${chrome.port}` });
let isGood = true;
for (const path of ["/login", ...pages]) {
  if (path !== "/login") {
    const [name, value] = cookie.split("=");
    await browser.setCookie({ name, value, domain: new URL(address).hostname, path: "/" });
  }
  const options = { port: chrome.port, onlyCategories: ["performance", "accessibility"], logLevel: "error" };
  const { lhr } = await lighthouse(address + path, { ...options, disableStorageReset: true });
  if (new URL(lhr.finalDisplayedUrl).pathname !== new URL(address + path).pathname) throw new Error(`${path} leads elsewhere`);
  const score = (name) => Math.round(lhr.categories[name].score * 100);
  const shift = lhr.audits["cumulative-layout-shift"].numericValue;
  const ok = score("performance") >= LEAST && score("accessibility") >= LEAST && shift === 0;
  isGood &&= ok;
  const paint = Math.round(lhr.audits["largest-contentful-paint"].numericValue);
  console.log(`${ok ? "    " : "LOW "}${path}: performance ${score("performance")}, accessibility ${score("accessibility")}, shift ${shift}, largest paint ${paint} ms`);
  if (!ok) {
    for (const audit of Object.values(lhr.audits)) {
      if (audit.score !== null && audit.score < 0.9) console.log(`       ${audit.id} ${audit.score} ${audit.displayValue ?? ""}`);
    }
  }
}
await browser.disconnect();
await chrome.kill();
process.exit(isGood ? 0 : 1);
