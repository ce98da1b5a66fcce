// Shows the floor's status as it arrives on /api/stream, and says so loudly when it does not arrive any more.
// All text from the floor is set as textContent, never as markup.

import { Curve } from "./curve.js";

const STALE_AFTER_MS = 5000;
const RETRY_MS = 2000;
const SILENCE_MS = 10000;
const STATE_TONES = { running: "good", starting: "warn", crashed: "bad", benched: "warn", stopped: "faint" };
const BOOK_TONES = { verified: "", unverifiable: "warn", contradicted: "bad" };
const STORE_TONES = { ok: "good", degraded: "warn", down: "bad" };
const ENDS_BY_ITSELF = new Set(["account", "auditor_away", "not_leader", "venue_calls"]); // as in floor/status.py
const cents = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const whole = new Intl.NumberFormat("en-US");
const curve = new Curve(byId("curve"), byId("curve-readout"));

// -- the stream -------------------------------------------------------------------------------------------------------

let newest = null;      // the last status shown
let newestAt = 0;       // when it came, by this browser's clock
let stale = false;
let stream = null;
let askedAt = 0;

function connect() {
  stream?.close();
  stream = new EventSource("/api/stream");
  askedAt = Date.now();
  stream.onmessage = message => receive(JSON.parse(message.data));
  stream.onerror = () => {
    // The browser gives up for good on some errors (a full house, for one), so asking again is done here.
    stream.close();
    setTimeout(connect, RETRY_MS);
    if (!stale) setConnection(newest ? "connection lost, retrying" : "no floor answers, retrying", "");
  };
}

function receive(status) {
  // A floor whose own clock stands still is frozen, however many messages it sends.
  if (newest && status.wall_time_ms === newest.wall_time_ms) return;
  newest = status;
  newestAt = Date.now();
  stale = false;
  document.body.classList.remove("waiting", "stale");
  byId("stale").hidden = true;
  setConnection(`live, ${timeOf(status.wall_time)} UTC`, "connected");
  show(status);
}

function watch() {
  const age = Date.now() - newestAt;
  if (newest && age >= STALE_AFTER_MS) {
    if (!stale) markStale();
    setText("stale-age", `(${spanOf(age / 1000)} ago)`);
  }
  // A cable pulled out is no error to the browser: the connection just stays silent.
  if (Date.now() - Math.max(newestAt, askedAt) > SILENCE_MS) connect();
}

function markStale() {
  stale = true;
  document.body.classList.add("stale");
  setText("stale-text", `No news since ${timeOf(newest.wall_time)} UTC. The floor has stopped, is frozen, or can't be reached. The figures below are old; retrying.`);
  byId("stale").hidden = false;
  setConnection("connection lost, retrying", "");
  document.title = "stale · PolyBot";
}

function setConnection(text, tone) {
  setText("connection-text", text);
  byId("connection").className = `connection ${tone}`;
}

// -- the figures ------------------------------------------------------------------------------------------------------

function show(status) {
  showFitness(status);
  showFloor(status);
  showTable("markets", "no-markets", status.markets.map(marketRow));
  showTable("agents", "no-agents", status.agents.map(agentRow));
  showTable("last-trades", "no-trades", status.recent_trades.map(tradeRow));
  showStores(status);
  curve.show(status.equity_curve, status.capital);
  document.title = `${money(status.equity)} (${signed(status.pnl)}) · PolyBot`;
}

function showFitness(status) {
  const endOf = pause => pause.until ? `${timeOf(pause.until)} UTC` : ENDS_BY_ITSELF.has(pause.breaker) ? "that is over" : "a person resumes";
  const pauses = status.paused.map(pause => `${pause.scope} paused by ${pause.breaker}: ${pause.text} (until ${endOf(pause)})`);
  const away = ["database", "redis"].filter(name => status[name].state === "down").map(name => `${name} is down; the floor keeps its facts in the journal (more below)`);
  const old = stalePrices(status).map(price => `the ${price.asset} price of ${price.source} is ${spanOf(price.age_ms / 1000)} old`);
  byId("fitness").className = `banner ${!status.fit ? "bad" : pauses.length || away.length || old.length ? "warn" : "good"}`;
  setText("fit-text", fitnessOf(status));
  setText("fit-reasons", [...status.reasons, ...pauses, ...away, ...old].join("; "));
}

/** Fit is who could trade; what keeps the whole floor from it all the same comes before it. */
function fitnessOf(status) {
  if (!status.fit) return "Not fit to trade.";
  if (status.finished) return "The tape is over.";
  const footing = status.leadership?.footing;
  if (footing === "deposed") return "Not trading: another floor leads this account.";
  if (footing === "paused" || footing === "asleep" || status.paused.some(pause => pause.breaker === "not_leader")) {
    return "Not trading: whether this floor still leads its account is not known.";
  }
  if (status.paused.some(pause => pause.scope === "floor")) return "Paused: no orders are sent.";
  return status.paused.length ? "Fit to trade, with a pause." : "Fit to trade";
}

function showFloor(status) {
  setText("mode", status.mode);
  byId("mode").classList.toggle("live", status.mode === "live");
  setText("origin", status.source);
  setText("equity", money(status.equity));
  setText("pnl", signed(status.pnl));
  setText("pnl-percent", Number(status.capital) ? `(${signed(100 * Number(status.pnl) / Number(status.capital))} %)` : "");
  byId("pnl").parentElement.className = `change ${tone(status.pnl)}`;
  setText("cash", money(status.cash));
  setText("fees", money(status.fees));
  setText("trades", whole.format(status.trades));
  setText("win-rate", percent(status.win_rate));
  showExposure(status);
  setText("market-time", status.market_time ? `${status.market_time.slice(0, 10)} ${timeOf(status.market_time)} UTC` : "–");
  setText("windows", outOf(status.windows_settled, status.windows_total));
  setText("events", outOf(status.position, status.events_total));
  const progress = byId("events-progress");
  progress.hidden = !status.events_total;
  progress.value = status.events_total ? status.position / status.events_total : 0;
}

function showExposure(status) {
  const limit = Number(status.exposure_max), meter = byId("exposure-meter");
  setText("exposure", money(status.exposure));
  const unsure = Number(status.provisional) ? `${limit ? ", " : ""}${money(status.provisional)} not confirmed yet` : "";
  setText("exposure-max", `${limit ? `of ${money(status.exposure_max)} allowed` : ""}${unsure}`);
  meter.hidden = !limit;
  meter.max = 1;
  meter.low = meter.high = 0.9;
  meter.optimum = 0;
  meter.value = limit ? Number(status.exposure) / limit : 0;
}

function marketRow(market) {
  const window = `${market.window_start.slice(11, 16)}–${market.window_end.slice(11, 16)}`;
  const cells = [cell(`${market.series} ${window}`, "name", market.id), cell(countdown(market.seconds_left), "number beside")];
  for (const quote of [market.up, market.down]) {
    const age = quote.book_age_ms === null ? "" : ` ${spanOf(quote.book_age_ms / 1000)}`;
    cells.push(cell(price(quote.bid), "number always"), cell(price(quote.ask), "number always"));
    cells.push(cell(`${quote.book_state}${age}`, BOOK_TONES[quote.book_state] || "faint"));
  }
  return cells;
}

function agentRow(agent) {
  const trader = agent.strategy !== null;
  return [
    cell(agent.name, "name"),
    cell(agent.restarts ? `${agent.state}, restarted ${agent.restarts}×` : agent.state, `beside ${STATE_TONES[agent.state]}`),
    cell(agent.last_beat_age_s === null ? "–" : spanOf(agent.last_beat_age_s), "number"),
    cell(trader ? whole.format(agent.trades) : "–", "number"),
    cell(percent(agent.win_rate), "number"),
    cell(trader ? signed(agent.pnl) : "–", `number ${trader ? tone(agent.pnl) : ""}`),
    cell(trader ? money(agent.exposure) : "–", "number"),
    cell([agent.last_verdict, agent.last_reason].filter(Boolean).join(": ") || "–", "text"),
  ];
}

function tradeRow(trade) {
  return [
    cell(timeOf(trade.at), "faint"),
    cell(trade.agent, "name"),
    cell(trade.market, "wide"),
    cell(trade.outcome === "UP" ? "Up" : "Down"),
    cell(cents.format(trade.shares), "number"),
    cell(price(trade.price), "number"),
    cell(money(trade.fees), "number spare"),
    cell(trade.pnl === null ? "open" : signed(trade.pnl), `number beside ${trade.pnl === null ? "faint" : tone(trade.pnl)}`),
    cell(trade.reason || "–", "text"),
  ];
}

function showStores(status) {
  const parts = ["journal", "database", "redis"].map(name => {
    const store = status[name], part = document.createElement("span"), state = document.createElement("span");
    const since = store.since && store.state !== "ok" ? ` since ${timeOf(store.since)} UTC` : "";
    const lag = store.lag_rows ? `, ${whole.format(store.lag_rows)} rows behind` : "";
    state.textContent = store.state;
    state.className = STORE_TONES[store.state];
    part.append(`${name} `, state, `${since}${lag}${store.detail ? ` (${store.detail})` : ""}`);
    return part;
  });
  for (const circuit of status.circuits.filter(one => one.state !== "closed")) {
    const part = document.createElement("span");
    part.className = "warn";
    part.textContent = `breaker on ${circuit.name} ${circuit.state.replace("_", " ")}, ${whole.format(circuit.failures)} failures in a row`;
    parts.push(part);
  }
  if (status.leadership) {
    const part = document.createElement("span"), { footing, epoch, standby } = status.leadership;
    part.className = footing === "firm" ? "" : "warn";
    part.textContent = `leadership ${footing}, epoch ${epoch}${standby ? ", a standby is ready" : ""}`;
    parts.push(part);
  }
  if (status.feed) {
    const part = document.createElement("span"), { connected, outage_since, reconnects } = status.feed;
    part.className = outage_since ? "bad" : "";
    const flows = connected ? "connected" : "not connected";
    part.textContent = `market data ${outage_since ? `away since ${timeOf(outage_since)} UTC` : flows}${reconnects ? `, made anew ${whole.format(reconnects)} times` : ""}`;
    parts.push(part);
  }
  if (status.feed) parts.push(pricesPart(status));
  if (status.account) {
    const part = document.createElement("span"), { wallet, unpaid, troubles } = status.account;
    part.className = troubles.length ? "bad" : "";
    const owed = Number(unpaid) > 0 ? `, ${money(unpaid)} to be redeemed` : `, ${money(-Number(unpaid))} of it merged ahead of settlement`;
    part.textContent = troubles.length ? `account: ${troubles.join("; ")}`
      : `wallet ${wallet === null ? "not read yet" : money(wallet)}${Number(unpaid) ? owed : ""}`;
    parts.push(part);
  }
  byId("stores").replaceChildren(...parts);
  setText("run", `run ${status.run}, started ${status.started_at.slice(0, 10)} ${timeOf(status.started_at)} UTC, PolyBot ${status.version}`);
}

/** Reference prices in a word: how many, how old the oldest is, and which socket is away. All ages are in the title. */
function pricesPart(status) {
  const part = document.createElement("span"), { prices, sources } = status.feed;
  const away = (sources?.price_sockets ?? []).filter(socket => !socket.connected);
  const oldest = Math.max(...prices.map(price => price.age_ms)) / 1000;
  const ages = prices.length ? `${whole.format(prices.length)} reference prices, the oldest ${spanOf(oldest)}` : "no reference price yet";
  part.textContent = [ages, ...away.map(socket => `${socket.name} not connected${socket.trouble ? ` (${socket.trouble})` : ""}`)].join(", ");
  part.title = prices.map(price => `${price.asset} ${price.source} ${spanOf(price.age_ms / 1000)}`).join("\n");
  part.className = stalePrices(status).length ? "bad" : away.length || !prices.length ? "warn" : "";
  return part;
}

function stalePrices(status) { return (status.feed?.prices ?? []).filter(price => price.stale); }

// -- tables -----------------------------------------------------------------------------------------------------------

/** A cell with nothing to say is left out of the phone's cards. */
function cell(text, className = "", title = "") {
  return { text, title, className: text === "–" ? `${className} none` : className };
}

/** Changes only what differs, so that a selection or a screen reader's place survives the second. */
function showTable(id, emptyId, rows) {
  const table = byId(id), body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells].map(heading => heading.textContent);
  byId(emptyId).hidden = rows.length > 0;
  table.parentElement.hidden = rows.length === 0;
  while (body.rows.length > rows.length) body.deleteRow(-1);
  while (body.rows.length < rows.length) {
    const row = body.insertRow();
    row.role = "row"; // said outright, since the phone's layout takes a table's own roles away
    for (const heading of headings) Object.assign(row.insertCell(), { role: "cell" }).dataset.heading = heading;
  }
  rows.forEach((cells, index) => cells.forEach((wanted, column) => {
    const shown = body.rows[index].cells[column];
    if (shown.textContent !== wanted.text) shown.textContent = wanted.text;
    if (shown.className !== wanted.className) shown.className = wanted.className;
    if (shown.title !== wanted.title) shown.title = wanted.title;
  }));
}

// -- words and numbers ------------------------------------------------------------------------------------------------
// Amounts come as decimal text and become numbers here for display alone.

function money(amount) { return cents.format(amount).replace("-", "−"); }
function percent(ratio) { return ratio === null ? "–" : `${(ratio * 100).toFixed(1)} %`; }
function price(text) { return text ?? "–"; }
function timeOf(utc) { return utc.slice(11, 19); }
function outOf(count, total) { return total === null ? whole.format(count) : `${whole.format(count)} of ${whole.format(total)}`; }

function signed(amount) {
  const text = money(Number(amount));
  return text === "−0.00" ? "0.00" : Number(amount) > 0 && text !== "0.00" ? `+${text}` : text;
}

function tone(amount) {
  const text = signed(amount);
  return text.startsWith("+") ? "good" : text.startsWith("−") ? "bad" : "";
}

function countdown(seconds) {
  if (seconds <= 0) return "awaiting pay-out";
  const left = Math.floor(seconds);
  return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
}

function spanOf(seconds) {
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}

function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

function byId(id) { return document.getElementById(id); }

connect();
setInterval(watch, 500);
