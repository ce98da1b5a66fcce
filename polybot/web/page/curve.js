// The floor's equity over market time, drawn by hand into an <svg> at its real pixel size.

const SVG = "http://www.w3.org/2000/svg";
const ROOM = { top: 8, right: 64, bottom: 18, left: 2 };
const clock = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hour: "2-digit", minute: "2-digit" });
const toTheSecond = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const cents = new Intl.NumberFormat("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export class Curve {
  #svg; #readout; #points = []; #start = 0; #pointer = null;

  constructor(svg, readout) {
    this.#svg = svg;
    this.#readout = readout;
    new ResizeObserver(() => this.#draw()).observe(svg);
    svg.addEventListener("pointermove", event => { this.#pointer = event.offsetX; this.#draw(); });
    svg.addEventListener("pointerleave", () => { this.#pointer = null; this.#draw(); });
  }

  /** `points`: [{at_ms, equity}], oldest first; `start`: the capital, drawn as a dashed line. */
  show(points, start) {
    this.#points = points.map(point => ({ at: point.at_ms, equity: Number(point.equity) }));
    this.#start = Number(start);
    this.#draw();
  }

  #draw() {
    const width = this.#svg.clientWidth, height = this.#svg.clientHeight, points = this.#points;
    if (!width || !height) return;
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    if (points.length < 2) {
      this.#svg.replaceChildren(text("The curve starts with the second figure.", 2, height / 2, "start"));
      this.#readout.textContent = "";
      return;
    }
    const scale = this.#scale(width, height);
    const line = points.map(point => `${scale.x(point.at).toFixed(1)},${scale.y(point.equity).toFixed(1)}`).join(" L");
    const first = scale.x(points[0].at), last = scale.x(points.at(-1).at);
    const bottom = height - ROOM.bottom;
    this.#svg.replaceChildren(
      ...this.#levels(scale, width),
      shape("path", { class: "area", d: `M${line} L${last},${bottom} L${first},${bottom} Z` }),
      shape("path", { class: "line", d: `M${line}` }),
      shape("circle", { class: "point", cx: last, cy: scale.y(points.at(-1).equity), r: 3 }),
      text(clock.format(points[0].at), first, height - 4, "start"),
      text(`${clock.format(points.at(-1).at)} UTC`, width - ROOM.right, height - 4, "end"),
      ...this.#crosshair(scale, bottom),
    );
    this.#svg.setAttribute("aria-label", this.#summary());
  }

  #scale(width, height) {
    const values = this.#points.map(point => point.equity).concat(this.#start);
    let low = Math.min(...values), high = Math.max(...values);
    // A flat curve is drawn as flat: never zoom in on less than 0.2 % of the capital.
    const least = Math.max(this.#start * 0.002, 0.01);
    if (high - low < least) { const middle = (high + low) / 2; low = middle - least / 2; high = middle + least / 2; }
    const from = this.#points[0].at, to = Math.max(this.#points.at(-1).at, from + 1);
    return {
      low, high,
      x: at => ROOM.left + (at - from) / (to - from) * (width - ROOM.left - ROOM.right),
      y: value => ROOM.top + (high - value) / (high - low) * (height - ROOM.top - ROOM.bottom),
    };
  }

  #levels(scale, width) {
    const step = niceStep((scale.high - scale.low) / 5);
    const right = width - ROOM.right, marks = [];
    for (let value = Math.ceil(scale.low / step) * step; value <= scale.high + step * 1e-6; value += step) {
      const y = Math.round(scale.y(value)) + .5;
      marks.push(shape("line", { class: "grid", x1: ROOM.left, x2: right, y1: y, y2: y }));
      marks.push(text(cents.format(value), right + 8, y + 4, "start"));
    }
    const y = Math.round(scale.y(this.#start)) + .5;
    marks.push(shape("line", { class: "start", x1: ROOM.left, x2: right, y1: y, y2: y }));
    return marks;
  }

  #crosshair(scale, bottom) {
    if (this.#pointer === null) { this.#readout.textContent = ""; return []; }
    const distance = point => Math.abs(scale.x(point.at) - this.#pointer);
    const nearest = this.#points.reduce((best, point) => distance(point) < distance(best) ? point : best);
    this.#readout.textContent = `${toTheSecond.format(nearest.at)} UTC  ${cents.format(nearest.equity)}`;
    const x = scale.x(nearest.at);
    return [
      shape("line", { class: "hair", x1: x, x2: x, y1: ROOM.top, y2: bottom }),
      shape("circle", { class: "point", cx: x, cy: scale.y(nearest.equity), r: 3 }),
    ];
  }

  #summary() {
    const values = this.#points.map(point => point.equity);
    const [first, last] = [values[0], values.at(-1)].map(value => cents.format(value));
    return `Equity from ${first} to ${last}, lowest ${cents.format(Math.min(...values))}, highest ${cents.format(Math.max(...values))}`;
  }
}

/** 1, 2 or 5 times a power of ten, not below `least`. */
function niceStep(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map(factor => factor * power).find(step => step >= least * .999);
}

function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function text(content, x, y, anchor) {
  const element = shape("text", { x, y, "text-anchor": anchor });
  element.textContent = content;
  return element;
}
