// Comfort for pages that work without it: theme, keys, filter, copying, graph focus, live refresh.
// Written for `require-trusted-types-for 'script'`: text is only ever set as text, markup only moved as nodes.
"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const remember = {
    get(key) { try { return localStorage.getItem(`stellwerk-${key}`); } catch { return null; } },
    set(key, value) { try { localStorage.setItem(`stellwerk-${key}`, value); } catch { /* private mode */ } },
  };

  const THEMES = ["auto", "light", "dark"];
  const theme = () => (THEMES.includes(remember.get("theme")) ? remember.get("theme") : "auto");
  function paint() {
    if (theme() === "auto") delete root.dataset.theme;
    else root.dataset.theme = theme();
    for (const button of all("[data-theme-button]")) button.textContent = `Theme: ${theme()}`;
  }
  function nextTheme() {
    remember.set("theme", THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
    paint();
  }
  paint(); // before the body exists, so that nothing flashes

  const input = () => document.querySelector("[data-filter-input]");
  function filter() {
    const wanted = (input()?.value ?? "").trim().toLowerCase();
    for (const row of all("[data-filter], table.runs tbody tr")) {
      row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
    }
  }

  function step(by) {
    const rows = all("[data-row]").filter((row) => row.checkVisibility());
    const here = rows.indexOf(document.activeElement?.closest?.("[data-row]"));
    const next = rows[here < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(here + by, 0), rows.length - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  async function copy(button) {
    try { await navigator.clipboard.writeText(button.dataset.copy); } catch { return; }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  }

  const pick = (target) => target.closest?.("[data-row]")?.querySelector("[name=run]");
  const picks = () => all("[data-steady] [name=run]");
  function count() {
    const button = document.querySelector("[data-compare-button]");
    if (!button) return;
    const chosen = picks().filter((one) => one.checked).length;
    button.disabled = chosen < 1;
    button.firstChild.data = chosen ? `Compare ${chosen} selected` : "Compare the selected";
    const whole = document.querySelector("[data-pick-all]");
    if (whole) [whole.checked, whole.indeterminate] = [chosen > 0 && chosen === picks().length, chosen > 0 && chosen < picks().length];
  }

  let pending = "";
  function onKey(event) {
    const target = event.target;
    const typing = target.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (event.key === "Escape" && target.matches?.("[data-box]")) target.blur();
    if (event.key === "Escape" && target === input()) {
      input().value = "";
      filter();
      input().blur();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || remember.get("keys") === "off") return;
    const dialog = document.getElementById("keys");
    if (dialog.open) return;
    if (["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key) && target.matches?.("[data-chart]") && walk(target, event.key)) {
      event.preventDefault();
      return;
    }
    const pressed = pending + event.key;
    pending = event.key === "g" ? "g" : "";
    const box = input() ?? document.querySelector("[data-box]");
    if (pressed === "gb") location.assign("/");
    else if (pressed === "ge") location.assign("/experiments");
    else if (pressed === "gm") location.assign("/models");
    else if (pressed === "gc") location.assign("/cases");
    else if (event.key === "/" && box) box.focus();
    else if (event.key === "x" && pick(target)) pick(target).click();
    else if (event.key === "c" && document.querySelector("[data-compare-button]:not(:disabled)")) document.querySelector("[data-compare-button]").click();
    else if (event.key === "j" || (event.key === "ArrowDown" && target.matches("[data-row]"))) step(1);
    else if (event.key === "k" || (event.key === "ArrowUp" && target.matches("[data-row]"))) step(-1);
    else if (event.key === "t") nextTheme();
    else if (event.key === "?") dialog.showModal();
    else if (event.key === "Enter" && target.matches("[data-row]:not(a)")) target.querySelector("a[href]")?.click();
    else return;
    event.preventDefault();
  }

  // Graphs: everything before and after a node lights up, its row of the table is repeated below the drawing.
  function reach(wires, start, from, to) {
    const seen = new Set([start]);
    const waiting = [start];
    while (waiting.length) {
      const here = waiting.pop();
      for (const wire of wires) {
        if (!wire.dataset[from].split(" ").includes(here)) continue;
        wire.classList.add("lit");
        for (const end of wire.dataset[to].split(" ")) {
          if (!seen.has(end)) waiting.push(end);
          seen.add(end);
        }
      }
    }
    return seen;
  }
  function light(graph, node) {
    const wires = all(".wire", graph);
    for (const wire of wires) wire.classList.remove("lit");
    graph.classList.toggle("lit-some", node !== null);
    const near = node && new Set([...reach(wires, node.dataset.node, "from", "to"), ...reach(wires, node.dataset.node, "to", "from")]);
    for (const other of all(".node", graph)) other.classList.toggle("lit", near !== null && near.has(other.dataset.node));
    peek(graph.nextElementSibling, node && document.getElementById(`thing-${node.dataset.node}`));
  }
  function peek(panel, row) {
    if (!row) return;
    const cells = [...row.cells].slice(0, 4).map((cell) => {
      const part = document.createElement("span");
      part.append(...[...cell.childNodes].map((child) => child.cloneNode(true)), " ");
      return part;
    });
    panel.replaceChildren(...cells);
    panel.hidden = false;
  }

  // Charts: what lies under the pointer is told beside it, and the same run lights up in every chart of the page.
  const columns = new WeakMap();
  function read(line) {
    if (!columns.has(line)) {
      const places = (line.getAttribute("points") ?? "").split(" ").map((pair) => pair.split(",").map(Number));
      columns.set(line, { places, x: (line.dataset.x ?? "").split("\t"), y: (line.dataset.y ?? "").split("\t") });
    }
    return columns.get(line);
  }
  function nearest(places, x) {
    let [low, high] = [0, places.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (places[middle][0] < x) low = middle; else high = middle;
    }
    return Math.abs(places[low][0] - x) < Math.abs(places[high][0] - x) ? low : high;
  }
  function said(line, value) {
    const row = document.createElement("p");
    const dab = document.createElement("i");
    const number = document.createElement("b");
    dab.className = `dab ${[...line.classList].find((one) => /^s\d$/.test(one)) ?? ""}`;
    number.textContent = value;
    row.append(dab, line.dataset.name, number);
    return row;
  }
  function tell(chart, event) {
    const frame = chart.querySelector(".plot").getBoundingClientRect();
    const x = (100 * (event.clientX - frame.left)) / frame.width;
    if (x < -2 || x > 102) return hush(chart);
    point(chart, x, event);
  }
  // Reads a chart at a place in percent of its width. `event` says where the pointer is; keys have none.
  function point(chart, x, event) {
    const lines = all("polyline[data-y]", chart).filter((line) => read(line).places.length);
    const over = event?.target.closest?.("polyline[data-run], circle[data-run]");
    lit(over?.dataset.run ?? null);
    const rows = [];
    let title = "";
    if (lines.length) {
      const points = lines.map((line) => [line, nearest(read(line).places, x)]);
      const [first, place] = points.reduce((best, one) => (Math.abs(read(one[0]).places[one[1]][0] - x) < Math.abs(read(best[0]).places[best[1]][0] - x) ? one : best));
      title = read(first).x[place];
      const pointer = chart.querySelector("[data-pointer]");
      for (const end of ["x1", "x2"]) pointer.setAttribute(end, `${read(first).places[place][0]}%`);
      pointer.removeAttribute("hidden");
      for (const [line, at] of points) rows.push(said(line, read(line).y[at]));
    } else if (over?.dataset.name) rows.push(said(over, ""));
    if (!rows.length) return hush(chart, true);
    let box = chart.querySelector(".readout");
    if (!box) chart.append(box = Object.assign(document.createElement("div"), { className: "readout" }));
    const head = document.createElement("p");
    head.className = "soft";
    head.textContent = title;
    box.replaceChildren(...(title ? [head] : []), ...rows);
    const around = chart.getBoundingClientRect();
    const plot = chart.querySelector(".plot").getBoundingClientRect();
    const left = event ? event.clientX - around.left : plot.left - around.left + (plot.width * x) / 100;
    const top = event ? event.clientY - around.top : plot.top - around.top + plot.height / 2;
    box.style.left = `${left + 14 + box.offsetWidth > around.width ? Math.max(0, left - 14 - box.offsetWidth) : left + 14}px`;
    box.style.top = `${Math.max(0, top - box.offsetHeight - 8)}px`;
  }
  // From point to point by keys, along the line that has most of them.
  function walk(chart, key) {
    const lines = all("polyline[data-y]", chart).map((line) => read(line).places).filter((places) => places.length);
    if (!lines.length) return false;
    const places = lines.reduce((best, one) => (one.length > best.length ? one : best));
    const here = Number(chart.dataset.place ?? (key === "ArrowLeft" ? places.length : -1));
    const next = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: places.length - 1 }[key];
    const at = Math.min(Math.max(next, 0), places.length - 1);
    chart.dataset.place = String(at);
    point(chart, places[at][0]);
    return true;
  }
  function lit(run) {
    document.getElementById("main").classList.toggle("told", run !== null);
    for (const one of all(".told-one")) one.classList.remove("told-one");
    if (run !== null) for (const one of all("polyline[data-run], circle[data-run]")) one.classList.toggle("told-one", one.dataset.run === run);
  }
  function hush(chart, keep) {
    chart.querySelector(".readout")?.remove();
    chart.querySelector("[data-pointer]")?.setAttribute("hidden", "");
    if (!keep) lit(null);
  }

  // Forms whose answer is a part of this page: the part is moved in, and the address says what is shown.
  let asking = 0;
  function address(form) {
    const url = new URL(location.pathname, location.origin);
    const own = new FormData(form);
    for (const [key, value] of own) if (value !== "") url.searchParams.append(key, value);
    return url;
  }
  async function swap(url, names) {
    const mine = ++asking;
    const page = await fetchPage(url);
    if (mine !== asking) return null;
    const fresh = page.getElementById("main");
    for (const part of all("[data-swap]")) {
      const next = names.includes(part.dataset.swap) && all("[data-swap]", fresh).find((one) => one.dataset.swap === part.dataset.swap);
      if (!next) continue;
      const adopted = document.adoptNode(next.cloneNode(true));
      for (const details of all("details", adopted)) {
        const before = all("details", part).find((one) => place(one) === place(details));
        if (before) details.open = before.open;
      }
      part.replaceWith(adopted);
      dress(adopted);
    }
    shown = fresh;
    return fresh;
  }
  let drawing = 0;
  function redraw(form) {
    clearTimeout(drawing);
    drawing = setTimeout(async () => {
      const url = address(form);
      try { if (!await swap(url, [form.dataset.auto])) return; } catch { return; } // overtaken: the later one says it
      history.replaceState(null, "", url);
      carry(url);
    }, 120);
  }
  // Each form carries the rest of the address: where one has changed it, the others follow.
  function carry(url) {
    for (const form of all("form[data-auto]")) {
      const mine = new Set(all("[name]:not([type=hidden])", form).map((one) => one.name));
      for (const old of all("input[type=hidden]", form)) old.remove();
      for (const [name, value] of url.searchParams) {
        if (!mine.has(name)) form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
      }
    }
  }
  async function search(form) {
    const url = address(form);
    try {
      const fresh = await swap(url, ["problem"]);
      if (!fresh) return;
      const wrong = fresh.querySelector("[data-search]").classList.contains("wrong");
      form.classList.toggle("wrong", wrong);
      form.querySelector("[data-box]").toggleAttribute("aria-invalid", wrong);
      if (!wrong) location.assign(url);
    } catch { location.assign(url); }
  }

  function dress(main) {
    for (const button of all("[data-no-script]", main)) button.hidden = true;
    for (const chart of [...all("[data-chart]", main), ...(main.matches("[data-chart]") ? [main] : [])]) {
      chart.addEventListener("pointermove", (event) => tell(chart, event));
      chart.addEventListener("pointerleave", () => hush(chart));
      chart.addEventListener("blur", () => { delete chart.dataset.place; hush(chart); });
    }
    count();
    for (const button of all("[data-copy]", main)) button.hidden = !navigator.clipboard;
    for (const element of all("[data-needs-script]", main)) element.hidden = false;
    for (const log of all("[data-end]", main)) log.scrollTop = log.scrollHeight;
    for (const graph of all("[data-graph]", main)) {
      for (const kind of ["focusin", "mouseover"]) {
        graph.addEventListener(kind, (event) => light(graph, event.target.closest(".node")));
      }
      const subject = graph.querySelector(".subject")?.getBoundingClientRect();
      const frame = graph.getBoundingClientRect();
      if (subject && subject.right > frame.right) {
        graph.scrollLeft = subject.right - frame.right + 24;
        graph.scrollTop = Math.max(0, subject.bottom - frame.top - frame.height / 2);
      }
      graph.addEventListener("mouseleave", () => light(graph, document.activeElement?.closest?.(".node") ?? null));
      graph.addEventListener("focusout", () => light(graph, null));
    }
    input()?.addEventListener("input", filter);
  }

  // Live refresh: fetch the same page, and if its content changed, move the new content in. A page that cannot be
  // refreshed goes dark, because a signal that is not known to be true must not shine.
  const EVERY = 5000;
  const PATIENCE = 3;
  let shown = null;
  let missed = 0;
  let since = null;
  function fetchPage(url = location.pathname + location.search) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("GET", url);
      request.responseType = "document";
      request.timeout = EVERY * 2;
      request.onload = () => ([200, 422].includes(request.status) && request.response ? resolve(request.response) : reject(new Error(request.status)));
      request.onerror = request.ontimeout = () => reject(new Error("no answer"));
      request.send();
    });
  }
  function connected(yes) {
    missed = yes ? 0 : missed + 1;
    if (missed === 1) since = new Date();
    const dark = missed >= PATIENCE;
    root.classList.toggle("dark", dark);
    document.querySelector("[data-since]").textContent = since?.toLocaleTimeString() ?? "";
    document.getElementById("stale").hidden = !dark;
  }
  // Whoever just used a form, or reads a chart, is not to lose it; whoever left it long ago wants to see what is new.
  const HELD = 8000;
  let touched = 0;
  function busy() {
    const selection = document.getSelection();
    const held = document.activeElement?.closest?.("form[data-search], .columns, [data-chart]");
    const using = document.activeElement?.closest?.("form[data-auto]") && Date.now() - touched < HELD;
    return document.getElementById("keys").open || (selection && !selection.isCollapsed) || held || using;
  }
  function control(main, form, name) {
    return [...main.querySelectorAll("form[data-auto]")].find((one) => one.dataset.auto === form)?.elements.namedItem(name);
  }
  function show(fresh) {
    const old = document.getElementById("main");
    const open = new Set(all("details[open]", old).map(place));
    const focus = document.activeElement?.closest?.("#main [data-row]")?.dataset.row;
    const scrolled = new Map(all("[data-end]", old).map((log) => [log.ariaLabel, log.scrollTop + log.clientHeight + 4 < log.scrollHeight ? log.scrollTop : null]));
    const using = document.activeElement?.closest?.("form[data-auto]") ? [document.activeElement.form.dataset.auto, document.activeElement.name] : null;
    const typed = input()?.value;
    const typing = document.activeElement === input();
    const next = document.adoptNode(fresh.cloneNode(true));
    old.replaceWith(next);
    for (const details of all("details", next)) details.open = open.has(place(details));
    dress(next);
    for (const log of all("[data-end]", next)) if (typeof scrolled.get(log.ariaLabel) === "number") log.scrollTop = scrolled.get(log.ariaLabel);
    if (using?.[1]) control(next, ...using)?.focus?.({ preventScroll: true });
    if (typed) input().value = typed;
    if (typing) input().focus();
    if (typed) filter();
    if (focus) all("[data-row]", next).find((row) => row.dataset.row === focus)?.focus({ preventScroll: true });
  }
  function place(details) {
    return `${details.closest("[data-row]")?.dataset.row}/${details.dataset.keep}`;
  }
  // A table that is being read stays where it is: rows that are there are renewed in place, and that others came is
  // said above it. More rows are asked for than are shown, so that those which came push none out.
  const cell = (row) => row.querySelector("[name=run]").value;
  function steady(fresh) {
    const known = new Map(all("[data-steady] tbody tr").map((row) => [cell(row), row]));
    const rows = all("[data-steady] tbody tr", fresh);
    for (const next of rows) {
      const old = known.get(cell(next));
      if (!old || same(old, next)) continue;
      const adopted = document.adoptNode(next.cloneNode(true));
      const focused = document.activeElement === old;
      adopted.querySelector("[name=run]").checked = old.querySelector("[name=run]").checked;
      if (!same(old, next, "td.pick, td.took")) adopted.classList.add("fresh");
      old.replaceWith(adopted);
      if (focused) adopted.focus({ preventScroll: true });
    }
    const here = document.querySelector("[data-changed]");
    const first = rows.slice(0, known.size).filter((row) => !known.has(cell(row))).length;
    if (first && here.dataset.count !== String(first)) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Show" });
      button.addEventListener("click", () => location.reload());
      here.replaceChildren(first === 1 ? "1 run came in" : `${first} runs came in`, button);
      here.dataset.count = String(first);
    }
    here.hidden = !first;
  }
  function same(old, next, but = "td.pick") {
    const [before, after] = [old, next].map((row) => [...row.cells].filter((one) => !one.matches(but)).map((one) => one.textContent));
    return before.length === after.length && before.every((text, place) => text === after[place]);
  }
  function wider() {
    const url = new URL(location.href);
    const size = picks().length;
    if (document.querySelector("[data-steady]") && !url.searchParams.has("page")) url.searchParams.set("size", String(Math.min(size * 2, 400)));
    return url;
  }
  async function refresh() {
    if (document.hidden) return;
    try {
      const page = await fetchPage(wider());
      const fresh = page.getElementById("main");
      connected(true);
      for (const id of ["clock", "simulated"]) {
        const [now, then] = [document.getElementById(id), page.getElementById(id)];
        if (now && then && !now.isEqualNode(then)) now.replaceWith(document.adoptNode(then));
      }
      if (fresh && document.querySelector("[data-steady]")) steady(fresh);
      else if (fresh && !fresh.isEqualNode(shown) && !busy()) {
        document.title = page.title;
        show(fresh);
        shown = fresh;
      }
    } catch {
      connected(false);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    paint();
    const main = document.getElementById("main");
    shown = main.cloneNode(true);
    dress(main);
    const keys = document.querySelector("[data-keys-switch]");
    keys.checked = remember.get("keys") !== "off";
    keys.addEventListener("change", () => remember.set("keys", keys.checked ? "on" : "off"));
    for (const button of all("[data-theme-button], [data-keys-button]")) button.hidden = false;
    document.querySelector("[data-theme-button]").addEventListener("click", nextTheme);
    document.querySelector("[data-keys-button]").addEventListener("click", () => document.getElementById("keys").showModal());
    document.addEventListener("keydown", onKey);
    document.addEventListener("change", (event) => {
      if (event.target.matches("[data-pick-all]")) for (const one of picks()) one.checked = event.target.checked;
      count();
    });
    document.addEventListener("input", (event) => {
      const form = event.target.closest("form[data-auto]");
      touched = Date.now();
      if (form) redraw(form);
    });
    for (const kind of ["keydown", "pointerdown"]) document.addEventListener(kind, () => { touched = Date.now(); }, true);
    document.addEventListener("submit", (event) => {
      const form = event.target;
      if (form.matches("form[data-auto]")) redraw(form);
      else if (form.matches("form[data-search]")) search(form);
      else return;
      event.preventDefault();
    });
    document.addEventListener("click", (event) => {
      const button = event.target.closest?.("[data-copy]");
      if (button) copy(button);
    });
    if (root.hasAttribute("data-live")) setInterval(refresh, EVERY);
  });
})();
