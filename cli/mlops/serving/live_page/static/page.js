// The live page: takes Server-Sent Events and draws with uPlot. Nothing is loaded from elsewhere.
"use strict";
(() => {
  const body = document.body;
  const events = body.dataset.events;
  const charts = new Set();
  const at = (root, selector) => [...root.querySelectorAll(selector)];
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const arm = (index) => color(`--arm-${index % 8}`);
  const dashes = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
  const two = (value) => String(value).padStart(2, "0");

  // Numbers as the server writes them: three digits, a real minus, thousands apart.
  function number(value) {
    if (value === null || value === undefined || !Number.isFinite(value)) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    const places = size >= 100 ? 0 : Math.min(6, Math.max(0, 2 - Math.floor(Math.log10(size))));
    const text = value.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
    return text.replace("-", "\u2212");
  }
  const rate = (value) => (value === null ? "–" : value >= 10 || value === 0 ? number(Math.round(value)) : value.toFixed(1));

  // A label of an axis: as many digits as tell it from its neighbours.
  function tick(value, step) {
    if (value === null) return "";
    let places = 0;
    while (places < 8 && Math.abs(step * 10 ** places - Math.round(step * 10 ** places)) > 1e-6) places += 1;
    const text = value.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
    return value ? text.replace("-", "\u2212") : "0";
  }

  function clock(seconds, step) {
    const when = new Date(seconds * 1000);
    const time = `${two(when.getUTCHours())}:${two(when.getUTCMinutes())}`;
    if (step >= 86400) return `${when.getUTCDate()} ${when.toLocaleString("en-GB", { month: "short", timeZone: "UTC" })}`;
    return step < 60 ? `${time}:${two(when.getUTCSeconds())}` : time;
  }

  // Axes, with labels that are as wide as they need to be.
  const font = '12px system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif';
  function axis(more) {
    return {
      stroke: color("--soft"), font, ticks: { show: false }, gap: 6,
      grid: { stroke: color("--line"), width: 1 }, ...more,
    };
  }
  function upright(labels) {
    return axis({
      size: (chart, values) => Math.max(34, 14 + 7 * Math.max(0, ...(values || []).map((text) => text.length))),
      values: labels || ((chart, splits, index, space, step) => splits.map((value) => tick(value, step))),
    });
  }
  const timeAxis = () => axis({ size: 30, values: (chart, splits, index, space, step) => splits.map((value) => clock(value, step)), space: 70 });

  function options(place, more) {
    return {
      width: Math.max(120, place.clientWidth), height: place.clientHeight || 220,
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      legend: { show: true }, cursor: { y: false, points: { size: 7 } }, padding: [10, 8, 0, 0], ...more,
    };
  }

  // One chart: made again when colours change, and resized with its place.
  class Chart {
    constructor(place, make) {
      this.place = place;
      this.make = make;
      this.draw();
      this.watch = new ResizeObserver(() => this.fit());
      this.watch.observe(place);
      charts.add(this);
    }
    draw() {
      if (this.plot) this.plot.destroy();
      const [settings, data] = this.make(this.place);
      this.plot = new uPlot(settings, data, this.place);
      this.plot.over.addEventListener("mouseleave", () => this.newest());
      // It is made in a moment of its own.
      setTimeout(() => this.newest());
    }
    // While nobody points at a moment the legend has the newest values.
    newest() {
      const { left } = this.plot.cursor;
      if (!(left >= 0) && this.place.isConnected) this.plot.setLegend({ idx: this.plot.data[0].length - 1 });
    }
    fit() {
      const width = Math.max(120, this.place.clientWidth);
      if (this.plot.width !== width) this.plot.setSize({ width, height: this.plot.height });
    }
    end() {
      this.watch.disconnect();
      this.plot.destroy();
      charts.delete(this);
    }
  }

  // What the counters say, second by second.
  const names = at(document, "tr[data-arm]").map((row) => row.dataset.arm);
  const serving = names.length;
  let every = 5;
  let points = [];
  const live = new Map();
  function columns(column) {
    const xs = points.map((point) => point.t);
    return [xs, ...names.map((name) => points.map((point) => (point.arms[name] ? point.arms[name][column] : null)))];
  }
  function traffic(place) {
    const unit = place.dataset.unit;
    const series = names.map((name, index) => ({
      label: index < serving ? name : `${name} (earlier)`, stroke: arm(index), width: 2, dash: dashes[index % 4], spanGaps: false, points: { show: false },
      value: (chart, value) => (value === null ? "–" : `${number(value)} ${unit}`),
    }));
    const span = every * 180;
    return [
      options(place, {
        scales: {
          x: { time: true, range: () => { const end = points.length ? points[points.length - 1].t : Date.now() / 1000; return [end - span, end]; } },
          y: { range: (chart, low, high) => [0, high > 0 ? high * 1.15 : 1] },
        },
        axes: [timeAxis(), upright()],
        series: [{ label: "UTC", value: (chart, value) => (value === null ? "–" : clock(value, 1)) }, ...series],
      }),
      columns(Number(place.dataset.live)),
    ];
  }
  function redraw() {
    for (const [place, chart] of live) {
      chart.plot.setData(columns(Number(place.dataset.live)));
      chart.newest();
    }
  }
  function say(name, text) {
    for (const place of at(document, `[data-now="${name}"]`)) place.textContent = text;
  }
  function take(now) {
    const newest = points[points.length - 1];
    const known = Object.values(now.arms).filter((cells) => cells[0] !== null);
    if (!known.length) return;
    const point = { t: now.t, arms: now.arms };
    // Between two points of the chart the newest one moves.
    if (newest && newest.moving) points.pop();
    const before = points[points.length - 1];
    point.moving = Boolean(before) && now.t - before.t < every;
    points.push(point);
    while (points.length > 181) points.shift();
    const sum = (column) => known.reduce((total, cells) => total + cells[column], 0);
    const slowest = known.map((cells) => cells[3]).filter((value) => value !== null);
    say("requests", rate(sum(0)));
    say("errors", rate(sum(1)));
    say("refused", rate(sum(5)));
    say("slowest", slowest.length ? number(Math.max(...slowest)) : "–");
    for (const row of at(document, "tr[data-arm]")) {
      const cells = now.arms[row.dataset.arm];
      for (const cell of at(row, "[data-cell]")) {
        const column = Number(cell.dataset.cell);
        const value = cells ? cells[column] : null;
        cell.textContent = column < 2 || column === 5 ? rate(value === undefined ? null : value) : number(value);
        if (column === 1) cell.classList.toggle("bad", value > 0);
      }
    }
    redraw();
  }
  let told = "";
  function faults(found) {
    const text = JSON.stringify(found);
    if (text === told) return;
    told = text;
    const place = document.querySelector("#faults");
    place.replaceChildren(...found.map((fault) => {
      const line = document.createElement("p");
      const words = document.createElement("span");
      line.className = "flag";
      // Names are in backticks.
      words.append(...fault.split("`").map((text, index) => {
        if (index % 2 === 0) return text;
        const name = document.createElement("code");
        name.textContent = text;
        return name;
      }));
      line.append(words);
      return line;
    }));
  }

  // Parts of the journal: HTML of the server, with charts in it.
  const kinds = {
    interval(place, values) {
      const unit = place.dataset.unit;
      const own = arm(values.color);
      const last = values.x.length - 1;
      const width = values.upper[last] - values.lower[last];
      const low = Math.min(0, Math.max(Math.min(...values.lower), values.lower[last] - 2 * width));
      const high = Math.max(0, Math.min(Math.max(...values.upper), values.upper[last] + 2 * width));
      const air = 0.06 * (high - low || 1);
      const say = (chart, value) => (value === null ? "–" : number(value));
      const zero = (chart) => {
        const y = Math.round(chart.valToPos(0, "y", true)) + 0.5;
        chart.ctx.save();
        chart.ctx.strokeStyle = color("--rule");
        chart.ctx.lineWidth = 1.5 * devicePixelRatio;
        chart.ctx.beginPath();
        chart.ctx.moveTo(chart.bbox.left, y);
        chart.ctx.lineTo(chart.bbox.left + chart.bbox.width, y);
        chart.ctx.stroke();
        chart.ctx.restore();
      };
      return [
        options(place, {
          scales: { x: { time: false }, y: { range: () => [low - air, high + air] } },
          axes: [
            axis({ size: 28, label: unit, labelFont: font, labelSize: 20, values: (chart, splits) => splits.map((value) => (Number.isInteger(value) ? value.toLocaleString("en-US") : "")), space: 60 }),
            upright(),
          ],
          series: [
            { label: unit, value: (chart, value) => (value === null ? "–" : value.toLocaleString("en-US")) },
            { label: "upper", stroke: own, width: 1, value: say, points: { show: false } },
            { label: "estimate", stroke: own, width: 2.5, value: say, points: { show: false } },
            { label: "lower", stroke: own, width: 1, value: say, points: { show: false } },
          ],
          bands: [{ series: [1, 3], fill: `color-mix(in srgb, ${own} 16%, transparent)` }],
          hooks: { drawAxes: [zero] },
        }),
        [values.x, values.upper, values.estimate, values.lower],
      ];
    },
    lines(place, values) {
      const unit = place.dataset.unit;
      return [
        options(place, {
          scales: { x: { time: true }, y: { range: (chart, low, high) => { const air = 0.1 * (high - low || Math.abs(high) || 1); return [low - air, high + air]; } } },
          axes: [timeAxis(), upright()],
          series: [
            { label: "UTC", value: (chart, value) => (value === null ? "–" : clock(value, 1)) },
            ...values.arms.map((name, index) => ({
              label: name, stroke: arm(index), width: 2, dash: dashes[index % 4],
              points: { show: true, size: 5, fill: arm(index), filter: (chart) => chart.data[0].map((t, at) => at).filter((at) => !values.few[index].includes(at)) },
              value: (chart, value) => (value === null ? "–" : `${number(value)} ${unit}`),
            })),
          ],
        }),
        [values.t, ...values.values],
      ];
    },
    shares(place, values) {
      const end = Math.max(Date.now() / 1000, values.t[values.t.length - 1] + 1);
      return [
        options(place, {
          scales: { x: { time: true }, y: { range: () => [0, 1] } },
          axes: [timeAxis(), upright((chart, splits) => splits.map((value) => `${Math.round(100 * value)} %`))],
          series: [
            { label: "UTC", value: (chart, value) => (value === null ? "–" : clock(value, 1)) },
            ...values.arms.map((name, index) => ({
              label: name, stroke: arm(index), width: 2, dash: dashes[index % 4], points: { show: false },
              paths: uPlot.paths.stepped({ align: 1 }),
              value: (chart, value) => (value === null ? "–" : `${(100 * value).toPrecision(3)} %`),
            })),
          ],
        }),
        [[...values.t, end], ...values.shares.map((each) => [...each, each[each.length - 1]])],
      ];
    },
  };
  function drawAll(root) {
    for (const place of at(root, "[data-chart]")) {
      const values = JSON.parse(place.dataset.values);
      new Chart(place, () => kinds[place.dataset.chart](place, values));
    }
  }
  function put(part) {
    const place = document.querySelector(`[data-part="${part.id}"]`);
    if (!place) return;
    for (const chart of [...charts]) if (place.contains(chart.place)) chart.end();
    const open = at(place, "details").map((each) => each.open);
    const focused = at(place, "a, summary, [tabindex]").indexOf(document.activeElement);
    place.innerHTML = part.html;
    place.removeAttribute("aria-busy");
    at(place, "details").forEach((each, index) => { each.open = Boolean(open[index]); });
    if (focused >= 0) at(place, "a, summary, [tabindex]")[focused]?.focus({ preventScroll: true });
    drawAll(place);
  }

  // The connection: none while nobody looks.
  let source = null;
  function state(text, kind) {
    const place = document.querySelector("#state");
    if (place.textContent !== text) place.textContent = text;
    place.className = `state ${kind}`;
    body.classList.toggle("stale", kind === "bad");
  }
  // The page may come from a server of the old revision again and again.
  function reload() {
    const last = Number(sessionStorage.getItem("reloaded"));
    if (Date.now() - last < 60000) return;
    sessionStorage.setItem("reloaded", String(Date.now()));
    location.reload();
  }
  // A stream does not say why it is refused; the same request does.
  async function why() {
    const enough = new AbortController();
    try {
      const reply = await fetch(events, { signal: enough.signal });
      // The page is now the form to sign in.
      if (reply.status === 401 || reply.status === 403) location.reload();
      else if (reply.status === 503) state(await reply.text(), "bad");
    } catch (error) {
      // There is no connection, as the page says.
    } finally {
      enough.abort();
    }
  }
  function connect() {
    if (source || document.hidden) return;
    source = new EventSource(events);
    source.addEventListener("open", () => state("live", "good"));
    source.addEventListener("error", () => {
      state("no connection, trying again", "bad");
      // The browser itself does not try again after an answer that is no stream.
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        why();
        setTimeout(connect, 10000);
      }
    });
    source.addEventListener("history", (event) => {
      const past = JSON.parse(event.data);
      every = past.every;
      points = past.points;
      // Arms of revisions before: their requests were answered too.
      const known = names.length;
      for (const point of points) for (const name of Object.keys(point.arms)) if (!names.includes(name)) names.push(name);
      if (names.length > known) for (const chart of live.values()) chart.draw();
      redraw();
    });
    source.addEventListener("now", (event) => {
      const now = JSON.parse(event.data);
      if (now.faults) faults(now.faults);
      if (!now.arms) return;
      // During a rollout, servers of the revision before may send this.
      if (now.revision > Number(body.dataset.revision)) reload();
      take(now);
    });
    source.addEventListener("part", (event) => put(JSON.parse(event.data)));
  }
  function disconnect(text) {
    if (source) source.close();
    source = null;
    state(text, "");
  }

  if (events) {
    for (const place of at(document, "[data-live]")) live.set(place, new Chart(place, traffic));
    drawAll(document);
    // What is drawn is chosen by buttons with the name of the chart.
    for (const choice of at(document, ".choice input[type=radio]")) {
      choice.addEventListener("change", () => {
        document.querySelector(`#${choice.name}`).dataset.live = choice.value;
        redraw();
      });
    }
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) disconnect("paused");
      else connect();
    });
    connect();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.draw()));

  // A request's explanation, which is made when it is asked for.
  for (const button of at(document, "[data-explain]")) {
    button.addEventListener("click", async () => {
      const place = document.querySelector("#explanation");
      button.disabled = true;
      place.setAttribute("aria-busy", "true");
      place.textContent = "Explaining …";
      try {
        const reply = await fetch(button.dataset.explain, { headers: { accept: "text/html" } });
        const text = await reply.text();
        if (reply.ok) place.innerHTML = text;
        else place.textContent = text;
      } catch (error) {
        place.textContent = "The server did not answer.";
      }
      place.removeAttribute("aria-busy");
      button.disabled = false;
    });
  }
})();
