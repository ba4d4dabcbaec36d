// Keeps a page true without a reload: one WebSocket tells what changed, and the parts marked data-live are fetched
// again and morphed in place. Also: dialogs that ask first, copy buttons, and times in the zone of the person.
"use strict";
(() => {
  const changed = new Set();
  const slowest = 15000;                 // ages on the page are renewed at least this often, in ms
  let lostSince = null, attempt = 0, timer = null, fetching = false, lastFetch = 0, sequence = 0;

  const wants = (part) => changed.has("*") || part.dataset.live.split(" ").some((topic) => changed.has(topic));
  const busy = () => document.querySelector("dialog[open]") || document.hidden;

  function localTimes(root) {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const at = new Date(time.dateTime);
      const full = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
      time.title = `${full} (${time.dateTime})`;
      const short = {
        hour: { hour: "2-digit", hourCycle: "h23" },
        six: { weekday: "short", hour: "2-digit", hourCycle: "h23" },
        day: { day: "numeric", month: "short" },
      }[time.dataset.short];
      if (short) time.textContent = at.toLocaleString(undefined, short);
      else if (!("relative" in time.dataset)) time.textContent = full;
    }
  }

  // On a phone a row becomes a block: each cell then says which column it is.
  function label(root) {
    for (const table of root.querySelectorAll(".scroll > table:not(.heat)")) {
      const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent);
      for (const row of table.querySelectorAll("tbody tr"))
        [...row.cells].forEach((cell, place) => { if (cell.tagName === "TD") cell.dataset.label = heads[place]; });
      table.classList.add("stacked");
    }
  }

  function enhance(root) {
    localTimes(root);
    label(root);
    for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
    for (const follow of root.querySelectorAll("[data-bottom]")) follow.scrollTop = follow.scrollHeight;
  }

  function schedule(topic, wait = 400) {
    changed.add(topic);
    timer ??= setTimeout(refresh, Math.max(wait, lastFetch + 1000 - Date.now()));
  }

  async function refresh() {
    timer = null;
    if (fetching || busy()) return schedule("", 1000);
    const parts = [...document.querySelectorAll("[data-live][id]")].filter(wants);
    changed.clear();
    if (!parts.length) return;
    fetching = true;
    lastFetch = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { "X-Live": "1" }, cache: "no-store" });
      if (answer.redirected && new URL(answer.url).pathname === "/login") return location.assign(answer.url);
      if (answer.status === 405) return;                           // what a form answered, shown once: it stays
      if (answer.status >= 500) return schedule("*", 1000);        // what is shown stays until there is better
      await show(await answer.text(), parts);
    } catch { changed.add("*"); } finally { fetching = false; }
  }

  async function show(text, parts) {
    const there = new DOMParser().parseFromString(text, "text/html");
    const follow = there.querySelector("[data-follow]");
    if (follow && document.querySelector("[data-watching]")) return location.assign(follow.dataset.follow);
    const known = parts.filter((part) => there.getElementById(part.id));
    const own = parts.filter((part) => part.closest("main"));
    if (own.length && !own.some((part) => known.includes(part))) return location.reload();   // another page by now
    localTimes(there);
    label(there);
    const html = known.map((part) => there.getElementById(part.id).outerHTML).join("");
    const selectOOB = known.map((part) => `#${part.id}:outerMorph`).join(",");
    if (html) await htmx.swap({ sourceElement: document.body, text: html, selectOOB, swap: "none", target: document.body });
    for (const part of known) enhance(document.getElementById(part.id));
  }

  function connection(lost) {
    const strip = document.getElementById("connection");
    if (lost) lostSince ??= new Date();
    strip.hidden = !lost;
    strip.textContent = lost ? `Connection to this node lost since ${lostSince.toLocaleTimeString()}. What you see is from then. Retrying…` : "";
    if (!lost && lostSince) { lostSince = null; schedule("*"); }
  }

  function connect() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/events?after=${sequence}`);
    socket.onopen = () => { attempt = 0; connection(false); };
    socket.onmessage = (message) => {
      const event = JSON.parse(message.data);
      sequence = event.sequence ?? sequence;
      for (const topic of [event.topic ?? event.type].flat()) schedule(topic === "backlog" ? "status" : topic);
    };
    socket.onclose = () => {
      if (attempt > 0) connection(true);
      setTimeout(connect, Math.min(10000, 500 * 2 ** attempt++));
    };
  }

  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) {
      event.preventDefault();
      document.getElementById(opener.dataset.dialog).showModal();
    }
    const copy = event.target.closest("[data-copy]");
    if (copy) navigator.clipboard.writeText(copy.dataset.copy).then(() => copy.classList.add("done"));
    if (event.target.closest("[data-print]")) window.print();
  });
  // A filter follows what is typed: the address has it, and the list below is fetched again.
  let typing = null;
  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-typing]");
    if (!form) return;
    clearTimeout(typing);
    typing = setTimeout(() => {
      const filled = [...new FormData(form)].filter(([, value]) => value);
      history.replaceState(null, "", `${location.pathname}?${new URLSearchParams(filled)}`);
      lastFetch = 0;
      schedule("*", 0);
    }, 250);
  });
  document.addEventListener("visibilitychange", () => document.hidden || schedule("*", 0));
  const must = document.querySelector("dialog[data-must]");         // to be dismissed before anything else
  must?.addEventListener("cancel", (event) => event.preventDefault());
  must?.addEventListener("close", () => must.showModal());          // a second Escape closes whatever cancel says
  must?.showModal();
  enhance(document);
  const address = new URL(location.href);              // what was said once is not said again after a reload
  for (const once of ["done", "confirm"]) address.searchParams.delete(once);
  if (address.href !== location.href) history.replaceState(null, "", address);
  if (document.querySelector("main [data-live], body.signed-in")) {
    connect();
    setInterval(() => schedule("*"), slowest);
  }
})();
