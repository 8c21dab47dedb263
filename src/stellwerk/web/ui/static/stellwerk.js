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

  let pending = "";
  function onKey(event) {
    const target = event.target;
    const typing = target.matches?.("input, textarea, select, [contenteditable]");
    if (event.key === "Escape" && target === input()) {
      input().value = "";
      filter();
      input().blur();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || remember.get("keys") === "off") return;
    const dialog = document.getElementById("keys");
    if (dialog.open) return;
    const pressed = pending + event.key;
    pending = event.key === "g" ? "g" : "";
    if (pressed === "gb") location.assign("/");
    else if (event.key === "/" && input()) input().focus();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
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
        if (wire.dataset[from] !== here) continue;
        wire.classList.add("lit");
        if (!seen.has(wire.dataset[to])) waiting.push(wire.dataset[to]);
        seen.add(wire.dataset[to]);
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

  function dress(main) {
    for (const button of all("[data-copy]", main)) button.hidden = !navigator.clipboard;
    for (const element of all("[data-needs-script]", main)) element.hidden = false;
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
  function fetchPage() {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("GET", location.pathname + location.search);
      request.responseType = "document";
      request.timeout = EVERY * 2;
      request.onload = () => (request.status === 200 && request.response ? resolve(request.response) : reject(new Error(request.status)));
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
  function busy() {
    const selection = document.getSelection();
    return document.getElementById("keys").open || (selection && !selection.isCollapsed);
  }
  function show(fresh) {
    const old = document.getElementById("main");
    const open = new Set(all("details[open]", old).map(place));
    const focus = document.activeElement?.closest?.("#main [data-row]")?.dataset.row;
    const typed = input()?.value;
    const typing = document.activeElement === input();
    const next = document.adoptNode(fresh.cloneNode(true));
    old.replaceWith(next);
    for (const details of all("details", next)) details.open = open.has(place(details));
    dress(next);
    if (typed) input().value = typed;
    if (typing) input().focus();
    if (typed) filter();
    if (focus) all("[data-row]", next).find((row) => row.dataset.row === focus)?.focus({ preventScroll: true });
  }
  function place(details) {
    return `${details.closest("[data-row]")?.dataset.row}/${details.dataset.keep}`;
  }
  async function refresh() {
    if (document.hidden) return;
    try {
      const page = await fetchPage();
      const fresh = page.getElementById("main");
      connected(true);
      for (const id of ["clock", "simulated"]) {
        const [now, then] = [document.getElementById(id), page.getElementById(id)];
        if (now && then && !now.isEqualNode(then)) now.replaceWith(document.adoptNode(then));
      }
      if (fresh && !fresh.isEqualNode(shown) && !busy()) {
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
    document.addEventListener("click", (event) => {
      const button = event.target.closest?.("[data-copy]");
      if (button) copy(button);
    });
    if (root.hasAttribute("data-live")) setInterval(refresh, EVERY);
  });
})();
