/** A scatter plot of up to a million rows, drawn by WebGL2: axes, zoom, lasso, keyboard, and what is picked. */

import { paint, hasShapes } from '../colours';
import { freshId, html } from '../elements';
import type { Column } from '../protocol';
import { count, fromRows, NOTHING, type Bits } from '../selection';
import { DARK, isDark, LIGHT, onThemeChange, type Palette } from '../theme';
import { oncePerFrame } from '../timing';
import { Bar } from './bar';
import { apart, fitted, mapOf, mixBoxes, panned, union, zoomed, type Box, type Map2 } from './camera';
import { drawCopy, SHARP } from './copy';
import { Hand, type Handled, type Tool } from './hand';
import { boxLasso, boxOf, combine, Lasso, sameBits, within, type Way } from './lasso';
import { alphaOf, channels, sizeOf } from './looks';
import { MARGIN, Overlay } from './overlay';
import { Painter, type Picture } from './painter';
import { nextRow, Places } from './places';
import './scatter.css';
import { Ties } from './ties';
import { Tooltip } from './tooltip';

export { Legend } from './legend';

export interface ScatterEvents {
  /** What is picked changed; `done` when the hand lets go. */
  pick(bits: Bits, done: boolean): void;
  /** The row under the hand, or none. */
  hover(row: number | null): void;
  /** The lines of a row's tooltip. */
  describe(row: number): Promise<string[]> | string[];
}

const MOVE = 450;
/** A change within so many milliseconds after another one belongs to a movement. */
const MOVING = 200;
const HELP =
  'Arrow keys go from point to point, Space picks one, Shift adds, Alt takes away, Control A picks all, Escape none. ' +
  'L, B and P choose lasso, box and moving; plus, minus and 0 zoom.';

interface Journey {
  began: number;
  view: Box;
  goal: Box;
}

export class Scatter {
  readonly element = html('div', { class: 'nbi-scatter' });

  private readonly stage = html('div', { class: 'nbi-stage', tabindex: 0, role: 'application' });
  private readonly note = html('p', { class: 'nbi-scatter-note' });
  private readonly ghostKey = html('p', { class: 'nbi-ghost-key' });
  private readonly overlay = new Overlay();
  private readonly painter: Painter;
  private readonly bar: Bar;
  private readonly tooltip: Tooltip;
  private readonly places: Places;
  private readonly redraw: () => void;

  private chosen: Tool = 'lasso';
  private titles = { x: '', y: '' };
  private column: Column | null = null;
  private paint: Uint8Array;
  private picked: Bits = NOTHING;
  private before: Bits | null = null;
  private ghosts: Float32Array | null = null;
  private readonly ties = new Ties();
  private lit: { rows: readonly number[]; closed: boolean } = { rows: [], closed: false };
  private outlined: readonly number[] = [];
  private hovered: number | null = null;
  private cursor: number | null = null;
  private shown: Box = { x0: -1, x1: 1, y0: -1, y1: 1 };
  /** Whether the view is the one that shows all points: then it follows them. */
  private whole = true;
  private journey: Journey | null = null;
  private width = 0;
  private height = 0;
  private stale = true;
  private changed = 0;

  constructor(
    private readonly n: number,
    private readonly events: ScatterEvents,
    signal: AbortSignal
  ) {
    this.places = new Places(n);
    this.paint = paint(null, n);
    this.redraw = oncePerFrame(() => this.draw(), signal);
    this.painter = new Painter(
      n,
      () => this.soon(),
      note => (this.note.textContent = note),
      signal
    );
    this.bar = new Bar(
      { choose: tool => (this.tool = tool), zoom: factor => this.zoomAt(NaN, NaN, factor), fit: () => this.fit() },
      signal
    );
    this.tooltip = new Tooltip(row => events.describe(row), signal);
    const help = html('p', { class: 'nbi-hidden', id: freshId('scatter-help') }, HELP);
    this.stage.setAttribute('aria-describedby', help.id);
    this.stage.append(this.overlay.below, this.painter.element, this.overlay.element, this.tooltip.element);
    this.element.append(this.bar.element, this.stage, this.ghostKey, this.note, help, this.tooltip.voice);
    this.tool = 'lasso';
    this.bar.picked(0, n);
    new Hand(this.stage, this.handled(), signal);
    this.stage.addEventListener('focus', () => this.drawLines(), { signal });
    this.stage.addEventListener(
      'blur',
      () => {
        this.cursor = null;
        this.tooltip.show(null, 0, 0, 0, false);
        this.drawLines();
      },
      { signal }
    );
    onThemeChange(() => {
      this.paint = paint(this.column, n);
      this.soon();
    }, signal);
    const size = new ResizeObserver(() => this.resize());
    size.observe(this.stage);
    signal.addEventListener('abort', () => size.disconnect());
  }

  get tool(): Tool {
    return this.chosen;
  }

  set tool(tool: Tool) {
    this.chosen = tool;
    this.bar.tool(tool);
    this.stage.dataset.tool = tool;
  }

  /** Put the rows somewhere, `[row, 2]`: the first time at once, later smoothly. A row without a place is NaN. */
  place(xy: Float32Array): void {
    const first = this.places.version === 0;
    if (xy === this.places.to && this.places.t === 1) {
      return;
    }
    const old = this.places.box;
    if (first || calm()) {
      this.places.set(xy, xy, 1);
      this.journey = null;
      if (this.whole || apart(old, this.places.box)) {
        this.fit();
      }
    } else {
      // a change on the way goes on from where the points are
      const from = this.places.now;
      this.places.set(from === this.places.from || from === this.places.to ? from : from.slice(), xy, 0);
      const box = this.places.boxOf(xy);
      this.whole ||= apart(old, box);
      const goal = this.whole ? this.home(box) : this.shown;
      this.journey = { began: performance.now(), view: this.shown, goal };
    }
    this.moved();
  }

  /** Put the rows between two places, at `t` from 0 to 1. */
  between(a: Float32Array, b: Float32Array, t: number): void {
    this.journey = null;
    this.places.set(a, b, Math.min(1, Math.max(0, t)));
    if (this.whole) {
      this.shown = this.home(this.places.box);
    }
    this.moved();
  }

  axes(x: string, y: string): void {
    this.titles = { x, y };
    this.describe();
    this.drawLines();
  }

  colour(column: Column | null): void {
    this.column = column;
    this.paint = paint(column, this.n);
    this.soon();
  }

  /** Show a second cloud of the same rows as hollow marks. */
  ghost(xy: Float32Array | null, label = ''): void {
    this.ghosts = xy;
    this.ghostKey.textContent = xy === null ? '' : `○ ${label === '' ? 'the same rows again' : label}`;
    if (this.whole) {
      this.fit();
    }
    this.soon();
  }

  select(bits: Bits): void {
    if (!sameBits(bits, this.picked)) {
      this.picked = bits;
      this.bar.picked(count(bits), this.n);
      this.moved();
    }
  }

  /** Join the rows of a representative and ring them. */
  light(rows: readonly number[], closed: boolean): void {
    this.lit = { rows, closed };
    this.drawLines();
  }

  view(): Box {
    return { ...this.shown };
  }

  /** Show all points. */
  fit(): void {
    this.whole = true;
    this.shown = this.home(this.places.box);
    if (this.journey !== null) {
      this.journey = { ...this.journey, view: this.shown, goal: this.home(this.places.boxOf(this.places.to)) };
    }
    this.moved();
  }

  /** What is seen, and what its colours mean, as the address of a picture on the light theme's ground; null without one. */
  picture(): string | null {
    const { width, height, column, titles, shown: view, lit } = this;
    const scene = { ...this.scene(LIGHT), ratio: SHARP };
    const light = isDark() ? { ...scene, paint: paint(column, this.n, false) } : scene;
    return drawCopy(
      { width, height, view, map: scene.map, titles, column, lit: this.litPlaces(), closed: lit.closed },
      context => this.painter.copy(light, context, MARGIN.left, MARGIN.top)
    );
  }

  private home(box: Box | null): Box {
    const all = this.ghosts === null ? box : union(box, this.places.boxOf(this.ghosts));
    return fitted(all, this.width, this.height);
  }

  private map(): Map2 {
    return mapOf(this.shown, this.width, this.height);
  }

  private toData(x: number, y: number): [x: number, y: number] {
    const { sx, ox, sy, oy } = this.map();
    return [(x - ox) / sx, (y - oy) / sy];
  }

  private toScreen([x, y]: readonly [number, number]): [x: number, y: number] {
    const { sx, ox, sy, oy } = this.map();
    return [x * sx + ox, y * sy + oy];
  }

  private resize(): void {
    const width = this.stage.clientWidth - MARGIN.left - MARGIN.right;
    const height = this.stage.clientHeight - MARGIN.top - MARGIN.bottom;
    if (width > 0 && height > 0 && (width !== this.width || height !== this.height)) {
      const old = this.shown;
      const grown = [width / (this.width || width), height / (this.height || height)] as const;
      [this.width, this.height] = [width, height];
      if (this.whole) {
        this.shown = this.home(this.places.box);
      } else {
        // what one has zoomed into keeps its middle and its scale
        const [cx, cy] = [(old.x0 + old.x1) / 2, (old.y0 + old.y1) / 2];
        const [hx, hy] = [((old.x1 - old.x0) / 2) * grown[0], ((old.y1 - old.y0) / 2) * grown[1]];
        this.shown = { x0: cx - hx, x1: cx + hx, y0: cy - hy, y1: cy + hy };
      }
      this.soon();
    }
  }

  /** Draw soon: what is drawn changed. */
  private soon(): void {
    this.stale = true;
    this.redraw();
  }

  /** Draw soon: something moves. */
  private moved(): void {
    this.changed = performance.now();
    this.soon();
  }

  private draw(): void {
    if (this.width <= 0 || this.height <= 0) {
      this.resize();
      if (this.width <= 0 || this.height <= 0) {
        return;
      }
    }
    this.travel();
    if (this.stale) {
      this.stale = false;
      this.painter.draw(this.scene(isDark() ? DARK : LIGHT));
    }
    this.drawLines();
    this.element.dispatchEvent(new CustomEvent('nbi-drawn'));
  }

  private travel(): void {
    if (this.journey !== null) {
      const { began, view, goal } = this.journey;
      const share = Math.min(1, (performance.now() - began) / MOVE);
      const eased = share * share * (3 - 2 * share);
      const { from, to } = this.places;
      this.places.set(share === 1 ? to : from, to, share === 1 ? 1 : eased);
      this.shown = mixBoxes(view, goal, eased);
      this.journey = share === 1 ? null : this.journey;
      this.moved();
    }
  }

  private drawLines(): void {
    if (this.width <= 0) {
      return;
    }
    this.overlay.axes(this.shown, this.map(), this.width, this.height, this.titles.x, this.titles.y);
    this.overlay.light(this.litPlaces(), this.lit.closed);
    this.overlay.lasso(this.outlined);
    const row = this.cursor ?? this.hovered;
    this.overlay.point(row === null ? null : this.toScreen(this.places.at(row)), this.cursor !== null);
  }

  private litPlaces(): [x: number, y: number][] {
    return this.lit.rows.map(row => this.toScreen(this.places.at(row)));
  }

  private scene(palette: Palette): Picture {
    const home = this.home(this.places.box);
    const zoom = Math.max(1, (home.x1 - home.x0) / (this.shown.x1 - this.shown.x0));
    const size = sizeOf(this.n, zoom);
    return {
      map: this.map(),
      width: this.width,
      height: this.height,
      ratio: Math.min(2, devicePixelRatio || 1),
      from: this.places.from,
      to: this.places.to,
      t: this.places.t,
      now: () => this.places.now,
      version: this.places.version,
      paint: this.paint,
      picked: this.picked,
      fade: this.picked.length > 0,
      ghost: this.ghosts,
      ties: this.ties.between(this.places, this.ghosts, this.picked),
      size,
      alpha: alphaOf(this.n, zoom),
      shapes: size >= 6 && hasShapes(this.column),
      ground: channels(palette.surface),
      ink: channels(palette.muted),
      moving: performance.now() - this.changed < MOVING
    };
  }

  private describe(): void {
    const { x, y } = this.titles;
    const axes = x === '' && y === '' ? '' : `: ${x} across, ${y} up`;
    this.stage.setAttribute('aria-label', `Scatter plot of ${this.n.toLocaleString('en')} points${axes}`);
    this.stage.setAttribute('aria-roledescription', 'scatter plot');
  }

  private pick(bits: Bits, done: boolean): void {
    this.select(bits);
    this.events.pick(bits, done);
  }

  private zoomAt(x: number, y: number, factor: number): void {
    const [px, py] = [Number.isNaN(x) ? this.width / 2 : x, Number.isNaN(y) ? this.height / 2 : y];
    this.journey = null;
    this.shown = zoomed(this.shown, ...this.toData(px, py), factor, this.home(this.places.box));
    this.whole = false;
    this.moved();
  }

  private hover(row: number | null): void {
    if (row !== this.hovered) {
      this.hovered = row;
      this.events.hover(row);
      this.drawLines();
    }
  }

  private tell(row: number | null, spoken: boolean): void {
    const [x, y] = row === null ? [0, 0] : this.toScreen(this.places.at(row));
    this.tooltip.show(row, x + MARGIN.left, y + MARGIN.top, this.stage.clientWidth, spoken);
  }

  private rowNear(x: number, y: number, reach: number): number | null {
    const { sx, sy } = this.map();
    return this.places.nearest(...this.toData(x, y), reach / Math.abs(sx), reach / Math.abs(sy));
  }

  private outline(corners: readonly number[], way: Way, done: boolean): void {
    this.before ??= this.picked;
    this.outlined = done ? [] : corners;
    const ends = new Float64Array(corners.length);
    for (let at = 0; at + 1 < corners.length; at += 2) {
      [ends[at], ends[at + 1]] = this.toData(corners[at] ?? 0, corners[at + 1] ?? 0);
    }
    const lasso = this.tool === 'box' ? boxLasso(boxOf(ends)) : new Lasso(ends);
    const bits = combine(this.before, within(this.places.now, lasso), way);
    this.before = done ? null : this.before;
    this.pick(bits, done);
    this.redraw();
  }

  private step(dx: number, dy: number): void {
    const { now } = this.places;
    const { sx, sy } = this.map();
    const start = this.cursor ?? this.hovered;
    const next =
      start === null
        ? this.rowNear(this.width / 2, this.height / 2, this.width)
        : // the screen's y goes down
          nextRow(now, start, [sx, sy], [dx, dy]);
    this.cursor = next ?? start;
    if (this.cursor !== null) {
      const [x, y] = this.toScreen(this.places.at(this.cursor));
      if (x < 0 || y < 0 || x > this.width || y > this.height) {
        // what the cursor goes to is brought into sight
        this.panBy(this.width / 2 - x, this.height / 2 - y);
      }
    }
    this.tell(this.cursor, true);
    this.drawLines();
  }

  private panBy(dx: number, dy: number): void {
    const { sx, sy } = this.map();
    this.journey = null;
    this.shown = panned(this.shown, -dx / sx, -dy / sy);
    this.whole = false;
    this.moved();
  }

  private handled(): Handled {
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- the accessors below stand for the plot's own
    const plot = this;
    return {
      get tool() {
        return plot.tool;
      },
      set tool(tool: Tool) {
        plot.tool = tool;
      },
      zoomAt: (x, y, factor) => this.zoomAt(x, y, factor),
      panBy: (dx, dy) => this.panBy(dx, dy),
      fit: () => this.fit(),
      outline: (corners, way, done) => this.outline(corners, way, done),
      click: (x, y, way, reach) => {
        const row = this.rowNear(x, y, reach);
        if (row !== null) {
          this.pick(combine(this.picked, fromRows([row]), way), true);
        } else if (way === 'replace' && this.picked.length > 0) {
          this.pick(NOTHING, true);
        }
      },
      cancel: () => {
        this.outlined = [];
        if (this.before !== null) {
          const { before } = this;
          this.before = null;
          this.pick(before, true);
        }
        this.redraw();
      },
      clear: () => {
        this.cursor = null;
        this.tell(null, false);
        this.pick(NOTHING, true);
        this.drawLines();
      },
      all: () => this.pick(within(this.places.now, boxLasso(EVERYWHERE)), true),
      hoverAt: (x, y) => {
        const row = this.rowNear(x, y, 10);
        this.cursor = null;
        this.hover(row);
        this.tell(row, false);
      },
      leave: () => {
        this.hover(null);
        if (this.cursor === null) {
          this.tell(null, false);
        }
      },
      step: (dx, dy) => this.step(dx, dy),
      pickCursor: way => {
        if (this.cursor !== null) {
          this.pick(combine(this.picked, fromRows([this.cursor]), way), true);
        }
        return this.cursor !== null;
      }
    };
  }
}

const EVERYWHERE: Box = { x0: -Infinity, x1: Infinity, y0: -Infinity, y1: Infinity };

function calm(): boolean {
  return matchMedia('(prefers-reduced-motion: reduce)').matches;
}
