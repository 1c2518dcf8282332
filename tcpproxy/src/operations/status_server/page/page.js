// Asks /sessions once a second, and shows what it says. Text goes into the page as text only.
const PERIOD = 1000;
const LIMIT = 100;
const HISTORY = 120;
const COLUMNS = ["Client", "Server", "Phase", "Age", "Idle", "Up", "Down", "Rate", "Waiting"];

const view = { sort: "age", order: "desc", page: 1 };
let before = null;
let timer = 0;
const rates = { up: [], down: [] };

const element = (id) => document.getElementById(id);
const set = (id, text) => { element(id).textContent = text; };

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let unit = 0;
  while (count >= 1024 && unit < units.length - 1) {
    count /= 1024;
    unit += 1;
  }
  return `${unit === 0 || count >= 100 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

function time(ms) {
  const seconds = ms / 1000;
  if (seconds < 1) return `${Math.round(ms)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const [days, hours, minutes] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60].map(Math.floor);
  if (days > 0) return `${days} d ${hours} h`;
  if (hours > 0) return `${hours} h ${minutes} min`;
  return `${minutes} min ${Math.floor(seconds % 60)} s`;
}

const number = (count) => count.toLocaleString("en");

function chart(id, rates) {
  const most = Math.max(...rates, 1);
  const points = rates.map((rate, at) => {
    const x = 120 - (rates.length - 1 - at) * (120 / (HISTORY - 1));
    return `${x.toFixed(2)},${(31 - (rate / most) * 29).toFixed(2)}`;
  });
  const path = (name, d) => {
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "path");
    drawn.setAttribute("class", name);
    drawn.setAttribute("d", d);
    return drawn;
  };
  const first = (points[0] || "120,31").split(",")[0];
  const line = points.join(" L");
  element(id).replaceChildren(path("area", `M${first},32 L${line} L120,32 Z`), path("edge", `M${line}`));
}

function cell(row, at, text, name) {
  const made = row.insertCell();
  made.textContent = text;
  made.dataset.label = COLUMNS[at];
  if (name) made.className = name;
  return made;
}

function show(answer) {
  if (before && answer.uptime_ms <= before.answer.uptime_ms) before = null; // another process answers
  set("remote", `→ ${answer.remote}`);
  document.title = `${answer.active} · tcpproxy → ${answer.remote}`;
  const state = answer.draining ? "draining" : "serving";
  set("state", state);
  element("state").className = `badge ${state}`;
  set("since", `for ${time(answer.uptime_ms)}${answer.waiting ? ", a client is waiting" : ""}`);
  set("active", number(answer.active));
  set("limit", ` of ${number(answer.max_clients)}`);
  for (const name of ["ended", "denied", "limited"]) set(name, number(answer[name]));
  set("refused", number(answer.denied + answer.limited));
  set("version", `version ${answer.version}`);

  const seconds = before ? (answer.uptime_ms - before.answer.uptime_ms) / 1000 : 0;
  for (const way of ["up", "down"]) {
    set(way, bytes(answer[way]));
    if (seconds > 0 && answer[way] >= before.answer[way]) {
      const rate = (answer[way] - before.answer[way]) / seconds;
      set(`${way}-rate`, `${bytes(rate)}/s`);
      rates[way].push(rate);
      rates[way].splice(0, rates[way].length - HISTORY);
      chart(`${way}-chart`, rates[way]);
    }
  }

  const known = before ? before.sessions : new Map();
  const sessions = new Map();
  const rows = answer.sessions.map((session) => {
    const carried = session.up + session.down;
    sessions.set(session.client, carried);
    const rate = seconds > 0 && known.has(session.client) ? (carried - known.get(session.client)) / seconds : 0;
    const row = document.createElement("tr");
    const client = cell(row, 0, session.client);
    if (session.peer) {
      const peer = document.createElement("small");
      peer.textContent = `via ${session.peer}`;
      client.append(peer);
    }
    cell(row, 1, session.server || "not reached yet", session.server ? "" : "zero");
    const phase = document.createElement("span");
    phase.className = `badge ${session.phase}`;
    phase.textContent = session.phase;
    cell(row, 2, "").append(phase);
    cell(row, 3, time(session.age_ms), "n");
    cell(row, 4, time(session.idle_ms), "n");
    cell(row, 5, bytes(session.up), session.up ? "n" : "n zero");
    cell(row, 6, bytes(session.down), session.down ? "n" : "n zero");
    cell(row, 7, `${bytes(Math.max(rate, 0))}/s`, rate > 0 ? "n" : "n zero");
    const waiting = session.up_waiting + session.down_waiting;
    cell(row, 8, bytes(waiting), waiting ? "n waits" : "n zero");
    return row;
  });
  element("sessions").replaceChildren(...rows);
  element("empty").hidden = rows.length > 0;

  view.page = Math.min(view.page, answer.pages);
  element("pages").hidden = answer.pages < 2;
  set("page", `${answer.page} of ${number(answer.pages)}`);
  element("previous").disabled = answer.page <= 1;
  element("next").disabled = answer.page >= answer.pages;
  for (const head of document.querySelectorAll("th[data-sort]")) {
    if (head.dataset.sort === view.sort) {
      head.setAttribute("aria-sort", view.order === "asc" ? "ascending" : "descending");
    } else {
      head.removeAttribute("aria-sort");
    }
  }
  document.body.classList.remove("stale");
  before = { answer, sessions };
}

async function refresh() {
  clearTimeout(timer);
  if (!document.hidden) {
    try {
      const query = new URLSearchParams({ ...view, limit: LIMIT });
      const response = await fetch(`sessions?${query}`, { cache: "no-store", signal: AbortSignal.timeout(4000) });
      if (!response.ok) throw new Error(response.statusText);
      show(await response.json());
    } catch {
      set("state", "unreachable");
      element("state").className = "badge unreachable";
      document.body.classList.add("stale");
    }
  }
  clearTimeout(timer);
  timer = setTimeout(refresh, PERIOD);
}

for (const head of document.querySelectorAll("th[data-sort]")) {
  head.querySelector("button").addEventListener("click", () => {
    const again = view.sort === head.dataset.sort;
    view.order = again && view.order === "desc" ? "asc" : "desc";
    view.sort = head.dataset.sort;
    view.page = 1;
    refresh();
  });
}
for (const [id, by] of [["previous", -1], ["next", 1]]) {
  element(id).addEventListener("click", () => {
    view.page = Math.max(1, view.page + by);
    refresh();
  });
}
document.addEventListener("visibilitychange", refresh);
refresh();
