/** How often each value of a column occurs, and what share of it is picked: a brush over the bars picks their rows. */

import { freshId, html, set, svg } from '../../lib/elements';
import { everyLabel } from '../../lib/labels';
import type { Column } from '../../lib/protocol';
import { NOTHING, type Bits } from '../../lib/selection';
import { percent, visible } from '../../lib/tokens';
import { binsOf, NONE, pickedIn, roundStep, rowsBetween, type Bins } from './bins';
import { ticks } from './geometry';
import { Memo, type Hand } from './traits';
import { cut, rows, short, whole } from './words';

const MARGIN = { left: 46, right: 10, top: 12, bottom: 34 };
const HEIGHT = 190;

export class Histogram {
  readonly element = html('div', { class: 'atlas-histogram' });

  private readonly note = html('p', { class: 'atlas-note' });
  private readonly still = svg('g', { 'aria-hidden': 'true' });
  private readonly bars = svg('g', { role: 'group', 'aria-label': 'Bars' });
  private readonly overlay = svg('g', { 'aria-hidden': 'true' });
  private readonly marker = svg('path', { class: 'atlas-marker', 'aria-hidden': 'true' });
  private readonly drawing = svg('svg', { class: 'atlas-drawing', role: 'group', height: HEIGHT });
  // each widget brings this module along: only chance keeps their names apart
  private readonly hatch = freshId('hatch');
  private readonly memo = new Memo();
  private readonly known = new WeakMap<Column, Bins>();
  private bins: Bins | null = null;
  private picked: Bits = NOTHING;
  private width = 420;
  private current = 0;
  private from: number | null = null;

  constructor(
    private readonly hand: Hand,
    signal: AbortSignal
  ) {
    const lines = svg('path', { class: 'atlas-hatch', d: 'M-1 1l2-2M0 6l6-6M5 7l2-2' });
    const pattern = svg('pattern', { id: this.hatch, width: 6, height: 6, patternUnits: 'userSpaceOnUse' });
    pattern.append(svg('rect', { class: 'atlas-picked-fill', width: 6, height: 6 }), lines);
    this.drawing.append(svg('defs', {}, pattern), this.still, this.bars, this.overlay, this.marker);
    this.element.append(this.drawing, this.note);
    this.listen(signal);
  }

  /** The bins as they are drawn, for the picture. */
  get shown(): { bins: Bins; picked: Uint32Array } | null {
    return this.bins === null ? null : { bins: this.bins, picked: pickedIn(this.bins, this.picked) };
  }

  resize(width: number): void {
    if (width > 60 && Math.abs(width - this.width) >= 1) {
      this.width = width;
      this.draw();
    }
  }

  update(column: Column | null, picked: Bits): void {
    if (!this.memo.changed(column, picked)) {
      return;
    }
    const before = this.bins;
    this.bins = column === null ? null : (this.known.get(column) ?? binsOf(column));
    if (column !== null && this.bins !== null) {
      this.known.set(column, this.bins);
    }
    this.picked = picked;
    if (this.bins === before && before !== null) {
      this.drawPicked();
    } else {
      this.current = 0;
      set(this.drawing, { 'aria-label': column === null ? 'Histogram' : `Histogram of ${visible(column.name)}` });
      this.draw();
    }
  }

  /** Mark the bar of a row that is under the hand somewhere else. */
  hover(row: number | null): void {
    const bar = row === null || this.bins === null ? NONE : (this.bins.of[row] ?? NONE);
    const x = this.x(bar) + this.step() / 2;
    this.marker.setAttribute('d', bar === NONE ? '' : `M${x} ${HEIGHT - MARGIN.bottom + 2}l-4 7h8z`);
  }

  private step(): number {
    return (this.width - MARGIN.left - MARGIN.right) / Math.max(1, this.bins?.counts.length ?? 1);
  }

  private x(bar: number): number {
    return MARGIN.left + bar * this.step();
  }

  private highest(): number {
    return Math.max(1, ...(this.bins?.counts ?? []));
  }

  private y(value: number): number {
    return HEIGHT - MARGIN.bottom - (value / this.highest()) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  private draw(): void {
    const { bins } = this;
    set(this.drawing, { viewBox: `0 0 ${this.width} ${HEIGHT}`, width: this.width });
    this.note.textContent = bins === null ? '' : bins.note;
    if (bins === null || bins.counts.length === 0) {
      const words = bins === null ? 'choose a column' : 'no values';
      this.still.replaceChildren(svg('text', { class: 'atlas-tick', x: MARGIN.left, y: HEIGHT / 2 }, words));
      this.bars.replaceChildren();
      this.overlay.replaceChildren();
      return;
    }
    this.still.replaceChildren(...this.axes(bins));
    const gap = this.step() > 6 ? 1 : 0;
    this.bars.replaceChildren(
      ...[...bins.counts].map((value, bar) => {
        // a bar's button is as high as the drawing, so that a low one can be caught
        const [x, width] = [this.x(bar), this.step()];
        const top = this.y(value);
        return svg(
          'g',
          { class: 'atlas-bar', role: 'button', tabindex: bar === this.current ? 0 : -1 },
          svg('rect', {
            class: 'atlas-bar-field',
            x,
            y: MARGIN.top,
            width,
            height: HEIGHT - MARGIN.top - MARGIN.bottom
          }),
          svg('rect', {
            class: 'atlas-bar-body',
            x: x + gap / 2,
            y: top,
            width: Math.max(0.5, width - gap),
            height: Math.max(0, HEIGHT - MARGIN.bottom - top)
          })
        );
      })
    );
    this.drawPicked();
  }

  private axes(bins: Bins): Node[] {
    const [left, right, bottom] = [MARGIN.left, this.width - MARGIN.right, HEIGHT - MARGIN.bottom];
    const across = ticks(this.highest(), 3).filter(tick => Number.isInteger(tick));
    const lines = across.flatMap(tick => [
      svg('path', { class: tick === 0 ? 'atlas-axis' : 'atlas-grid', d: `M${left} ${this.y(tick)}H${right}` }),
      svg('text', { class: 'atlas-tick atlas-end', x: left - 6, y: this.y(tick) + 4 }, counted(tick))
    ]);
    return [...lines, ...(bins.edges === null ? this.labels(bins.names, bottom) : this.numbers(bins.edges, bottom))];
  }

  private numbers(edges: readonly number[], bottom: number): Node[] {
    const [low, high] = [edges[0] ?? 0, edges.at(-1) ?? 1];
    const step = roundStep((high - low) / Math.max(2, Math.min(6, this.width / 80)));
    const first = Math.ceil(low / step - 1e-9);
    const places = Array.from(
      { length: Math.max(0, Math.floor(high / step + 1e-9) - first + 1) },
      (_, i) => (first + i) * step
    );
    return places.flatMap(place => {
      const x = MARGIN.left + ((place - low) / (high - low)) * (this.width - MARGIN.left - MARGIN.right);
      return [
        svg('path', { class: 'atlas-axis', d: `M${x} ${bottom}v4` }),
        svg('text', { class: 'atlas-tick atlas-middle', x, y: bottom + 20 }, short(+place.toPrecision(12)))
      ];
    });
  }

  private labels(names: readonly string[], bottom: number): Node[] {
    const short_ = names.map(name => cut(name, 12));
    const every = everyLabel(short_, this.width - MARGIN.left - MARGIN.right);
    return short_.flatMap((name, bar) => {
      const x = this.x(bar) + this.step() / 2;
      return bar % every === 0 ? [svg('text', { class: 'atlas-tick atlas-middle', x, y: bottom + 20 }, name)] : [];
    });
  }

  private drawPicked(): void {
    const { bins } = this;
    if (bins === null) {
      return;
    }
    const counts = pickedIn(bins, this.picked);
    const gap = this.step() > 6 ? 1 : 0;
    const parts: Node[] = [];
    counts.forEach((value, bar) => {
      const all = bins.counts[bar] ?? 0;
      const button = this.bars.children[bar];
      if (button !== undefined) {
        const share = value > 0 ? `, ${whole(value)} picked (${percent(value / all)})` : '';
        set(button, {
          'aria-label': `${bins.names[bar] ?? ''}: ${rows(all)}${share}`,
          'aria-pressed': value === 0 ? 'false' : value === all ? 'true' : 'mixed'
        });
      }
      if (value > 0) {
        const y = this.y(value);
        const [width, height] = [Math.max(0.5, this.step() - gap), HEIGHT - MARGIN.bottom - y];
        const fill = `url(#${this.hatch})`;
        parts.push(svg('rect', { class: 'atlas-bar-picked', x: this.x(bar) + gap / 2, y, width, height, fill }));
      }
    });
    this.overlay.replaceChildren(...parts);
  }

  private barAt(event: PointerEvent): number {
    const box = this.drawing.getBoundingClientRect();
    const across = ((event.clientX - box.left) / box.width) * this.width - MARGIN.left;
    return Math.min((this.bins?.counts.length ?? 1) - 1, Math.max(0, Math.floor(across / this.step())));
  }

  private brush(from: number, to: number): void {
    if (this.bins !== null) {
      this.hand.pick(rowsBetween(this.bins, from, to));
    }
  }

  private listen(signal: AbortSignal): void {
    let last = -1;
    // a finger that goes down may scroll the page: it picks when it moves across, or lets go
    let waiting = false;
    this.drawing.addEventListener(
      'pointerdown',
      event => {
        if (event.button === 0 && event.isPrimary && this.bins !== null && this.bins.counts.length > 0) {
          this.drawing.setPointerCapture(event.pointerId);
          this.from = last = this.barAt(event);
          this.focus(this.from, false);
          waiting = event.pointerType === 'touch';
          if (!waiting) {
            this.brush(this.from, this.from);
          }
        }
      },
      { signal }
    );
    this.drawing.addEventListener(
      'pointermove',
      event => {
        const bar = this.barAt(event);
        if (this.from !== null && bar !== last) {
          last = bar;
          waiting = false;
          this.brush(this.from, bar);
        }
        this.tell(bar);
      },
      { signal }
    );
    this.drawing.addEventListener(
      'pointerup',
      () => {
        if (this.from !== null && waiting) {
          this.brush(this.from, this.from);
        }
      },
      { signal }
    );
    for (const end of ['pointerup', 'pointercancel', 'lostpointercapture'] as const) {
      this.drawing.addEventListener(end, () => (this.from = null), { signal });
    }
    this.drawing.addEventListener('pointerleave', () => (this.note.textContent = this.bins?.note ?? ''), { signal });
    this.bars.addEventListener('keydown', event => this.key(event), { signal });
  }

  /** Say in words what the bar under the hand holds. */
  private tell(bar: number): void {
    const label = this.bars.children[bar]?.getAttribute('aria-label');
    this.note.textContent = label ?? '';
  }

  private focus(bar: number, grab = true): void {
    this.bars.children[this.current]?.setAttribute('tabindex', '-1');
    this.current = bar;
    const button = this.bars.children[bar];
    button?.setAttribute('tabindex', '0');
    if (grab && button instanceof SVGElement) {
      button.focus();
      this.tell(bar);
    }
  }

  private key(event: KeyboardEvent): void {
    const last = (this.bins?.counts.length ?? 1) - 1;
    const target = { ArrowLeft: this.current - 1, ArrowRight: this.current + 1, Home: 0, End: last }[event.key];
    if (target !== undefined) {
      event.preventDefault();
      const anchor = this.anchor ?? this.current;
      this.focus(Math.min(last, Math.max(0, target)));
      // shift extends what is picked from where it began
      this.anchor = event.shiftKey ? anchor : null;
      if (event.shiftKey) {
        this.brush(anchor, this.current);
      }
    } else if (event.key === 'Enter' || event.key === ' ') {
      event.preventDefault();
      this.anchor = null;
      this.brush(this.current, this.current);
    }
  }

  private anchor: number | null = null;
}

/** A number of rows that the margin has room for. */
function counted(n: number): string {
  return n < 10_000 ? short(n) : n.toLocaleString('en', { notation: 'compact' });
}
