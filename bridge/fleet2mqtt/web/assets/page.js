"use strict";
// What comes from vendors is only ever put in as text, never as HTML.
const $ = id => document.getElementById(id);
const TEXTS = JSON.parse($("texts").textContent);
const LANGUAGE = document.documentElement.lang;
// English has several ways to write a date; the browser knows which one its user is used to.
const LOCALE = navigator.languages.find(each => each.split("-")[0] === LANGUAGE.split("-")[0]) || LANGUAGE;
const SILENCE = 10000; // milliseconds without an event, of which one is due every two seconds
const RETRY = 5000;
const TYPING = 250;

function t(key, values = {}) {
  return TEXTS[key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
const named = (prefix, value) => TEXTS[prefix + value] ?? String(value).replaceAll("_", " ");

function make(tag, content, className) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (Array.isArray(content)) element.append(...content);
  else if (content !== undefined && content !== null) element.textContent = content;
  return element;
}
function link(text, href, className) {
  return Object.assign(make("a", text, className), {href});
}
const pill = (good, text) => make("span", text, "pill " + (good ? "good" : "bad"));
function cell(content, label, className) {
  const td = make("td", content, className);
  if (label) td.dataset.label = label;
  return td;
}
const count = number => number.toLocaleString(LOCALE);

function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 120) return t("seconds", {n: whole});
  if (whole < 7200) return t("minutes", {n: Math.floor(whole / 60)});
  if (whole < 172800) return t("hours", {n: Math.floor(whole / 3600), m: Math.floor(whole % 3600 / 60)});
  return t("days", {n: Math.floor(whole / 86400), h: Math.floor(whole % 86400 / 3600)});
}
// Both moments are by the bridge's clock: the reader's may be wrong.
const between = (then, now) => span((Date.parse(now) - Date.parse(then)) / 1000);
const ago = (then, now) => then ? t("ago", {span: between(then, now)}) : t("never");
function until(then, now) {
  const seconds = then ? (Date.parse(then) - Date.parse(now)) / 1000 : 0;
  return seconds > 0 ? t("in", {span: span(seconds)}) : t("now");
}
function size(bytes) {
  const steps = ["B", "KiB", "MiB", "GiB"];
  let step = 0;
  for (; bytes >= 1024 && step < 3; step++) bytes /= 1024;
  return (step ? bytes.toFixed(1) : bytes) + " " + steps[step];
}
const moment = text => new Date(text).toLocaleString(LOCALE, {dateStyle: "medium", timeStyle: "medium"});
function value(content) {
  const text = String(content);
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text) ? moment(text) : text;
}

// The address: filters are parameters of it, so that it can be kept and sent to somebody.

const VIEW = {alarms: "alarms", alarm: "alarm", device: "device"}[location.pathname.split("/").pop()] || "status";
const parameters = () => new URLSearchParams(location.search);
function address(path, changes) {
  const wanted = new URLSearchParams();
  const lang = parameters().get("lang");
  if (lang) wanted.set("lang", lang);
  for (const [name, text] of Object.entries(changes)) if (text) wanted.set(name, text);
  const query = wanted.toString();
  return path + (query ? "?" + query : "");
}
const deviceAddress = id => address("device", {id});
const alarmAddress = id => address("alarm", {id});
function changed(changes) {
  const wanted = parameters();
  for (const [name, text] of Object.entries(changes)) {
    if (text) wanted.set(name, text);
    else wanted.delete(name);
  }
  const query = wanted.toString();
  return (location.pathname.split("/").pop() || "./") + (query ? "?" + query : "");
}

// Rows that did not change are left alone, so that a selection in them survives.
function showRows(body, rows, build) {
  const old = new Map([...body.children].map(row => [row.rowId, row]));
  rows.forEach((content, index) => {
    const text = JSON.stringify(content);
    let row = old.get(content.id);
    if (!row || row.text !== text) {
      const fresh = Object.assign(build(content), {rowId: content.id, text});
      if (row) row.replaceWith(fresh);
      row = fresh;
    }
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] || null);
    old.delete(content.id);
  });
  old.forEach(row => row.remove());
}
// The same where ages change all the time: cells that did not are left alone.
function patch(body, rows) {
  rows.forEach((fresh, index) => {
    const row = body.children[index];
    if (!row) body.append(fresh);
    else [...fresh.children].forEach((td, column) => {
      if (!row.children[column].isEqualNode(td)) row.children[column].replaceWith(td);
    });
  });
  while (body.children.length > rows.length) body.lastElementChild.remove();
}
function replace(element, parts) {
  const same = parts.length === element.children.length && parts.every((part, n) => part.isEqualNode(element.children[n]));
  if (!same) element.replaceChildren(...parts);
}
function facts(list, pairs) {
  list.replaceChildren(...pairs.map(([name, content]) => make("div", [make("dt", name), make("dd", content)])));
}

// The overview.

function showBridge(bridge) {
  const protocol = bridge.mqtt.protocol ? "MQTT " + bridge.mqtt.protocol : t("no_broker");
  $("connected").textContent = bridge.connected ? protocol : t("broker_disconnected");
  $("connected").className = "pill " + (bridge.connected ? "good" : "bad");
  const waiting = bridge.outbox.depth ? t("waiting", {
    n: count(bridge.outbox.depth), size: size(bridge.outbox.bytes), span: span(bridge.outbox.oldest_age),
  }) : t("none");
  const dropped = Object.entries(bridge.dropped).map(([reason, n]) => `${count(n)} ${reason.replaceAll("_", " ")}`);
  const pairs = [
    [t("up_for"), span(bridge.uptime)], [t("alarms_waiting"), waiting], [t("published"), count(bridge.mqtt.published)],
    [t("reconnects"), count(bridge.mqtt.reconnects)], [t("dropped"), dropped.join(", ") || t("none")],
    [t("dead_letters"), count(bridge.dead_letters)], [t("memory"), size(bridge.rss)],
    [t("loop_lag"), Math.round(bridge.loop_lag * 1000) + " ms"],
  ];
  if (!bridge.connected && bridge.mqtt.last_error) pairs.push([t("broker"), bridge.mqtt.last_error]);
  facts($("bridge"), pairs);
  $("version").textContent = bridge.version;
}

function showSummary(alarms) {
  const columns = ["last_hour", "last_day", "active", "unacknowledged"];
  const rows = alarms ? Object.keys(alarms.last_hour).map(severity => make("tr", [
    cell([link(t(severity), address("alarms", {severity}))]),
    ...columns.map(column => {
      const n = alarms[column][severity];
      return cell(count(n), "", "number " + (n ? severity : "quiet"));
    }),
  ])) : [make("tr", [cell(t("outbox_unreadable"), "", "bad-text")])];
  patch($("summary"), rows);
}

function showCluster(cluster) {
  $("cluster").hidden = !cluster;
  if (!cluster) return;
  const {durability, commit_seconds, inbox} = cluster.storage;
  $("durability").textContent = named("durability_", durability);
  $("durability").className = "pill " + (durability === "replicated" ? "good" : "bad");
  $("storage").textContent = t("storage", {ms: count(Math.round(commit_seconds * 1000)), inbox: count(inbox)});
  patch($("nodes"), cluster.nodes.map(node => {
    const state = [pill(node.state === "alive", named("node_", node.state))];
    if (node.draining) state.push(" ", pill(false, t("draining")));
    const units = Object.entries(node.units).map(([unit, epoch]) => t("unit", {unit, epoch}));
    return make("tr", [
      cell(node.name),
      cell(state, "", "state"),
      cell(units.join(", "), t("units")),
      cell(node.version, t("software")),
    ]);
  }));
}

function showBackends(backends, now) {
  patch($("backends"), backends.map(each => {
    const about = [
      make("div", [link(each.title || each.name, deviceAddress(each.name))]),
      make("div", `${each.name} · ${each.platform}`, "quiet small"),
    ];
    if (each.error) about.push(make("div", `${each.error.text} (${named("error_", each.error.class)})`, "bad-text small"));
    if (each.stale_since) about.push(make("div", t("stale", {span: between(each.stale_since, now)}), "bad-text small"));
    return make("tr", [
      cell(about),
      cell([pill(each.available, t(each.available ? "online" : "offline"))], "", "state"),
      cell(ago(each.last_success, now), t("last_success")),
      cell(until(each.next_try, now), t("next_try")),
      cell(count(each.calls), t("calls"), "number"),
      cell(count(each.failures), t("failed"), "number" + (each.failures ? "" : " quiet")),
    ]);
  }));
}

function deviceRow(device) {
  const values = device.values.map(([name, content, unit]) =>
    make("span", [make("span", name + " ", "quiet small"), value(content) + (unit ? " " + unit : "")]));
  const state = [pill(device.online, t(device.online ? "online" : "offline"))];
  if (device.alarm) state.push(" ", pill(false, t("alarm")));
  return make("tr", [
    cell([make("div", [link(device.name, deviceAddress(device.id))]), make("div", device.id, "quiet small")]),
    cell(device.model),
    cell(state, "", "state"),
    cell([make("div", values, "values")]),
  ]);
}
function pageLinks(element, page, pages) {
  const parts = pages < 2 ? [] : [
    ...(page > 1 ? [link(t("previous_page"), changed({page: page > 2 ? String(page - 1) : ""}))] : []),
    make("span", t("page_of", {page: count(page), pages: count(pages)}), "quiet small"),
    ...(page < pages ? [link(t("next_page"), changed({page: String(page + 1)}))] : []),
  ];
  replace(element, parts);
}
function showStatus(view) {
  showBridge(view.bridge);
  showSummary(view.alarms);
  showCluster(view.cluster);
  showBackends(view.backends, view.now);
  showRows($("rows"), view.devices.rows, deviceRow);
  pageLinks($("device-pages"), view.devices.page, view.devices.pages);
  const {matching, total} = view.devices;
  $("count").textContent = matching < total ? t("of", {n: count(matching), total: count(total)}) : count(total);
}

// Alarms.

function alarmState(alarm) {
  const parts = [];
  if (alarm.acknowledged) parts.push(make("div", t("acknowledged_by", {name: alarm.acknowledged_by})));
  else if (alarm.state === "active") parts.push(make("div", t("not_acknowledged"), "quiet"));
  if (alarm.shelved_until) {
    parts.push(make("div", t("shelved_by", {name: alarm.shelved_by, time: moment(alarm.shelved_until)}), "quiet small"));
  }
  if (alarm.suppressed_by) {
    const key = alarm.suppressed_by.startsWith("maintenance:") ? "in_maintenance" : "suppressed";
    parts.push(make("div", t(key), "quiet small"));
  }
  if (alarm.flapping) parts.push(make("div", t("flapping"), "quiet small"));
  if (alarm.state === "cleared") {
    parts.push(make("div", alarm.ended_at ? t("ended", {time: moment(alarm.ended_at)}) : t("cleared"), "quiet small"));
  }
  if (alarm.state === null) parts.push(make("div", t("event_only"), "quiet small"));
  return parts;
}
function alarmRow(alarm) {
  const about = [make("div", [link(alarm.text, alarmAddress(alarm.id))])];
  const facts_ = [alarm.alarm_type || alarm.name, alarm.line ? t("line", {line: alarm.line}) : "", named("source_", alarm.source)];
  about.push(make("div", facts_.filter(fact => fact && fact !== alarm.text).join(" · "), "quiet small"));
  const device = alarm.known ? link(alarm.device_name, deviceAddress(alarm.device)) : alarm.device_name;
  return make("tr", [
    cell(t(alarm.severity), "", "severity " + alarm.severity),
    cell([make("div", [device]), make("div", alarm.device, "quiet small")]),
    cell(about),
    cell(moment(alarm.raised_at), t("since")),
    cell(alarmState(alarm)),
  ]);
}
const LABELS = {id: "identifier", tag: "tags", kind: "kind"};
function windowRow(each) {
  const selected = Object.entries(each.selector).map(([name, text]) => make("div", [
    make("span", t(LABELS[name] || name) + " ", "quiet small"),
    name === "device" && each.device_name ? link(each.device_name, deviceAddress(text)) : text,
  ]));
  const end = [make("div", each.end ? moment(each.end) : t("until_removed"))];
  if (each.recurrence) end.push(make("div", [each.recurrence, each.time_zone].filter(Boolean).join(" · "), "quiet small"));
  return make("tr", [
    cell(selected),
    cell([pill(!each.active, t(each.active ? "in_maintenance" : "planned"))], "", "state"),
    cell(moment(each.start), t("from")),
    cell(end, t("to")),
    cell(each.operator || "", t("operator")),
    cell(each.text || ""),
  ]);
}
function showWindows(windows) {
  $("windows").hidden = !windows.total;
  const shown = windows.rows.length;
  $("window-count").textContent = shown < windows.total ? t("of", {n: count(shown), total: count(windows.total)}) : count(shown);
  showRows($("window-rows"), windows.rows, windowRow);
}
function showAlarms(view) {
  showWindows(view.windows);
  const filter = $("backend-filter"), wanted = filter.value || parameters().get("backend") || "";
  const names = [...new Set([...view.backends, ...(wanted ? [wanted] : [])])].sort();
  if (filter.names !== names.join()) {
    filter.replaceChildren(filter.options[0], ...names.map(name => Object.assign(make("option", name), {value: name})));
    filter.value = wanted;
    filter.names = names.join();
  }
  const list = view.alarms;
  showRows($("alarm-rows"), list.rows, alarmRow);
  $("no-alarms").hidden = list.rows.length > 0;
  $("no-alarms").textContent = t(list.state === "active" ? "no_active" : "no_past");
  if (list.state === "active") {
    const all = Object.values(view.counts.active).reduce((sum, n) => sum + n, 0);
    $("alarm-count").textContent = list.matching < all ? t("of", {n: count(list.matching), total: count(all)}) : count(all);
    pageLinks($("alarm-pages"), list.page, list.pages);
  } else {
    $("alarm-count").textContent = "";
    const parts = [];
    if (parameters().get("before")) parts.push(link(t("newest"), changed({before: ""})));
    if (list.before) parts.push(link(t("older"), changed({before: String(list.before)})));
    replace($("alarm-pages"), parts);
  }
}
function showFilters() {
  const wanted = parameters();
  for (const field of $("filters").elements) if (field.name !== "backend") field.value = wanted.get(field.name) || "";
  $("chips").replaceChildren(...["device", "group"].filter(name => wanted.get(name)).map(name =>
    Object.assign(link(`${t(name)}: ${wanted.get(name)} ✕`, changed({[name]: "", page: "", before: ""}), "chip"), {
      ariaLabel: t("remove_filter", {name: t(name), value: wanted.get(name)}),
    })));
}

// One alarm.

function changeRow(change) {
  const what = [make("div", named("type_", change.type))];
  if (change.until) what.push(make("div", t("until", {time: moment(change.until)}), "quiet small"));
  if (change.suppressed) what.push(make("div", t("withheld"), "quiet small"));
  return make("tr", [
    cell(what), cell(moment(change.at), t("time")), cell(change.operator || "", change.operator ? t("operator") : ""), cell(change.text || ""),
  ]);
}
function showAlarm(view) {
  const alarm = view.alarm;
  document.title = `${alarm.text} · fleet2mqtt`;
  $("alarm-text").textContent = alarm.text;
  const device = alarm.known ? [link(alarm.device_name, deviceAddress(alarm.device))] : alarm.device_name;
  const pairs = [
    [t("device"), device], [t("severity"), [make("span", t(alarm.severity), alarm.severity)]], [t("since"), moment(alarm.raised_at)],
    [t("state"), alarmState(alarm)], [t("alarm_type"), alarm.alarm_type || alarm.name], [t("source"), named("source_", alarm.source)],
    [t("backend"), [link(alarm.backend, deviceAddress(alarm.backend))]], [t("identifier"), alarm.id],
  ];
  if (alarm.line) pairs.splice(1, 0, [t("line", {line: ""}).trim(), alarm.line]);
  facts($("alarm-facts"), pairs);
  showRows($("alarm-changes"), view.changes.rows, changeRow);
}

// One device.

function valueRow(entity) {
  const known = entity.value !== null && entity.value !== "";
  const name = [make("span", entity.name)];
  name.push(make("span", " " + entity.id, "quiet small"));
  const content = known ? value(entity.value) + (entity.unit ? " " + entity.unit : "") : t("unknown");
  return make("tr", [cell(name), cell(content, "", known ? "" : "quiet")]);
}
function showDevice(view) {
  const device = view.device;
  document.title = `${device.name} · fleet2mqtt`;
  $("device-name").textContent = device.name;
  $("device-online").hidden = false;
  $("device-online").textContent = t(device.online ? "online" : "offline");
  $("device-online").className = "pill " + (device.online ? "good" : "bad");
  const text = JSON.stringify(device);
  if ($("facts").shown !== text) {
    const texts = {
      identifier: device.id, model: device.model, manufacturer: device.manufacturer, serial_number: device.serial_number,
      software: device.sw_version, hardware: device.hw_version, addresses: device.addresses.join(", "),
      groups: device.groups.join(", "), tags: device.tags.join(", "), location: device.location,
      area: device.suggested_area, changed_at: device.observed_at ? moment(device.observed_at) : "",
    };
    const pairs = Object.entries(texts).filter(([, content]) => content).map(([key, content]) => [t(key), content]);
    if (device.via) pairs.splice(1, 0, [t("through"), [link(device.via.name, deviceAddress(device.via.id))]]);
    else if (device.backend && device.backend !== device.id) {
      pairs.splice(1, 0, [t("backend"), [link(device.backend, deviceAddress(device.backend))]]);
    }
    facts($("facts"), pairs);
  }
  $("facts").shown = text;
  showRows($("device-values"), view.values.rows, valueRow);
  $("device-subs").hidden = !view.sub_devices.total;
  showRows($("sub-rows"), view.sub_devices.rows, deviceRow);
  const {rows, total} = view.sub_devices;
  $("sub-count").textContent = rows.length < total ? t("of", {n: count(rows.length), total: count(total)}) : count(total);
  $("device-alarms").hidden = !view.active.rows.length;
  showRows($("device-active"), view.active.rows, alarmRow);
  const past = view.past ? view.past.rows : [];
  $("device-history").hidden = !past.length;
  $("all-past").href = address("alarms", {state: "past", device: device.id});
  showRows($("device-past"), past, alarmRow);
}

// Events of the bridge: the first has everything, each after it what has changed.

const SHOW = {status: showStatus, alarms: showAlarms, alarm: showAlarm, device: showDevice}[VIEW];
let view = {}, rows = {}, source, timer, heard = Date.now(), retrying;

function merge(changes) {
  for (const [name, section] of Object.entries(changes)) {
    if (section && section.rows) {
      const known = rows[name] ||= new Map();
      section.rows.forEach(row => known.set(row.id, row));
      const order = section.order || [...known.keys()];
      rows[name] = new Map(order.map(id => [id, known.get(id)]));
      view[name] = {...section, rows: [...rows[name].values()]};
    } else {
      view[name] = section;
      delete rows[name];
    }
  }
}
function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}
function connect() {
  clearTimeout(retrying);
  if (source) source.close();
  const query = parameters();
  query.set("lang", LANGUAGE);
  const mine = source = new EventSource(`api/${VIEW}/events?${query}`);
  mine.onopen = () => { view = {}; rows = {}; };
  mine.onmessage = event => {
    if (mine !== source) return;
    heard = Date.now();
    trouble("");
    merge(JSON.parse(event.data));
    SHOW(view);
  };
  mine.onerror = () => {
    // Refused, the browser does not try again by itself; interrupted, it does.
    if (mine === source && mine.readyState === EventSource.CLOSED) explain(query);
  };
}
async function explain(query) {
  retrying = setTimeout(connect, RETRY);
  try {
    const answer = await fetch(`api/${VIEW}?${query}`, {signal: AbortSignal.timeout(SILENCE)});
    const content = await answer.json();
    if (answer.status === 404) trouble(t(VIEW === "alarm" ? "no_alarm" : "no_device"));
    else if (!answer.ok) trouble(content.error);
    else {
      view = content;
      heard = Date.now();
      SHOW(view);
      trouble(t("too_many"));
    }
  } catch (error) {
    trouble(t("no_answer", {span: span((Date.now() - heard) / 1000)}));
  }
}
function disconnect() {
  clearTimeout(retrying);
  if (source) source.close();
  source = null;
}
setInterval(() => {
  if (source && Date.now() - heard > SILENCE && source.readyState !== EventSource.CLOSED) {
    trouble(t("no_answer", {span: span((Date.now() - heard) / 1000)}));
  }
}, 1000);

function refine(changes) {
  history.replaceState(null, "", changed({...changes, page: "", before: ""}));
  showFilters();
  showLanguage();
  connect();
}
function showLanguage() {
  const [code, name] = LANGUAGE === "en" ? ["zh-Hans", "中文"] : ["en", "English"];
  Object.assign($("language"), {href: changed({lang: code}), textContent: name, lang: code});
}
function onInput(field, act) {
  field.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(act, TYPING); });
}

$(VIEW).hidden = false;
for (const [id, path] of [["to-status", "./"], ["to-alarms", "alarms"]]) $(id).href = address(path, {});
if ($("to-" + VIEW)) $("to-" + VIEW).setAttribute("aria-current", "page");
showLanguage();
$("filter").value = parameters().get("filter") || "";
onInput($("filter"), () => refine({filter: $("filter").value}));
showFilters();
$("filters").addEventListener("submit", event => event.preventDefault());
for (const field of $("filters").elements) onInput(field, () => refine({[field.name]: field.value}));
// A page that nobody looks at costs nothing.
document.addEventListener("visibilitychange", () => { if (document.hidden) disconnect(); else connect(); });
connect();
