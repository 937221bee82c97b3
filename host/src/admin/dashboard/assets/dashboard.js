// Fyke's dashboard: keeps pages up to date, draws charts, asks before it does something. Pages work without it.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("js");

  // Colours: before anything is drawn.
  const THEMES = ["system", "light", "dark"];
  const theme = () => {
    try { return THEMES.includes(localStorage.getItem("fyke-theme")) ? localStorage.getItem("fyke-theme") : "system"; } catch { return "system"; }
  };
  const paint = () => {
    if (theme() === "system") delete root.dataset.theme; else root.dataset.theme = theme();
  };
  paint();

  const $ = (id) => document.getElementById(id);
  const PAUSE_OF_TICKS = 5000;
  const CHARTS_EVERY = 5000;

  // Time of day, UTC, as the server writes it.
  const clock = () => new Date().toISOString().slice(11, 19);

  // Morphing: makes what is there like what was sent, and touches nothing that is the same already. What somebody has
  // typed, opened, selected or focused stays.
  const KEEPS = "data-keep";
  const key = (node) => node.nodeType === 1 ? (node.id || node.dataset.key || "") : "";
  const isAlike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && key(one) === key(other);

  function morphAttributes(now, next) {
    for (const { name } of [...now.attributes]) {
      // Whether something is open is up to whoever looks; whether it is wide, to the window.
      if (!next.hasAttribute(name) && !(name === "open" && now.nodeName === "DETAILS") && name !== "data-wide") now.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (name === "open" && now.nodeName === "DETAILS") continue;
      if (now.getAttribute(name) !== value) now.setAttribute(name, value);
    }
  }

  function morphField(now, next) {
    const isTouched = now === document.activeElement || (now.nodeName === "INPUT" && now.type !== "hidden" && now.value !== now.defaultValue);
    if (isTouched) return;
    morphAttributes(now, next);
    if (now.nodeName === "INPUT" && now.value !== next.value) now.value = next.value;
  }

  function morph(now, next) {
    if (now.nodeType !== 1) {
      if (now.nodeValue !== next.nodeValue) now.nodeValue = next.nodeValue;
      return;
    }
    if (now.hasAttribute(KEEPS)) return;
    if (now.nodeName === "INPUT" || now.nodeName === "TEXTAREA") return morphField(now, next);
    if (now.nodeName === "SELECT") { if (now !== document.activeElement) morphAttributes(now, next); return; }
    morphAttributes(now, next);
    morphChildren(now, next);
  }

  function morphChildren(now, next) {
    const keyed = new Map();
    for (const child of now.children) if (key(child)) keyed.set(child.nodeName + key(child), child);
    let place = now.firstChild;
    for (const wanted of [...next.childNodes]) {
      const known = wanted.nodeType === 1 && key(wanted) ? keyed.get(wanted.nodeName + key(wanted)) : undefined;
      if (known && known.parentNode === now) {
        if (known !== place) now.insertBefore(known, place); else place = place.nextSibling;
        morph(known, wanted);
        continue;
      }
      if (place && isAlike(place, wanted)) {
        const here = place;
        place = place.nextSibling;
        morph(here, wanted);
        continue;
      }
      // Moves it over: nobody needs what was sent any more.
      now.insertBefore(wanted, place);
      if (wanted.nodeType === 1 && wanted.matches("tbody > tr, ol.events > li")) wanted.classList.add("fresh");
    }
    while (place) {
      const gone = place;
      place = place.nextSibling;
      gone.remove();
    }
  }

  function parsed(html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  }

  // Regions wait while somebody selects text in them.
  const waiting = new Map();
  let isPaused = false;

  function isSelecting(region) {
    const selection = getSelection();
    return selection && !selection.isCollapsed && selection.containsNode(region, true);
  }

  function update(id, html) {
    const region = $(id);
    if (!region) return;
    if (isPaused || isSelecting(region)) { waiting.set(id, html); return; }
    waiting.delete(id);
    morphChildren(region, parsed(html));
    adopt(region);
  }

  function flush() {
    for (const [id, html] of [...waiting]) update(id, html);
  }

  // Live
  let events = null;
  let lastTick = 0;
  let watchdog = 0;

  function say(text, state) {
    const live = $("live");
    live.className = "live " + state;
    if (live.textContent !== text) live.textContent = text;
  }

  function stale(since) {
    const banner = $("stale");
    if (banner.hidden) {
      banner.textContent = `Not live since ${since} UTC. What is shown is old; trying again.`;
      banner.hidden = false;
    }
    say("not live", "off");
  }

  function fresh(time) {
    lastTick = Date.now();
    lastClock = time;
    $("stale").hidden = true;
    if (isPaused) say("paused", "paused"); else say(`${time} UTC`, "on");
  }
  let lastClock = clock();

  function connect() {
    disconnect();
    const address = document.body.dataset.live;
    if (!address) return;
    events = new EventSource(address);
    lastTick = Date.now();
    events.onmessage = (event) => {
      const { id, html } = JSON.parse(event.data);
      update(id, html);
    };
    events.addEventListener("tick", (event) => { flush(); fresh(event.data); });
    events.addEventListener("gone", () => { disconnect(); stale(lastClock); });
    // The browser tries again by itself, unless it was refused.
    events.onerror = () => {
      stale(lastClock);
      if (events && events.readyState === EventSource.CLOSED) { disconnect(); retry = setTimeout(connect, 4000); }
    };
    watchdog = setInterval(() => { if (Date.now() - lastTick > PAUSE_OF_TICKS) { stale(lastClock); connect(); } }, 1000);
  }
  let retry = 0;

  function disconnect() {
    clearTimeout(retry);
    clearInterval(watchdog);
    if (events) events.close();
    events = null;
  }

  function pause(on) {
    isPaused = on;
    const button = $("pause");
    if (button) { button.textContent = on ? "Go on" : "Pause"; button.setAttribute("aria-pressed", String(on)); }
    if (!on) flush();
    if (events) fresh(lastClock);
  }

  // Charts
  const charts = new Map();
  const colour = (tone) => getComputedStyle(root).getPropertyValue(tone === "rate" ? "--accent" : `--${tone}`).trim() || "gray";

  const three = (value) => {
    const size = Math.abs(value);
    if (Number.isInteger(value) && size < 1000) return String(value);
    if (value !== 0 && size < 0.01) return value.toExponential(1);
    const [scale, suffix] = size >= 1e9 ? [1e9, "G"] : size >= 1e6 ? [1e6, "M"] : size >= 1e3 ? [1e3, "k"] : [1, ""];
    return Number((value / scale).toPrecision(3)) + suffix;
  };
  const WRITTEN = {
    number: three,
    per_second: (value) => three(value) + "/s",
    share: (value) => three(value * 100) + "%",
    seconds: (value) => value === 0 ? "0" : value >= 1 ? three(value) + " s" : value >= 1e-3 ? three(value * 1e3) + " ms" : three(value * 1e6) + " µs",
    bytes: (value) => {
      let scaled = value, place = 0;
      while (scaled >= 1024 && place < 5) { scaled /= 1024; place += 1; }
      return three(scaled) + " " + ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][place];
    },
    bytes_per_second: (value) => WRITTEN.bytes(value) + "/s",
  };

  function stacked(series) {
    const sums = [];
    return series.map(({ values }) => values.map((value, place) => {
      if (value === null) return null;
      sums[place] = (sums[place] || 0) + value;
      return sums[place];
    }));
  }

  function columns(data) {
    const length = Math.max(0, ...data.series.map((one) => one.values.length));
    const times = Array.from({ length }, (_, place) => data.start / 1000 + place * data.step);
    const tops = data.stacked ? stacked(data.series) : data.series.map((one) => one.values);
    return [times, ...tops];
  }

  function tell(figure, data, place) {
    const keys = figure.querySelector(".legend").children;
    const written = WRITTEN[data.unit] || three;
    data.series.forEach(({ values }, index) => {
      const value = place === null ? values.findLast((one) => one !== null) : values[place];
      const number = keys[index] && keys[index].querySelector("b");
      if (number) number.textContent = value === null || value === undefined ? "–" : written(value);
    });
  }

  function draw(figure, data) {
    const known = charts.get(figure);
    if (known) {
      known.data = data;
      known.plot.setData(columns(data));
      if (!(known.plot.cursor.left >= 0)) tell(figure, data, null);
      return;
    }
    if (!data.series.some(({ values }) => values.some((value) => value !== null))) return;
    const canvas = figure.querySelector(".canvas");
    const written = WRITTEN[data.unit] || three;
    const entry = { data, plot: null };
    const axis = {
      stroke: () => colour("muted"), grid: { stroke: () => colour("rule"), width: 1 }, ticks: { show: false },
      font: "11px " + getComputedStyle(root).getPropertyValue("--text-font"),
    };
    const line = ({ name, tone }) => ({
      label: name, width: 1.4, points: { show: false }, stroke: () => colour(tone), fill: data.stacked ? () => colour(tone) + "70" : undefined,
    });
    const size = () => ({ width: Math.max(200, canvas.clientWidth), height: 186 });
    const options = {
      ...size(), legend: { show: false }, padding: [8, 8, 0, 0],
      scales: { x: { time: true }, y: { range: (_, low, high) => [Math.min(0, low || 0), high > 0 ? high * 1.06 : 1] } },
      cursor: { y: false, drag: { x: true, y: false }, sync: { key: "time" } },
      axes: [
        { ...axis, values: (_, moments) => moments.map((moment) => new Date(moment * 1000).toISOString().slice(11, 16)), size: 26 },
        { ...axis, values: (_, ticks) => ticks.map(written), size: 62 },
      ],
      series: [{}, ...data.series.map(line)],
      // Of a stack, each is filled down to the one below.
      bands: data.stacked ? data.series.slice(1).map((_, place) => ({ series: [place + 2, place + 1] })) : [],
      hooks: { setCursor: [(plot) => tell(figure, entry.data, plot.cursor.left >= 0 ? plot.cursor.idx : null)] },
    };
    canvas.textContent = "";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", figure.querySelector(".title").textContent + ", the last hour");
    figure.setAttribute(KEEPS, "");
    entry.plot = new uPlot(options, columns(data), canvas);
    charts.set(figure, entry);
    new ResizeObserver(() => { if (canvas.clientWidth > 0) entry.plot.setSize(size()); }).observe(canvas);
  }

  async function refresh(figure) {
    try {
      const answer = await fetch(figure.dataset.chart, { headers: { accept: "application/json" } });
      if (answer.ok && figure.isConnected) draw(figure, await answer.json());
    } catch { /* The banner says that the connection is gone. */ }
  }

  function refreshAll() {
    for (const [figure, { plot }] of charts) if (!figure.isConnected) { plot.destroy(); charts.delete(figure); }
    if (!window.uPlot || document.hidden || isPaused) return;
    document.querySelectorAll("figure[data-chart]").forEach(refresh);
  }

  // Soft navigation: forms that filter, links that sort.
  let steps = 0;
  const here = () => location.pathname + location.search;
  let shown = "";

  async function go(address, isReplacing) {
    steps += 1;
    const step = steps;
    try {
      const answer = await fetch(address, { headers: { accept: "text/html" } });
      const next = new DOMParser().parseFromString(await answer.text(), "text/html");
      // Somebody has gone on meanwhile.
      if (step !== steps) return;
      if (!next.querySelector("main")) throw new Error("no page");
      history[isReplacing ? "replaceState" : "pushState"]({}, "", address);
      shown = here();
      document.title = next.title;
      const live = next.body.dataset.live;
      if (live) document.body.dataset.live = live; else delete document.body.dataset.live;
      waiting.clear();
      morphChildren($("main"), document.adoptNode(next.querySelector("main")));
      morphChildren(document.querySelector("nav.side"), document.adoptNode(next.querySelector("nav.side")));
      adopt($("main"));
      pause(false);
      connect();
      refreshAll();
    } catch {
      location.href = address;
    }
  }

  const addressOf = (form) => {
    const fields = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value !== "") fields.append(name, value);
    const query = fields.toString();
    return form.getAttribute("action") + (query ? "?" + query : "");
  };

  // Actions
  function toast(text, report, isGood) {
    const box = document.createElement("div");
    box.className = isGood ? "toast" : "toast bad";
    box.textContent = text;
    if (report) {
      const pre = document.createElement("pre");
      pre.textContent = report;
      pre.tabIndex = 0;
      box.append(pre);
    }
    $("toasts").append(box);
    setTimeout(() => box.remove(), isGood ? 6000 : 30000);
  }

  function ask(question) {
    const dialog = $("confirm");
    $("confirm-text").textContent = question;
    dialog.returnValue = "no";
    dialog.showModal();
    $("confirm-yes").focus();
    return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
  }

  async function act(form) {
    if (form.dataset.confirm && !(await ask(form.dataset.confirm))) return;
    const fields = new FormData(form);
    fields.set("confirmed", "yes");
    const body = form.enctype === "multipart/form-data" ? fields : new URLSearchParams(fields);
    const buttons = [...form.querySelectorAll("button")].filter((button) => !button.disabled);
    buttons.forEach((button) => { button.disabled = true; });
    try {
      const answer = await fetch(form.getAttribute("action"), { method: "POST", body, headers: { accept: "application/json" } });
      const { ok, text, report } = await answer.json();
      toast(text, report, ok);
      if (ok) {
        form.reset();
        form.querySelectorAll("input").forEach((input) => { if (input.type !== "hidden" && input.type !== "file" && fields.has(input.name) && input.closest(".weight")) { input.defaultValue = fields.get(input.name); input.value = input.defaultValue; } });
        if (!events) go(here(), true);
      }
    } catch (error) {
      toast("The proxy did not answer; nobody knows whether it was done.", String(error), false);
    } finally {
      buttons.forEach((button) => { button.disabled = false; });
    }
  }

  // Keyboard
  let chord = 0;

  function onKey(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const target = event.target;
    if (event.key === "Escape" && target.matches("input, select, textarea")) { target.blur(); return; }
    if (target.matches("input, select, textarea, [contenteditable]")) return;
    const isChord = Date.now() - chord < 1200;
    chord = 0;
    if (isChord) {
      const link = [...document.querySelectorAll(".pages a")].find((one) => one.getAttribute("aria-keyshortcuts") === "g " + event.key);
      if (link) { event.preventDefault(); link.click(); return; }
    }
    const tables = [...document.querySelectorAll("main .scroll")];
    const at = tables.indexOf(document.activeElement);
    switch (event.key) {
      case "g": chord = Date.now(); return;
      case "/": (document.querySelector('main [data-filter=""]') || $("find")).focus(); break;
      case "?": $("help").showModal(); break;
      case "p": pause(!isPaused); break;
      case "]": if (tables.length) tables[Math.min(tables.length - 1, at + 1)].focus(); break;
      case "[": if (tables.length) tables[Math.max(0, at - 1)].focus(); break;
      default: return;
    }
    event.preventDefault();
  }

  // A table that is wider than the window is scrolled within its frame, where its head can still stick.
  function measure() {
    document.querySelectorAll(".scroll").forEach((frame) => frame.toggleAttribute("data-wide", frame.firstElementChild.scrollWidth > frame.clientWidth + 1));
  }

  // What a region may bring along.
  function adopt(within) {
    if (within.querySelector(".scroll")) measure();
    within.querySelectorAll(".scripted[hidden]").forEach((one) => { one.hidden = false; });
    within.querySelectorAll("figure[data-chart]:not([data-keep])").forEach((figure) => { if (window.uPlot) refresh(figure); });
  }

  addEventListener("DOMContentLoaded", () => {
    adopt(document.body);
    // What has been done is told once.
    const address = new URL(location.href);
    if (address.searchParams.has("done")) { address.searchParams.delete("done"); history.replaceState({}, "", address); }
    shown = here();
    const current = document.querySelector(".pages [aria-current]");
    // Not by scrollIntoView: the first press of Tab would begin there.
    if (current) document.querySelector("nav.side").scrollLeft = current.offsetLeft - 80;
    const button = $("theme");
    const label = () => {
      button.textContent = { system: "◐", light: "○", dark: "●" }[theme()];
      button.setAttribute("aria-label", "Colours: " + { system: "as the system", light: "light", dark: "dark" }[theme()]);
      button.title = button.getAttribute("aria-label");
    };
    const redraw = () => charts.forEach(({ plot }) => plot.redraw());
    label();
    button.addEventListener("click", () => {
      try { localStorage.setItem("fyke-theme", THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]); } catch { return; }
      paint(); label(); redraw();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    $("keys").addEventListener("click", () => $("help").showModal());
    document.addEventListener("keydown", onKey);
    document.addEventListener("selectionchange", () => { if (getSelection().isCollapsed && !isPaused) flush(); });
    document.addEventListener("click", (event) => {
      if (event.target.closest("#pause")) { pause(!isPaused); return; }
      const link = event.target.closest("a[data-soft]");
      if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey && event.button === 0) { event.preventDefault(); go(link.getAttribute("href"), false); }
    });
    document.addEventListener("submit", (event) => {
      const form = event.target;
      if (form.method === "post" && form.getAttribute("action") === "/dashboard/act") { event.preventDefault(); act(form); }
      else if (form.hasAttribute("data-soft")) { event.preventDefault(); go(addressOf(form), false); }
    });
    let typing = 0;
    document.addEventListener("input", (event) => {
      if (!event.target.matches('[data-soft] [data-filter=""]')) return;
      clearTimeout(typing);
      typing = setTimeout(() => go(addressOf(event.target.form), true), 250);
    });
    document.addEventListener("change", (event) => {
      if (event.target.matches(".filter[data-soft] select")) go(addressOf(event.target.form), true);
    });
    // A jump within the page is none to another one.
    addEventListener("popstate", () => { if (here() !== shown) go(here(), true); });
    // Whoever does not look needs nothing sent, and a browser has few connections.
    document.addEventListener("visibilitychange", () => { if (document.hidden) disconnect(); else { connect(); refreshAll(); } });
    addEventListener("pagehide", disconnect);
    addEventListener("pageshow", (event) => { if (event.persisted) { connect(); refreshAll(); } });
    addEventListener("resize", measure);
    connect();
    refreshAll();
    setInterval(refreshAll, CHARTS_EVERY);
  });
})();
